"""Full checkpoints: parameters all from the files, tensors all in their place, or one line that says why."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

from finetune.checkpoints import filling, verification
from finetune.checkpoints.inspection import inspect_checkpoint
from finetune.checkpoints.loading import configuration_of, load_model, load_tokenizer, load_weights
from finetune.checkpoints.preflight import require_trainable
from finetune.common.errors import InputError
from interp.models.load_pair import load_pair
from tests import architectures

IDS = torch.arange(3, 11)[None]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
Change = Callable[[str], str]


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return getattr(out := model(IDS), "logits", out)


@pytest.fixture
def copy(tmp_path, tiny_model) -> Callable[[str], Path]:
    """Copy a tiny model of an architecture, to be spoilt."""

    def make(name: str = "llama") -> Path:
        return Path(shutil.copytree(tiny_model(name), tmp_path / name))

    return make


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    """Let any attempt to use the network fail the test, whatever the environment says."""

    def connect(*arguments: object) -> None:
        raise AssertionError(f"asked the network for {arguments}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def renamed(folder: Path, change: Change) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({change(k): v for k, v in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def edited(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def sharded(folder: Path) -> dict[str, str]:
    """Split a checkpoint into two shards with an index; return the index's map of keys to files."""
    state = load_file(folder / WEIGHTS)
    keys, placed = sorted(state), {}
    for i, part in enumerate((keys[::2], keys[1::2]), 1):
        name = f"model-0000{i}-of-00002.safetensors"
        save_file({k: state[k] for k in part}, folder / name, metadata={"format": "pt"})
        placed |= dict.fromkeys(part, name)
    (folder / WEIGHTS).unlink()
    listed(folder, placed)
    return placed


def listed(folder: Path, placed: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))


def with_pickle(source: Path) -> object:
    return load_weights(source, allow_pickle=True)


def in_half(source: Path) -> object:
    return load_weights(source, dtype=torch.float16)


def refused(source: Path, *, load: Callable = load_weights) -> str:
    """Return the one line by which it is refused."""
    with pytest.raises(InputError) as error:
        load(source)
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 900
    assert str(source) in said
    return said


# Known prefixes


PREFIXES: dict[str, Change] = {
    "torch.compile": lambda k: f"_orig_mod.{k}",
    "DDP": lambda k: f"module.{k}",
    "compiled layers": lambda k: re.sub(r"(layers|h)\.(\d+)\.", r"\1.\2._orig_mod.", k),
    "FSDP": lambda k: "_fsdp_wrapped_module." + re.sub(r"\.(\d+)\.", r".\1._fsdp_wrapped_module.", k),
    "activation checkpoints": lambda k: re.sub(r"\.(\d+)\.", r".\1._checkpoint_wrapped_module.", k),
    "PEFT": lambda k: f"base_model.model.{k}",
    "a foreign base prefix": lambda k: f"transformer.{k}",
    "Lightning": lambda k: f"model.{k}",
    "TRL": lambda k: f"pretrained_model.{k}",
    "no base prefix": lambda k: re.sub(r"^(model|transformer|gpt_neox)\.", "", k),
    "DDP in torch.compile in FSDP": lambda k: f"_fsdp_wrapped_module._orig_mod.module.{k}",
    "PEFT in torch.compile in DDP": lambda k: f"module._orig_mod.base_model.model.{k}",
    "no base prefix, in DDP": lambda k: "module." + re.sub(r"^(model|transformer|gpt_neox)\.", "", k),
}


@pytest.mark.filterwarnings("ignore:.*without their prefix")
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_known_prefixes_are_taken_off(copy, name, prefix) -> None:
    folder = copy(name)
    expected = logits(AutoModelForCausalLM.from_pretrained(folder).eval())
    renamed(folder, PREFIXES[prefix])
    assert torch.equal(logits(load_weights(folder)), expected)


