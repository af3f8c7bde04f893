"""Adapters on disk: all of the file is loaded and nothing else, or one line says what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from finetune.checkpoints.adapter_loading import attach_adapter, changes_nothing, require_adapter_fit
from finetune.checkpoints.loading import (
    adapter_base,
    context_of,
    is_adapter,
    load_adapter,
    load_model,
    load_tokenizer,
)
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.errors import InputError
from tests import architectures

IDS = torch.arange(3, 15)[None]
WEIGHTS = "adapter_model.safetensors"


def plain(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


@pytest.fixture
def adapter(tmp_path, tiny_adapter_dir) -> Path:
    """A copy of an adapter, to be spoilt."""
    return Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))


def rewrite(folder, change) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors), folder / WEIGHTS, metadata={"format": "pt"})


def reset(folder, **settings) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def refused(base, folder) -> str:
    """Return the line by which it is refused; before anything is loaded, where names and shapes show it."""
    with pytest.raises(InputError) as error:
        load_adapter(plain(base), folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    shown = ("brings nothing", "brings model", "no place", "no tensors", "empty", "pointer")
    if any(fault in str(error.value) for fault in shown):
        with pytest.raises(InputError):
            require_adapter_fit(folder, AutoConfig.from_pretrained(base), "the base")
    return str(error.value)


def test_what_was_loaded_is_what_peft_loads_and_what_the_file_holds(tiny_llama_dir, adapter) -> None:
    loaded = attach_adapter(plain(tiny_llama_dir), adapter)
    assert torch.equal(
        logits(loaded.model), logits(PeftModel.from_pretrained(plain(tiny_llama_dir), adapter))
    )
    assert loaded.file_parity == 0.0
    assert loaded.notices == ()
    held = dict(loaded.model.named_parameters())
    for name, tensor in load_file(adapter / WEIGHTS).items():
        assert torch.equal(held[name.replace(".weight", ".default.weight")], tensor)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.removeprefix("base_model.model.model."),
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
        lambda name: name.replace(".layers.", ".layers._fsdp_wrapped_module."),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: f"base_model.model.{name}",
        lambda name: f"module._orig_mod.{name.replace('.weight', '.default.weight')}",
    ],
)
def test_names_with_a_known_fault_are_read_right_and_said(tiny_llama_dir, adapter, rename) -> None:
    expected = logits(load_adapter(plain(tiny_llama_dir), adapter))
    rewrite(adapter, lambda tensors: {rename(name): tensor for name, tensor in tensors.items()})
    loaded = attach_adapter(plain(tiny_llama_dir), adapter)
    assert torch.equal(logits(loaded.model), expected)
    assert "is read as base_model.model." in loaded.notices[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda tensors: {}, "no tensors.*gathered"),
        (lambda tensors: {n: t[:0] for n, t in tensors.items()}, "empty.*gathered"),
        (
            lambda tensors: {f"unknown.{i}": t for i, t in enumerate(tensors.values())},
            "no place for unknown.0",
        ),
        (lambda tensors: {n.replace("layers.", "h."): t for n, t in tensors.items()}, "no place for"),
        (lambda tensors: dict(list(tensors.items())[1:]), "brings nothing for .*own"),
        (lambda tensors: {**tensors, "more.weight": torch.zeros(2)}, "no place for more.weight"),
        (lambda tensors: {n: t[:2] for n, t in tensors.items()}, "another .*own base"),
        (lambda tensors: {n: t * float("nan") for n, t in tensors.items()}, "not finite"),
        (lambda tensors: {n: t / 0 for n, t in tensors.items()}, "not finite"),
    ],
)
def test_a_file_that_is_not_all_of_the_adapter_is_refused(tiny_llama_dir, adapter, change, match) -> None:
    rewrite(adapter, change)
    assert re.search(match, refused(tiny_llama_dir, adapter))


def test_tensors_that_two_names_could_be_meant_for_are_refused(tiny_llama_dir, adapter) -> None:
    """Without the layer's number a tensor ends the names of two layers."""
    names = [n for n in load_file(adapter / WEIGHTS) if "layers.0" in n]
    rewrite(adapter, lambda t: {n.rpartition("layers.0.")[2]: t[n] for n in names})
    assert re.search("no place for", refused(tiny_llama_dir, adapter))


