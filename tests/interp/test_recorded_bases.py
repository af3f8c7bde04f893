"""Which base an adapter belongs to: the recorded one, wherever it is and however its files are cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from finetune.checkpoints.adapter_files import base_of, is_hub_id, recorded_place
from finetune.checkpoints.same_weights import same_weights
from finetune.common.errors import InputError
from interp.models.adapter_base import require_named_base
from interp.models.load_pair import load_pair
from tests import architectures

OTHER = "was trained on .*, not on"


@pytest.fixture
def adapter(tmp_path, tiny_adapter_dir) -> Path:
    return Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record(adapter: Path, base: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(base)}))


def another(folder: Path, tokenizer) -> Path:
    architectures.build("llama", len(tokenizer), seed=7).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pickled(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_a_home_is_written_out_before_bases_are_compared(
    home, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    another(home / "other", tiny_tokenizer)
    with pytest.raises(InputError, match=OTHER):
        load_pair("~/other", adapter)
    shutil.copytree(tiny_llama_dir, home / "same")
    load_pair("~/same", adapter)
    record(adapter, "meta/llama-7b")
    load_pair("~/same", adapter)  # it may well be that model, downloaded
    record(adapter, "~/same")
    assert base_of(adapter) == str(home / "same")
    record(adapter, "~no-such-user/same")
    load_pair("~/same", adapter)


def test_a_base_beside_the_adapter_is_compared_with(
    tmp_path, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    shutil.copytree(tiny_llama_dir, tmp_path / "base")
    record(adapter, "base")
    assert load_pair(adapter).provenance["base"] == str(tmp_path / "base")
    with pytest.raises(InputError, match=OTHER):
        load_pair(another(tmp_path / "other", tiny_tokenizer), adapter)
    load_pair(tiny_llama_dir, adapter)


def test_pickled_bases_decide_nothing_and_it_is_said(
    tmp_path, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    own = pickled(tiny_llama_dir, tmp_path / "own")
    other = pickled(another(tmp_path / "safe", tiny_tokenizer), tmp_path / "other")
    record(adapter, own)
    assert require_named_base(adapter, own) is None
    assert "cannot be told" in str(require_named_base(adapter, other))


def test_the_same_weights_in_other_files_are_the_same(tmp_path, adapter, tiny_llama_dir) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    cut = Path(shutil.copytree(tiny_llama_dir, tmp_path / "cut"))
    (cut / "model.safetensors").unlink()
    model.save_pretrained(cut, max_shard_size="30KB")
    assert len(list(cut.glob("*.safetensors"))) > 1
    stray = Path(shutil.copytree(tiny_llama_dir, tmp_path / "stray"))
    save_file({"x": torch.zeros(1)}, stray / "consolidated.safetensors")
    for same in (cut, stray):
        assert same_weights(tiny_llama_dir, same)
        load_pair(same, adapter)


def test_weights_are_compared_to_the_bit_or_to_the_precision_of_the_coarser(tmp_path, tiny_llama_dir) -> None:
    copy = Path(shutil.copytree(tiny_llama_dir, tmp_path / "copy"))
    held = load_file(copy / "model.safetensors")
    name = next(iter(held))

    def rewritten(tensor: torch.Tensor) -> bool | None:
        save_file({**held, name: tensor}, copy / "model.safetensors", metadata={"format": "pt"})
        return same_weights(tiny_llama_dir, copy)

    assert rewritten(held[name])
    changed = held[name].clone()
    changed.view(-1)[0] += 1e-3
    assert rewritten(changed) is False
    assert rewritten(held[name].to(torch.bfloat16)) is True
    changed.view(-1)[0] *= 1.1
    assert rewritten(changed.to(torch.bfloat16)) is False
    assert rewritten((held[name] * 100).to(torch.int8)) is False
    (copy / "model.safetensors").write_bytes(b"damaged")
    assert same_weights(tiny_llama_dir, copy) is None


def test_a_recorded_run_stands_for_the_model_that_it_chose(tmp_path, adapter, tiny_llama_dir) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_llama_dir, run / "lr-0.1")
    (run / "chosen.json").write_text('{"path": "lr-0.1"}')
    record(adapter, run)
    for pair in (load_pair(adapter), load_pair(run, adapter), load_pair(tiny_llama_dir, adapter)):
        assert pair.provenance["copies"] == 1
    (run / "chosen.json").write_text('{"path": "gone"}')
    load_pair(tiny_llama_dir, adapter)


def test_a_directory_that_happens_to_be_called_like_a_model(
    tmp_path, adapter, tiny_llama_dir, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2", "meta/llama-7b"):
        (tmp_path / name).mkdir(parents=True)
        record(adapter, name)
        assert recorded_place(name, adapter) is None
        load_pair(tiny_llama_dir, adapter)
    assert is_hub_id("meta/llama-7b")


def test_a_recorded_name_that_no_file_can_bear(adapter, tiny_llama_dir) -> None:
    record(adapter, "x" * 300)
    with pytest.raises(InputError, match="is no name; correct it"):
        load_pair(tiny_llama_dir, adapter)


def in_cache(cache: Path, name: str, source: Path) -> Path:
    home = cache / f"models--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("aaa")
    return Path(shutil.copytree(source, home / "snapshots" / "aaa"))


def test_a_base_in_the_hubs_cache_is_compared_with(
    tmp_path, adapter, tiny_llama_dir, tiny_tokenizer, monkeypatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    own = in_cache(tmp_path / "hub", "Org/Name", tiny_llama_dir)
    other = in_cache(tmp_path / "hub", "Org/Other", another(tmp_path / "other", tiny_tokenizer))
    record(adapter, "Org/Name")
    assert require_named_base(adapter, str(own)) is None
    assert require_named_base(adapter, str(tiny_llama_dir)) is None
    for wrong in (other, tmp_path / "other", "Org/Other"):
        with pytest.raises(InputError, match=OTHER):
            require_named_base(adapter, str(wrong))
    rounded = Path(shutil.copytree(tiny_llama_dir, tmp_path / "rounded"))
    tensors = {key: tensor.bfloat16() for key, tensor in load_file(rounded / "model.safetensors").items()}
    save_file(tensors, rounded / "model.safetensors", metadata={"format": "pt"})
    assert require_named_base(adapter, str(rounded)) is None


def test_names_of_copies_are_told_from_other_models(adapter, tiny_llama_dir) -> None:
    for named, base in {
        "unsloth/Llama-3.2-1B-Instruct": "meta-llama/Llama-3.2-1B",
        "Owner/Qwen2-7B-Instruct-bnb-4bit": "Qwen/Qwen2-7B",
        "Owner/One": "Owner/Two",
    }.items():
        record(adapter, named)
        with pytest.raises(InputError, match=OTHER):
            require_named_base(adapter, base)
    record(adapter, "meta-llama/Meta-Llama-3.1-8B")
    assert require_named_base(adapter, "meta-llama/Llama-3.1-8B") is None
    record(adapter, "gpt2")
    named_so = adapter.rename(adapter.parent / "gpt2")
    assert "cannot be told" in str(require_named_base(named_so, str(tiny_llama_dir)))
    adapter = named_so.rename(adapter)
    for named, base in {
        "unsloth/mistral-7b-bnb-4bit": "mistralai/Mistral-7B-v0.1",
        "unsloth/tinyllama-bnb-4bit": "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
        "unsloth/gemma-3-4b-it-qat-bnb-4bit": "google/gemma-3-4b-it",
    }.items():
        record(adapter, named)
        assert "a quantised copy" in str(require_named_base(adapter, base))
    record(adapter, "unsloth/Qwen2-7B-bnb-4bit")
    assert "a quantised copy" in str(require_named_base(adapter, "Qwen/Qwen2-7B"))
    record(adapter, "Owner/Elsewhere")
    assert "cannot be told" in str(require_named_base(adapter, str(tiny_llama_dir)))


def test_an_adapter_on_an_adapter_is_refused_whatever_base_is_given(
    tmp_path, adapter, tiny_adapter_dir, tiny_llama_dir
) -> None:
    below = shutil.copytree(tiny_adapter_dir, tmp_path / "below")
    for named in (below, "./below"):
        record(adapter, named)
        with pytest.raises(InputError, match="is an adapter itself; merge that one"):
            load_pair(tiny_llama_dir, adapter)


def test_a_full_checkpoint_is_held_against_its_base(
    tmp_path, tiny_llama_dir, tiny_model, tiny_tokenizer
) -> None:
    with pytest.raises(InputError, match="has model_type = gpt2, and the base"):
        load_pair(tiny_llama_dir, tiny_model("gpt2"))
    deeper = tmp_path / "deeper"
    architectures.build("llama", len(tiny_tokenizer), num_hidden_layers=3).save_pretrained(deeper)
    tiny_tokenizer.save_pretrained(deeper)
    with pytest.raises(InputError, match="has num_hidden_layers = 3"):
        load_pair(tiny_llama_dir, deeper)
    with pytest.warns(UserWarning, match="exactly what the base says"):
        load_pair(tiny_llama_dir, shutil.copytree(tiny_llama_dir, tmp_path / "copy"))
    turned = Path(shutil.copytree(tiny_llama_dir, tmp_path / "turned"))
    config = json.loads((turned / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 5e5
    (turned / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="its configuration says rope_parameters"):
        pair = load_pair(tiny_llama_dir, turned)
    assert len(pair.provenance["notices"]) == 1


def test_whole_numbers_are_no_weights(tmp_path, tiny_llama_dir) -> None:
    scaled = Path(shutil.copytree(tiny_llama_dir, tmp_path / "int8"))
    tensors = load_file(scaled / "model.safetensors")
    key = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[key] = (tensors[key] * 100).to(torch.int8)
    save_file(tensors, scaled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="holds whole numbers"):
        load_pair(tiny_llama_dir, scaled)