def test_a_prefix_is_told(copy) -> None:
    folder = copy()
    renamed(folder, PREFIXES["torch.compile"])
    with pytest.warns(UserWarning, match=r"21 of 21 keys were loaded without their prefix"):
        pair = load_pair(folder)
    assert "such as _orig_mod.lm_head.weight as lm_head.weight" in pair.provenance["notices"][0]
    with pair.base() as model:
        found = logits(model)
    renamed(folder, lambda k: k.removeprefix("_orig_mod."))
    with load_pair(folder).base() as model:
        assert torch.equal(logits(model), found)


def test_prefixes_across_shards(copy) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    renamed(folder, PREFIXES["DDP"])
    sharded(folder)
    with pytest.warns(UserWarning, match="prefix"):
        assert torch.equal(logits(load_weights(folder)), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda k: f"student.{k}",
        lambda k: f"_orig_mod.{k}" if "layers.0" in k else f"student.{k}",
        lambda k: k.replace("self_attn", "attention"),
    ],
)
def test_unknown_prefixes_and_names_are_refused(copy, change) -> None:
    folder = copy()
    renamed(folder, change)
    said = refused(folder)
    assert re.search("prefix that is not known", said)
    assert "in all" in said
    assert "save_pretrained" in said


def test_a_tensor_with_and_without_its_prefix_is_refused(copy) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    for other in ("_orig_mod.model.norm.weight", "norm.weight", "module.model.norm.weight"):
        save_file({**state, other: state["model.norm.weight"] + 1}, folder / WEIGHTS)
        assert re.search("hold both .*norm.weight", refused(folder))


def test_the_state_of_an_unmerged_adapter_is_refused(copy, save_adapter) -> None:
    from peft import PeftModel

    folder = copy()
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), save_adapter(folder))
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    assert re.search("unmerged adapter; save the adapter itself", refused(folder))
    save_file({k: v for k, v in state.items() if "lora" not in k}, folder / WEIGHTS)
    assert re.search("unmerged adapter", refused(folder))


# Tensors that are missing, unexpected, twice there, or of another shape


def test_a_missing_layer_head_or_tensor_is_refused(copy) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    for gone, match in {
        "model.layers.1.": r"lack model.layers.1.input_layernorm.weight, .* and 6 more \(9 in all\)",
        "lm_head.": "lack lm_head.weight.*the head was not saved and is not tied",
        "model.embed_tokens": "lack model.embed_tokens.weight .*not saved or is lost",
        "model.layers.0.mlp.up_proj": "lack model.layers.0.mlp.up_proj.weight",
    }.items():
        save_file({k: v for k, v in state.items() if not k.startswith(gone)}, folder / WEIGHTS)
        assert re.search(match, refused(folder))
        assert re.search(match, refused(folder, load=lambda source: load_pair(source)))
        assert re.search(match, refused(folder, load=inspect_checkpoint))


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bloom"])
def test_tied_heads_need_not_be_in_the_files(copy, name) -> None:
    folder = copy(name)
    model = load_weights(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_head_beside_embeddings_said_to_be_tied_is_kept(copy) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    edited(folder, tie_word_embeddings=True)
    with pytest.warns(UserWarning, match="a head of its own, which is used"):
        model = load_weights(folder)
    model.tie_weights()
    assert torch.equal(logits(model), expected)


def test_layers_that_the_configuration_does_not_have_are_refused(copy) -> None:
    folder = edited(copy(), num_hidden_layers=1)
    assert re.search("config.json says 1 layers and the files hold more", refused(folder))


def test_tensors_without_a_place_are_refused(copy) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    save_file({**state, "v_head.summary.weight": torch.ones(1, 32)}, folder / WEIGHTS)
    assert re.search(
        "hold v_head.summary.weight .1 in all., for which its model has no place", refused(folder)
    )


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("gpt2", "transformer.h.0.attn.bias", torch.ones(1, 1, 64, 64, dtype=torch.bool)),
        ("gptj", "transformer.h.0.attn.bias", torch.ones(1, 1, 64, 64, dtype=torch.bool)),
        ("gptj", "transformer.h.0.attn.masked_bias", torch.tensor(-1e9)),
        ("gpt_neo", "transformer.h.0.attn.attention.bias", torch.ones(1, 1, 64, 64, dtype=torch.bool)),
        ("gpt_neo", "transformer.h.0.attn.attention.masked_bias", torch.tensor(-1e9)),
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias", torch.tensor(-1e9)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4)),
    ],
)
def test_what_older_models_saved_and_newer_compute_is_no_weight(copy, name, key, value) -> None:
    folder = copy(name)
    expected = logits(load_weights(folder))
    save_file({**load_file(folder / WEIGHTS), key: value}, folder / WEIGHTS, metadata={"format": "pt"})
    assert torch.equal(logits(load_weights(folder)), expected)