def test_damaged_files_are_named(tiny_llama_dir, adapter) -> None:
    whole = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    assert re.search("damaged or cut short", refused(tiny_llama_dir, adapter))
    (adapter / WEIGHTS).write_bytes(b"")
    assert re.search("damaged or cut short", refused(tiny_llama_dir, adapter))
    (adapter / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert re.search("git-lfs pointer.*git lfs pull", refused(tiny_llama_dir, adapter))
    (adapter / WEIGHTS).unlink()
    assert re.search("holds no adapter_model.safetensors", refused(tiny_llama_dir, adapter))
    (adapter / "model.safetensors").write_bytes(whole)
    assert re.search("beside the weights of a whole model", refused(tiny_llama_dir, adapter))


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran')",))


def test_pickles_are_not_opened(tiny_llama_dir, adapter) -> None:
    expected = logits(load_adapter(plain(tiny_llama_dir), adapter))
    tensors = load_file(adapter / WEIGHTS)
    (adapter / WEIGHTS).unlink()
    torch.save(tensors, adapter / "adapter_model.bin")
    with pytest.raises(InputError, match=r"pickled and could run code.*allow_pickle=True") as error:
        load_adapter(plain(tiny_llama_dir), adapter)
    assert "allow_pickle" not in error.value.on_command_line  # no command has such an option
    allowed = attach_adapter(plain(tiny_llama_dir), adapter, allow_pickle=True)
    assert torch.equal(logits(allowed.model), expected)
    torch.save(Bomb(), adapter / "adapter_model.bin")
    with pytest.raises(InputError, match="damaged"):
        attach_adapter(plain(tiny_llama_dir), adapter, allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1, 2]", "holds a list, not an object"),
        ("{", "is no readable JSON"),
        ("[" * 100_000, "is no readable JSON"),
        ("", "is no readable JSON"),
        ("\ufffd\x00", "is no readable JSON"),
        ("{}", "peft_type = None"),
    ],
)
def test_a_configuration_that_is_none_is_one_line(tiny_llama_dir, adapter, text, match) -> None:
    (adapter / "adapter_config.json").write_text(text)
    assert re.search(match, refused(tiny_llama_dir, adapter))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"peft_type": "NEW"}, "peft_type = 'NEW'.*upgrade peft"),
        ({"peft_type": ["LORA"]}, "peft_type"),
        ({"peft_type": "XLORA"}, "X-LoRA"),
        ({"r": 0}, "r = 0"),
        ({"r": None}, "r = None"),
        ({"r": -4}, "-4"),
        ({"r": "4"}, "r = '4' is of another type"),
        ({"r": 4.5}, "r = 4.5"),
        ({"r": 2}, "another shape"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha = nan"),
        ({"lora_dropout": 7.0}, "7"),
        ({"target_modules": 3}, "target_modules"),
        ({"target_modules": ["q_proj", 5]}, "target_modules"),
        ({"target_modules": ["no_such_layer"]}, "does not fit"),
        ({"target_modules": "(("}, "does not fit"),
        ({"target_modules": None}, "."),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
        ({"init_lora_weights": "no such start"}, "."),
        ({"task_type": "NO_SUCH"}, "NO_SUCH"),
        ({"bias": "some"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "brings nothing for lm_head"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config loads code"),
        ({"base_model_name_or_path": 5}, "base_model_name_or_path = 5"),
    ],
)
def test_a_wrong_setting_is_one_line(tiny_llama_dir, adapter, settings, match) -> None:
    reset(adapter, **settings)
    assert re.search(match, refused(tiny_llama_dir, adapter))


@pytest.mark.parametrize("name", ["r", "lora_alpha", "peft_type", "target_modules"])
def test_a_setting_that_is_missing_is_one_line(tmp_path, tiny_llama_dir, save_adapter, name) -> None:
    # Targets that are not PEFT's own choice for this architecture.
    adapter = shutil.copytree(save_adapter(tiny_llama_dir, targets=["down_proj"]), tmp_path / "adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    del settings[name]
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert re.search(".", refused(tiny_llama_dir, adapter))


def test_settings_that_load_nothing_do_no_harm(tiny_llama_dir, adapter) -> None:
    expected = logits(load_adapter(plain(tiny_llama_dir), adapter))
    mapping = {"base_model_class": "M", "parent_library": "antigravity"}
    reset(adapter, auto_mapping=mapping, runtime_config={"ephemeral_gpu_offload": True}, lora_alpha=8.0)
    loaded = attach_adapter(plain(tiny_llama_dir), adapter)
    assert torch.equal(logits(loaded.model), expected)
    assert loaded.notices == ()
    reset(adapter, newer_option=True, older_option=None)
    assert "does not know newer_option;" in attach_adapter(plain(tiny_llama_dir), adapter).notices[0]


def test_an_adapter_that_changes_nothing_says_so(tmp_path, tiny_llama_dir) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    get_peft_model(plain(tiny_llama_dir), config).save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = attach_adapter(plain(tiny_llama_dir), tmp_path)
    assert torch.equal(logits(loaded.model), logits(plain(tiny_llama_dir)))
    assert "changes nothing" in loaded.notices[0]
    one = torch.ones(1)
    assert changes_nothing({"a.lora_A.weight": one, "a.lora_B.weight": 0 * one})
    assert not changes_nothing({"a.lora_A.weight": one, "a.lora_B.weight": one})
    assert not changes_nothing({"a.lora_A.weight": one, "a.lora_B.weight": 0 * one, "lm_head.weight": one})
    bias = {"a.lora_A.weight": one, "a.lora_B.weight": 0 * one, "a.lora_B.bias": one}
    assert not changes_nothing(bias)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_file_parity_says_what_the_bases_precision_costs(tiny_llama_dir, save_adapter, dtype) -> None:
    adapter = save_adapter(tiny_llama_dir, modules_to_save=["lm_head"])
    rewrite(adapter, lambda tensors: {n: t + 0.001 for n, t in tensors.items()})
    loaded = attach_adapter(AutoModelForCausalLM.from_pretrained(tiny_llama_dir, dtype=dtype), adapter)
    assert (loaded.file_parity > 0) == (dtype == torch.bfloat16)


# Resized vocabularies


def grown_adapter(folder, tokenizer, *, tied, rows=3, **lora):
    """Train as with ChatML: add rows to the base, then an adapter; return where both are, and the model."""
    base, out = folder / "base", folder / "adapter"
    architectures.build("llama", len(tokenizer), tie_word_embeddings=tied).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = plain(base)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer) + rows, mean_resizing=False)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", **lora))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    tuned.save_pretrained(out)
    return base, out, tuned.eval()


