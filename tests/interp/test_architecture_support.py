"""What TransformerLens cannot take apart is refused in one line, and booting it installs nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedConfig

from finetune.common.errors import InputError
from interp.models.architectures import architecture_of, boot_bridge, require_supported
from interp.models.load_pair import load_pair
from interp.models.preflight import require_measurable
from tests import architectures

IDS = torch.arange(3, 23)[None]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def log_probs(model) -> torch.Tensor:
    with torch.inference_mode():
        out = model(IDS)
    return getattr(out, "logits", out).float().log_softmax(-1)


def refused(ask, *sources: object, **options: object) -> str:
    with pytest.raises(InputError) as error:
        ask(*sources, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def gemma3_with_eyes(vocabulary: int) -> transformers.PreTrainedModel:
    text = SMALL | {"vocab_size": vocabulary, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}
    eyes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=text | {"initializer_range": 0.2},
        vision_config=eyes | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        **{f"{kind}_token_index": i for i, kind in enumerate(("image", "boi", "eoi"), 5)},
    )
    torch.manual_seed(0)
    return transformers.Gemma3ForConditionalGeneration(config).eval()


def test_a_multimodal_checkpoint_is_measured_and_nothing_is_installed(
    tmp_path, tiny_tokenizer, monkeypatch
) -> None:
    """TransformerLens runs pip for a processor of images that it cannot load; text needs none."""
    gemma3_with_eyes(len(tiny_tokenizer)).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    expected = log_probs(transformers.Gemma3ForConditionalGeneration.from_pretrained(tmp_path))
    ran: list[object] = []

    def forbid(*arguments: object, **_: object) -> None:
        ran.append(arguments)
        raise AssertionError("a program was run")

    for name in ("check_call", "check_output", "run", "call", "Popen"):
        monkeypatch.setattr(subprocess, name, forbid)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as where it is not installed
    with load_pair(tmp_path).base() as model:
        torch.testing.assert_close(log_probs(model), expected, atol=1e-4, rtol=0)
    assert not ran


@pytest.mark.parametrize(
    ("name", "settings"), [("Helium", {"num_key_value_heads": 2, "head_dim": 8}), ("Persimmon", {})]
)
def test_an_architecture_without_an_adapter(tmp_path, tiny_tokenizer, name, settings) -> None:
    config = getattr(transformers, f"{name}Config")(vocab_size=len(tiny_tokenizer), **SMALL, **settings)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    told = f"{tmp_path}: TransformerLens has no adapter for {name}ForCausalLM; name a checkpoint"
    assert refused(require_measurable, tmp_path).startswith(told)
    assert refused(load_pair, tmp_path).startswith(told)
    assert "has no adapter for" in refused(load_pair, model, tokenizer=tiny_tokenizer)


def test_falcons_new_decoder(tmp_path, tiny_tokenizer) -> None:
    new = {"new_decoder_architecture": True, "num_kv_heads": 2}
    architectures.build("falcon", len(tiny_tokenizer), **new).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    for ask in (require_measurable, load_pair):
        assert "adapter for FalconForCausalLM cannot read one with new_decoder" in refused(ask, tmp_path)


def test_an_adapter_that_fails_is_said_in_a_line(tiny_tokenizer, monkeypatch) -> None:
    monkeypatch.setattr("interp.models.architectures.MISREAD", {})
    new = {"new_decoder_architecture": True, "num_kv_heads": 2}
    model = architectures.build("falcon", len(tiny_tokenizer), **new)
    assert "mine: TransformerLens' adapter for FalconForCausalLM fails on it" in refused(
        boot_bridge, model, tiny_tokenizer, "mine"
    )


def is_supported(config: PreTrainedConfig) -> bool:
    try:
        require_supported(config, architecture_of(config), "mine")
    except InputError:
        return False
    return True


def test_every_architecture_of_the_table_is_supported() -> None:
    made = {name: config(64) for name, config in architectures.ARCHITECTURES.items()}
    assert [name for name, config in made.items() if not is_supported(config)] == []


def test_only_the_class_that_is_loaded_counts() -> None:
    """Some of TransformerLens' adapters import code from a checkpoint whose config.json asks for them."""
    config = PreTrainedConfig(
        architectures=["OpenELMForCausalLM"], original_architecture="OpenELMForCausalLM"
    )
    with pytest.raises(InputError, match="no adapter for HeliumForCausalLM"):
        require_supported(config, "HeliumForCausalLM", "mine")
    assert config.architectures == ["OpenELMForCausalLM"], "what was given is left as it was"


@pytest.mark.parametrize("named", ["FSDPLlamaForCausalLM", "PeftModelForCausalLM", "OptimizedModule"])
def test_the_name_of_a_wrapper_is_not_held_against_a_model(tmp_path, tiny_llama_dir, named) -> None:
    folder = shutil.copytree(tiny_llama_dir, tmp_path / "m")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": [named]}))
    require_measurable(folder)
    with load_pair(folder).base() as model:
        expected = log_probs(AutoModelForCausalLM.from_pretrained(tiny_llama_dir))
        torch.testing.assert_close(log_probs(model), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForSequenceClassification])
def test_a_model_in_memory_without_a_head(tiny_llama_dir, tiny_tokenizer, kind) -> None:
    model = kind.from_pretrained(tiny_llama_dir)
    assert "is no causal language model" in refused(load_pair, model, tokenizer=tiny_tokenizer)


def test_a_class_derived_from_a_causal_one_is_one(tiny_llama_dir, tiny_tokenizer) -> None:
    class FSDPLlamaForCausalLM(transformers.LlamaForCausalLM):  # as FSDP's fully_shard makes them
        pass

    given = FSDPLlamaForCausalLM.from_pretrained(tiny_llama_dir)
    with load_pair(given, tokenizer=tiny_tokenizer).base() as model:
        torch.testing.assert_close(log_probs(model), log_probs(given), atol=1e-4, rtol=0)


def test_settings_that_cannot_be_used(tiny_llama_dir, tmp_path) -> None:
    assert "device = gpu: cannot be used" in refused(load_pair, tiny_llama_dir, device="gpu")
    beyond = f"cuda:{torch.cuda.device_count()}"
    assert f"device = {beyond}: cannot be used" in refused(load_pair, tiny_llama_dir, device=beyond)
    assert "give a tokenizer" in refused(load_pair, tiny_llama_dir, tokenizer=str(tiny_llama_dir))
    assert "write the directory out" in refused(load_pair, "~no-such-user/x")
    for name in ("x" * 300, str(tmp_path / ("x" * 300))):
        assert "no file can bear this name" in refused(load_pair, name)
        assert "no file can bear this name" in refused(load_pair, tiny_llama_dir, name)