def test_other_shapes_are_refused(copy, tiny_tokenizer) -> None:
    folder = edited(copy(), vocab_size=len(tiny_tokenizer) + 8)
    assert re.search(
        r"lm_head.weight is \[\d+, 32\] in its files and \[\d+, 32\] by its config.json", refused(folder)
    )


@pytest.mark.parametrize("name", [*architectures.ARCHITECTURES])
def test_every_architecture_still_loads_as_transformers_loads_it(tiny_model, name) -> None:
    folder = tiny_model(name)
    own = AutoModelForCausalLM.from_pretrained(folder).eval()
    ours = load_weights(folder)
    assert torch.equal(logits(ours), logits(own))
    assert ours.config._attn_implementation == own.config._attn_implementation
    assert ours.name_or_path == str(folder)
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in ours.state_dict().items())


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_read_in_pieces_are_whole(copy, monkeypatch, name, dtype) -> None:
    folder = copy(name)
    for module in (filling, verification):
        monkeypatch.setattr(module, "PIECE", 500)  # an embedding takes 27 of them
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict()
    ours = load_weights(folder, dtype=dtype).state_dict()
    assert ours.keys() == own.keys()
    assert all(value.dtype == dtype and torch.equal(value, own[key]) for key, value in ours.items())
    held = load_file(folder / "model.safetensors")
    held["model.embed_tokens.weight"][300, 7] = torch.inf
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    assert "not finite" in refused(folder)


# Shards


def test_shards_load(copy) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    sharded(folder)
    assert torch.equal(logits(load_weights(folder)), expected)


def test_shards_that_are_missing_or_disagree_with_the_index_are_refused(copy) -> None:
    folder = copy()
    placed = sharded(folder)
    first, second = sorted(set(placed.values()))
    key = next(k for k, v in placed.items() if v == first)
    listed(folder, {**placed, key: second})
    assert re.search(f"says that {second} holds {key}, and it does not", refused(folder))
    listed(folder, {**placed, "model.more.weight": second})
    assert re.search("holds model.more.weight, and it does not", refused(folder))
    listed(folder, placed)
    both = {**load_file(folder / second), key: load_file(folder / first)[key] + 1}
    save_file(both, folder / second)
    assert re.search(f"both {first} and {second} hold {key}", refused(folder))
    (folder / second).unlink()
    assert re.search(rf"the shard {second} \(1 of 2\) is missing", refused(folder))
    (folder / INDEX).unlink()
    assert re.search(f"shards but no {INDEX}", refused(folder))


def test_two_sets_of_weights_are_refused(copy) -> None:
    folder = copy()
    shutil.copy(folder / WEIGHTS, folder.parent / "kept")
    sharded(folder)
    shutil.copy(folder.parent / "kept", folder / WEIGHTS)
    assert re.search("two sets of weights", refused(folder))
    listed(folder, dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS))
    load_weights(folder)


@pytest.mark.parametrize("index", [[], {"weight_map": []}, {"weight_map": {}}, {}, {"weight_map": {"a": 3}}])
def test_an_index_that_is_none_is_refused(copy, index) -> None:
    folder = copy()
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(index))
    assert re.search("not an object|no weight_map|outside of the checkpoint", refused(folder))


@pytest.mark.parametrize("name", [f"{up}/other.safetensors" for up in ("..", "{}", "a/../..")])
def test_an_index_does_not_lead_out_of_its_directory(copy, name) -> None:
    folder = copy()
    placed = sharded(folder)
    shutil.copy(folder / placed["lm_head.weight"], folder.parent / "other.safetensors")
    listed(folder, {k: name.format(folder.parent) if k == "lm_head.weight" else v for k, v in placed.items()})
    assert re.search("outside of the checkpoint", refused(folder))