@pytest.mark.parametrize("rows", [3, -3])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("lora", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
def test_resized_embeddings_are_loaded_where_the_adapter_brings_them(
    tmp_path, tiny_tokenizer, tied, lora, rows
) -> None:
    base, folder, tuned = grown_adapter(tmp_path, tiny_tokenizer, tied=tied, rows=rows, **lora)
    loaded = attach_adapter(plain(base), folder)
    assert torch.equal(logits(loaded.model), logits(tuned))
    assert f"from {len(tiny_tokenizer)} to {len(tiny_tokenizer) + rows} tokens" in loaded.notices[0]
    assert loaded.rewrites_base


def test_resized_embeddings_that_are_not_all_there_say_what_to_do(tmp_path, tiny_tokenizer) -> None:
    base, folder, _ = grown_adapter(tmp_path, tiny_tokenizer, tied=False)
    rewrite(folder, lambda tensors: {n: t for n, t in tensors.items() if "lm_head" not in n})
    assert re.search("another vocabulary.*save_embedding_layers=True", refused(base, folder))


# Bases, and no network


@pytest.fixture
def no_network(monkeypatch):
    """A hub that is switched on, behind a network that counts who asks."""
    import huggingface_hub.constants

    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def test_an_adapter_directory_asks_no_hub(adapter, no_network) -> None:
    reset(adapter, base_model_name_or_path="nobody/no-such-model")
    for use in (load_model, adapter_base, context_of):
        with pytest.raises(InputError, match=r"nobody/no-such-model is not on this machine; give the base"):
            use(adapter)
    with pytest.raises(InputError):
        load_tokenizer(adapter)
    assert no_network == []


def test_loading_an_adapter_asks_no_hub(tiny_llama_dir, adapter, no_network) -> None:
    reset(adapter, base_model_name_or_path="nobody/no-such-model")
    load_model(adapter, base=tiny_llama_dir)
    assert no_network == []


def test_a_quantised_base_is_asked_for_unquantised(adapter) -> None:
    reset(adapter, base_model_name_or_path="unsloth/Llama-3-8B-bnb-4bit")
    with pytest.raises(InputError, match="the same model unquantised"):
        adapter_base(adapter)


# What a training left


def test_a_runs_directory_stands_for_what_it_chose(tmp_path, tiny_llama_dir, tiny_adapter_dir) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_adapter_dir, run / "lr-0.001")
    (run / "chosen.json").write_text('{"path": "lr-0.001"}')
    assert resolve_checkpoint(run) == run / "lr-0.001"
    assert resolve_checkpoint(str(run)) == str(run / "lr-0.001")
    assert is_adapter(run)
    assert adapter_base(run) == str(tiny_llama_dir)
    model, _ = load_model(run)
    expected = load_adapter(plain(tiny_llama_dir), tiny_adapter_dir)
    assert torch.equal(logits(model.cpu()), logits(expected))
    assert resolve_checkpoint(tiny_llama_dir) == tiny_llama_dir
    assert resolve_checkpoint("gpt2") == "gpt2"


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"path": "../run/lr"}', '{"path": 3}', '{"path": ""}', '{"path": "gone"}']
)
def test_a_choice_that_cannot_be_followed_is_one_line(tmp_path, text) -> None:
    (tmp_path / "lr").mkdir()
    (tmp_path / "lr" / "config.json").write_text("{}")
    (tmp_path / "chosen.json").write_text(text)
    with pytest.raises(InputError, match=r"chosen\.json.*train again"):
        resolve_checkpoint(tmp_path)