def test_links_like_those_of_the_hubs_cache_are_followed(copy, tmp_path) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    sharded(folder)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert torch.equal(logits(load_weights(snapshot)), expected)


def test_a_hub_id_is_taken_from_the_cache(copy, tmp_path, monkeypatch) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub" / "models--mine--tiny"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    shutil.copytree(folder, home / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert torch.equal(logits(load_weights("mine/tiny")), expected)
    pair = load_pair("mine/tiny")
    assert pair.provenance["base_identity"] == f"commit:{commit}"
    (home / "snapshots" / commit / WEIGHTS).write_bytes(b"")
    with pytest.raises(InputError, match="is empty; copy or download it again"):
        load_weights("mine/tiny")


# Pickle


class Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return exec, ("raise SystemExit('ran')",)


@pytest.fixture
def bombed(copy) -> Path:
    """A checkpoint whose safetensors are gone and whose pickled files would end the program."""
    folder = copy()
    (folder / WEIGHTS).rename(folder.parent / WEIGHTS)
    for name in ("pytorch_model.bin", "training_args.bin", "adapter_model.bin", "optimizer.pt", ".metadata"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    return folder


def test_pickle_is_not_read_unless_it_is_allowed(bombed) -> None:
    said = refused(bombed)
    assert re.search("pickled and could run code", said)
    assert "allow_pickle=True" in said
    # Even then it is read as tensors alone.
    assert re.search("cannot be read as tensors", refused(bombed, load=with_pickle))
    shutil.copy(bombed.parent / WEIGHTS, bombed / WEIGHTS)
    load_weights(bombed)
    load_pair(bombed)


@pytest.mark.parametrize("named", ["adapter_model.bin", "pytorch_model.bin", "../model.bin", 3])
def test_a_configuration_does_not_name_pickled_weights(bombed, named) -> None:
    edited(bombed, transformers_weights=named)
    assert re.search("is no safetensors file|outside of the checkpoint", refused(bombed))


def test_an_index_does_not_name_pickled_weights(copy, bombed) -> None:
    state = load_file(bombed.parent / WEIGHTS)
    listed(bombed, dict.fromkeys(state, "pytorch_model.bin"))
    assert re.search("is no safetensors file and could run code", refused(bombed))
    assert re.search("is no safetensors file", refused(bombed, load=with_pickle))


def test_a_distributed_checkpoint_is_not_read(bombed) -> None:
    (bombed / "pytorch_model.bin").unlink()
    (bombed / "__0_0.distcp").write_bytes(pickle.dumps(Bomb()))
    assert re.search("a distributed checkpoint; merge it", refused(bombed))


def test_pickle_under_the_name_of_safetensors_is_refused(bombed) -> None:
    for content in (pickle.dumps(Bomb()), b"PK\x03\x04" + bytes(100)):
        (bombed / WEIGHTS).write_bytes(content)
        assert re.search("is pickled, whatever its name says", refused(bombed))


def test_pickled_weights_are_held_to_the_same_rule(copy) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    expected = logits(load_weights(folder))
    (folder / WEIGHTS).unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert torch.equal(logits(load_weights(folder, allow_pickle=True)), expected)
    torch.save({f"module.{k}": v for k, v in state.items()}, folder / "pytorch_model.bin")
    assert torch.equal(logits(load_weights(folder, allow_pickle=True)), expected)
    del state["model.layers.1.mlp.up_proj.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    assert re.search("lack model.layers.1.mlp", refused(folder, load=with_pickle))


# Damaged files


def test_damaged_files_are_named(copy) -> None:
    folder = copy()
    whole = (folder / WEIGHTS).read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    for content, match in {
        b"": "is empty",
        pointer: "is a git-lfs pointer.*git lfs pull",
        whole[:-8]: "is truncated",
        whole[:100]: "is truncated",
        whole[:4]: "is truncated",
        b"<html>404</html>": "no safetensors file",
        b"\xff" * 64: "no safetensors file",
        whole + b"more": "no safetensors file",
        b"\x02" + bytes(7) + b"{}": "holds no tensors",
    }.items():
        (folder / WEIGHTS).write_bytes(content)
        said = refused(folder)
        assert re.search(match, said)
        assert WEIGHTS in said
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    assert re.search("holds no model.safetensors|holds no weights", refused(folder))


@pytest.mark.parametrize("name", ["model.gguf", "tf_model.h5", "consolidated.00.pth", "weights.safetensors"])
def test_other_formats_are_named(copy, name) -> None:
    folder = copy()
    (folder / WEIGHTS).rename(folder / name)
    assert re.search(re.escape(name), refused(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_not_finite_are_refused(copy, key, value) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    state[key][-1, -1] = value
    save_file(state, folder / WEIGHTS)
    assert re.search(f"{key} .1 in all. is not finite", refused(folder))
    assert re.search("not finite", refused(folder, load=lambda source: load_pair(source)))


def test_outputs_that_are_not_finite_are_refused(copy) -> None:
    folder = edited(copy(), rms_norm_eps=-1e9)
    assert re.search("not finite", refused(folder))


def test_weights_too_large_for_half_precision_are_refused(copy) -> None:
    folder = copy()
    state = load_file(folder / WEIGHTS)
    state["model.norm.weight"][0] = 1e6
    save_file(state, folder / WEIGHTS)
    load_weights(folder)
    assert re.search("not finite in float16", refused(folder, load=in_half))


def test_a_loader_that_loads_something_else_is_found_out(copy, monkeypatch) -> None:
    folder = copy()
    llama = AutoModelForCausalLM._model_mapping[LlamaConfig]
    load = llama.from_pretrained.__func__

    def spoilt(cls, *arguments, **options):  # type: ignore[no-untyped-def]
        model, told = load(cls, *arguments, **options)
        with torch.no_grad():
            if model.device.type != "meta":
                model.model.layers[1].mlp.up_proj.weight.normal_()
        return model, told

    monkeypatch.setattr(llama, "from_pretrained", classmethod(spoilt))
    assert re.search(
        "model.layers.1.mlp.up_proj.weight .1 in all. is not what its files hold", refused(folder)
    )


# Configurations


NO_OBJECTS = ["", "{", "[]", "3", "null", '"x"', "\ufeff{}", "[" * 100_000, '{"a": ' * 9999]


@pytest.mark.parametrize("text", NO_OBJECTS)
def test_a_configuration_that_is_no_object_is_refused(copy, text) -> None:
    folder = copy()
    (folder / "config.json").write_text(text)
    assert re.search("is no readable JSON|not an object|names no model_type", refused(folder))
    assert re.search("config.json", refused(folder, load=configuration_of))
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert re.search("is no readable JSON", refused(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 0},
        {"hidden_size": -32},
        {"hidden_size": 33},
        {"hidden_size": 10**30},
        {"num_hidden_layers": "2"},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 2.5},
        {"num_hidden_layers": None},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 9_999},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"num_attention_heads": 5},
        {"num_attention_heads": 10**9},
        {"num_key_value_heads": 3},
        {"num_key_value_heads": 0},
        {"vocab_size": 0},
        {"vocab_size": -5},
        {"vocab_size": 10**12},
        {"vocab_size": True},
        {"max_position_embeddings": 0},
        {"max_position_embeddings": "many"},
        {"intermediate_size": 0},
        {"hidden_act": "nonsense"},
        {"hidden_act": 3},
        {"rope_parameters": {"rope_type": "default", "rope_theta": "big"}},
        {"model_type": "nonsense"},
        {"model_type": 3},
        {"model_type": None},
        {"num_labels": 10**9},
        {"rope_scaling": {"rope_type": "nonsense"}},
        {"layer_types": ["nonsense", "nonsense"]},
        {"architectures": 3},
        {"pad_token_id": 10**12},
    ],
    ids=str,
)
def test_configurations_that_make_no_model_are_refused(copy, changes) -> None:
    assert refused(edited(copy(), **changes), load=require_trainable)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("qwen2", {"num_hidden_layers": 10**9}),
        ("gpt2", {"n_layer": 10**9}),
        ("gpt2", {"n_head": 3}),
        ("gpt_neo", {"attention_types": [[["global", "local"], 10**9]]}),
        ("gptj", {"n_positions": 10**10}),
        ("bloom", {"n_head": 5}),
        ("falcon", {"num_attention_heads": 5}),
        ("opt", {"num_attention_heads": 5}),
        ("gemma2", {"head_dim": 0}),
    ],
    ids=str,
)
def test_absurd_sizes_of_other_architectures_are_refused(copy, name, changes) -> None:
    assert refused(edited(copy(name), **changes), load=require_trainable)


def test_a_configuration_cannot_ask_for_code_or_kernels(copy) -> None:
    folder = copy()
    expected = logits(load_weights(folder))
    edited(
        folder,
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
        _attn_implementation_internal="evil/kernel",
        _experts_implementation="sonicmoe",
        experts_implementation="sonicmoe",
        use_kernels=True,
        kernel_config={"RMSNorm": "evil/kernel:RMSNorm"},
        fusion_config={"patch_embeddings": True},
        custom_generate="evil/generate",
        auto_map={"AutoConfig": "mine.C", "AutoModelForCausalLM": "evil/code--mine.M"},
    )
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text("raise SystemExit('ran')")
    model = load_weights(folder)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(logits(model), expected)
    with load_pair(folder).base() as bridge:
        torch.testing.assert_close(logits(bridge), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "match"),
    [
        ("mxfp4", "not supported"),
        ("fp8", "not supported"),
        ("nonsense", "not supported"),
        (None, "not supported"),
        ("bitsandbytes", "needs the package bitsandbytes"),
        ("gptq", "needs the package gptqmodel"),
    ],
)
def test_quantised_checkpoints_without_their_package(copy, method, match) -> None:
    quantised = {"quant_method": method, "load_in_4bit": True, "bits": 4}
    assert re.search(match, refused(edited(copy(), quantization_config=quantised)))