def test_an_unfinished_training_says_so(tmp_path) -> None:
    for name in ("partition.json", "manifest.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="chosen no model yet"):
        resolve_checkpoint(tmp_path)


def test_a_tensor_under_two_names_is_refused(tiny_llama_dir, adapter) -> None:
    """Which of them counts would be decided by their order in the file."""

    def doubled(tensors):
        name = next(one for one in tensors if one.endswith("lora_A.weight"))
        return {**tensors, name.replace(".weight", ".default.weight"): tensors[name] + 1}

    rewrite(adapter, doubled)
    assert re.search(
        "holds both .* and .*, so which one counts cannot be told", refused(tiny_llama_dir, adapter)
    )
    with pytest.raises(InputError, match="holds both"):
        require_adapter_fit(adapter, AutoConfig.from_pretrained(tiny_llama_dir), "the base")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", ["none", "an expert is missing", "a tensor too many"])
def test_experts_as_transformers_4_named_them(tmp_path, change) -> None:
    """PEFT makes updates of the fused layer of them; what it can load, the preflight lets pass."""
    config = MixtralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_local_experts=3,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    base, folder = tmp_path / "base", tmp_path / "adapter"
    torch.manual_seed(0)
    MixtralForCausalLM(config).save_pretrained(base)
    folder.mkdir()
    names = ["w1", "w2", "w3"]
    held = {}
    for key, weight in load_file(base / "model.safetensors").items():
        if ".experts." in key and not (change == "an expert is missing" and ".experts.1." in key):
            stem = f"base_model.model.{key.removesuffix('.weight')}"
            held[f"{stem}.lora_A.weight"] = torch.randn(4, weight.shape[1])
            held[f"{stem}.lora_B.weight"] = torch.randn(weight.shape[0], 4)
    if change == "a tensor too many":
        held["base_model.model.nowhere.lora_A.weight"] = torch.ones(4, 32)
    save_file(held, folder / WEIGHTS, metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": names,
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    if change == "none":
        require_adapter_fit(folder, AutoConfig.from_pretrained(base), "the base")
        expected = logits(PeftModel.from_pretrained(plain(base), folder).eval())
        assert torch.equal(logits(attach_adapter(plain(base), folder).model), expected)
        return
    said = refused(base, folder)
    assert "no place for base_model.model.nowhere" in said if "many" in change else "another shape" in said
    with pytest.raises(InputError):
        require_adapter_fit(folder, AutoConfig.from_pretrained(base), "the base")