def test_a_composite_configuration_cannot_ask_for_kernels_inside() -> None:
    from transformers import Gemma3Config

    from finetune.checkpoints.configs import IMPLEMENTATIONS, _parts

    config = Gemma3Config(text_config={"_attn_implementation": "evil/kernel"})
    assert len(list(_parts(config))) >= 3
    assert all(hasattr(part, name) for part in _parts(config) for name in IMPLEMENTATIONS)
    assert isinstance(Gemma2Config(), type(Gemma2Config()))


# Tokenizers and generation


def test_a_tokenizer_that_needs_a_package_says_so(copy, monkeypatch) -> None:
    from transformers import AutoTokenizer

    folder = copy()

    def missing(*arguments, **options):  # type: ignore[no-untyped-def]
        raise ImportError("LlamaTokenizer requires the\nSentencePiece library")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", missing)
    assert re.search(
        "needs a package that is not installed .*SentencePiece", refused(folder, load=load_tokenizer)
    )


@pytest.mark.parametrize("text", ["", "[]", "{", "3", '{"model": 3}', '{"added_tokens": 3}'])
def test_damaged_tokenizers_are_refused(copy, text) -> None:
    folder = copy()
    (folder / "tokenizer.json").write_text(text)
    assert refused(folder, load=load_tokenizer)


def test_generation_settings_are_the_checkpoints_own(copy) -> None:
    folder = copy()
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 5], "max_new_tokens": 3}')
    assert load_weights(folder).generation_config.eos_token_id == [2, 5]
    (folder / "generation_config.json").write_text("{")
    assert re.search("generation_config.json cannot be", refused(folder))


def test_an_adapter_whose_base_is_elsewhere_asks_no_network(copy, save_adapter) -> None:
    folder = save_adapter(copy())
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "evil/base"}))
    with pytest.raises(InputError, match="its base evil/base is not on this machine; give the base as well"):
        load_model(folder)


def test_changed_files_are_looked_at_again(copy) -> None:
    folder = copy()
    load_weights(folder)
    edited(folder, num_hidden_layers=1)
    assert re.search("files hold more", refused(folder))
    edited(folder, num_hidden_layers=2)
    load_weights(folder)
