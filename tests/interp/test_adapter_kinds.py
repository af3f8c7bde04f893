"""Every kind of adapter on tied and untied bases: the bridge computes what PEFT computes unmerged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import (
    AdaLoraConfig,
    EvaConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    PeftModel,
    get_peft_model,
)
from peft.tuners.lora import LoraGAConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.checkpoints.adapter_loading import require_adapter_fit
from finetune.common.errors import InputError
from interp.models import parity
from interp.models.load_pair import load_pair
from tests import architectures

IDS = torch.arange(3, 23)[None]
NAMES = {
    "llama": {"embed": "embed_tokens", "linear": ["q_proj", "v_proj"], "up": "down_proj"},
    "gpt2": {"embed": "wte", "linear": ["c_attn"], "up": "c_fc"},
}


def log_probs(model) -> torch.Tensor:
    with torch.inference_mode():
        out = model(IDS)
    return getattr(out, "logits", out).float().log_softmax(-1)


def lora(**settings):
    return lambda part: LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": part["linear"], "task_type": "CAUSAL_LM"}
        | {key: value(part) if callable(value) else value for key, value in settings.items()}
    )


def targets(*more):
    return lambda part: [*part["linear"], *(part.get(name, name) for name in more)]


def these(*names):
    return lambda part: [part.get(name, name) for name in names]


KINDS = {
    "linear": lora(),
    "embeddings": lora(target_modules=targets("embed")),
    "head": lora(target_modules=targets("lm_head")),
    "both": lora(target_modules=targets("embed", "lm_head")),
    "DoRA": lora(use_dora=True),
    "DoRA on embeddings": lora(use_dora=True, target_modules=targets("embed")),
    "DoRA on both": lora(use_dora=True, target_modules=targets("embed", "lm_head")),
    "whole embeddings": lora(modules_to_save=these("embed")),
    "whole head": lora(modules_to_save=["lm_head"]),
    "both whole": lora(modules_to_save=these("embed", "lm_head")),
    "tied by PEFT, whole": lora(modules_to_save=these("embed"), ensure_weight_tying=True),
    "tied by PEFT": lora(target_modules=targets("embed"), ensure_weight_tying=True),
    "tokens": lora(trainable_token_indices=[1, 400]),
    "tokens of both": lora(trainable_token_indices=lambda part: {part["embed"]: [1], "lm_head": [2, 400]}),
    "patterns": lora(
        rank_pattern=lambda part: {part["linear"][0]: 2}, alpha_pattern=lambda part: {part["linear"][-1]: 32}
    ),
    "rsLoRA": lora(use_rslora=True),
    "all biases": lora(bias="all"),
    "biases of LoRA's layers": lora(bias="lora_only"),
    "LoRA's own bias": lora(lora_bias=True),
    "parameters": lora(target_modules=[], target_parameters=lambda part: [f"{part['linear'][0]}.weight"]),
    "one layer": lora(layers_to_transform=[1]),
    "a scale that is no whole number": lora(lora_alpha=8.5),
    "EVA": lora(init_lora_weights="eva", eva_config=EvaConfig()),
    "LoRA-GA": lora(init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig()),
    "layers twice": lora(layer_replication=[[0, 2], [1, 2]]),
    "PiSSA on the head": lora(init_lora_weights="pissa", target_modules=["lm_head"]),
    "OLoRA on the head": lora(init_lora_weights="olora", target_modules=["lm_head"]),
    "IA3": lambda part: IA3Config(
        target_modules=[*part["linear"], part["up"]], feedforward_modules=[part["up"]], task_type="CAUSAL_LM"
    ),
    "LoHa": lambda part: LoHaConfig(r=4, alpha=8, target_modules=part["linear"], task_type="CAUSAL_LM"),
    "LoKr": lambda part: LoKrConfig(r=4, alpha=8, target_modules=part["linear"], task_type="CAUSAL_LM"),
}
ONLY_LLAMA = {"LoHa", "LoKr", "layers twice"}  # PEFT puts these on nn.Linear, or on a few architectures, only
SHARE = {"linear", "head", "patterns", "rsLoRA", "one layer"}


@pytest.fixture(scope="session")
def bases(tiny_tokenizer, tmp_path_factory) -> dict[tuple[str, bool], Path]:
    made = {}
    for name in NAMES:
        for tied in (True, False):
            folder = made[name, tied] = tmp_path_factory.mktemp("base")
            architectures.build(name, len(tiny_tokenizer), tie_word_embeddings=tied).save_pretrained(folder)
            tiny_tokenizer.save_pretrained(folder)
    return made


def trained(base, config, folder, **loading) -> Path:
    """Save an adapter whose every parameter has moved."""
    moved(get_peft_model(AutoModelForCausalLM.from_pretrained(base, **loading), config)).save_pretrained(
        folder
    )
    return folder


def moved(model: PeftModel) -> PeftModel:
    """Move every parameter of an adapter from where it started."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def oracle(base, adapter, dtype=torch.float32) -> torch.Tensor:
    """What PEFT computes, nothing merged, on a model of its own."""
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    return log_probs(PeftModel.from_pretrained(plain, adapter).eval())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bridge_computes_what_peft_computes_unmerged(bases, tmp_path, kind, name, tied) -> None:
    if kind in ONLY_LLAMA and name != "llama":
        pytest.skip("PEFT has none for this architecture")
    base = bases[name, tied]
    adapter = trained(base, KINDS[kind](NAMES[name]), tmp_path)
    require_adapter_fit(adapter, AutoConfig.from_pretrained(base), "the base")
    pair = load_pair(base, adapter)
    with pair.finetuned() as model:
        torch.testing.assert_close(log_probs(model), oracle(base, adapter), atol=1e-4, rtol=0)
    with pair.base() as model:
        plain = log_probs(AutoModelForCausalLM.from_pretrained(base))
        torch.testing.assert_close(log_probs(model), plain, atol=1e-4, rtol=0)
    assert 0 <= pair.provenance["finetuned_parity"] <= 1e-4
    assert pair.provenance["finetuned_file_parity"] == 0.0
    if kind in SHARE:
        assert pair.provenance["copies"] == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["linear", "embeddings", "DoRA on both", "whole head"])
def test_in_half_precision_only_rounding_is_lost(bases, tmp_path, kind) -> None:
    base = bases["llama", True]
    adapter = trained(base, KINDS[kind](NAMES["llama"]), tmp_path)
    pair = load_pair(base, adapter, dtype="bfloat16")
    with pair.finetuned() as model:
        found, wrong = log_probs(model), log_probs(AutoModelForCausalLM.from_pretrained(base))
    expected = oracle(base, adapter)
    assert (found - expected).abs().mean() < 0.05 * (wrong - expected).abs().mean()
    with pair.base() as model:
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="eager")
        torch.testing.assert_close(log_probs(model), log_probs(plain), atol=0.05, rtol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["embeddings", "whole embeddings", "both whole", "tokens", "DoRA on both"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_in_memory_is_read_as_on_disk(bases, tmp_path, kind, tied, tiny_tokenizer) -> None:
    """Also where only the adapter is given: its base is the one below it, not the copy that was trained."""
    base = bases["llama", tied]
    adapter = trained(base, KINDS[kind](NAMES["llama"]), tmp_path)
    mine = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    mine.load_adapter(str(adapter), "other")
    before = log_probs(mine)
    pair = load_pair(None, mine, tokenizer=tiny_tokenizer)
    with pair.finetuned() as model:
        torch.testing.assert_close(log_probs(model), before, atol=1e-4, rtol=0)
    with pair.base() as model:
        plain = log_probs(AutoModelForCausalLM.from_pretrained(base))
        torch.testing.assert_close(log_probs(model), plain, atol=1e-4, rtol=0)
    assert torch.equal(log_probs(mine), before)


def test_resized_embeddings_are_measured_as_they_were_trained(tmp_path, bases, tiny_tokenizer) -> None:
    base, config = bases["llama", True], KINDS["linear"](NAMES["llama"])
    plain = AutoModelForCausalLM.from_pretrained(base)
    plain.resize_token_embeddings(len(tiny_tokenizer) + 2, mean_resizing=True)
    mine = get_peft_model(plain, config)
    mine.save_pretrained(tmp_path)
    pair = load_pair(base, tmp_path)
    assert "resized" in pair.provenance["notices"][0]
    with pair.finetuned() as model:
        torch.testing.assert_close(log_probs(model), log_probs(mine.eval()), atol=1e-4, rtol=0)
    with pair.base() as model:
        assert log_probs(model).shape[-1] == len(tiny_tokenizer)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("memory", [True, False])
def test_embeddings_that_were_cut_to_the_tokenizer(tmp_path, tiny_tokenizer, tied, memory) -> None:
    """As ``resize_token_embeddings(len(tokenizer))`` does with a base whose vocabulary is padded (Qwen)."""
    base, words = tmp_path / "base", len(tiny_tokenizer)
    architectures.build("llama", words + 28, tie_word_embeddings=tied).save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base)
    plain.resize_token_embeddings(words)
    mine = moved(get_peft_model(plain, KINDS["linear"](NAMES["llama"]))).eval()
    mine.save_pretrained(tmp_path / "adapter")
    resized = AutoModelForCausalLM.from_pretrained(base)
    resized.resize_token_embeddings(words)
    expected = log_probs(PeftModel.from_pretrained(resized, tmp_path / "adapter").eval())
    pair = load_pair(base, mine if memory else tmp_path / "adapter")
    with pair.finetuned() as model:
        torch.testing.assert_close(log_probs(model), expected, atol=1e-4, rtol=0)
    with pair.base() as model:
        assert log_probs(model).shape[-1] == words + 28


@pytest.mark.parametrize("more", [-8, 12])
def test_new_tokens_trained_by_themselves_on_a_tied_base(tmp_path, tiny_tokenizer, more) -> None:
    """PEFT's recipe for new tokens: it writes the head's copy of them as well, and reads it nowhere."""
    base, adapter, words = tmp_path / "base", tmp_path / "adapter", len(tiny_tokenizer) + 10
    architectures.build("llama", words, tie_word_embeddings=True).save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)

    def resized():
        plain = AutoModelForCausalLM.from_pretrained(base)
        plain.resize_token_embeddings(words + more)
        return plain

    config = lora(trainable_token_indices=[1, words + more - 1])(NAMES["llama"])
    torch.manual_seed(0)
    moved(get_peft_model(resized(), config)).save_pretrained(adapter)
    copy, own = (
        f"base_model.model.{layer}.token_adapter.trainable_tokens_delta"
        for layer in ("lm_head", "model.embed_tokens")
    )
    held = load_file(adapter / "adapter_model.safetensors")
    assert torch.equal(held[copy], held[own])
    require_adapter_fit(adapter, AutoConfig.from_pretrained(base), "the base")
    pair = load_pair(base, adapter)
    # The file brings all rows, so it does not matter which the resized base starts with.
    with pair.finetuned() as model:
        expected = log_probs(PeftModel.from_pretrained(resized(), adapter).eval())
        torch.testing.assert_close(log_probs(model), expected, atol=1e-4, rtol=0)
    held[copy] = held[copy] + 1
    save_file(held, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no place for .*lm_head\.token_adapter"):
        load_pair(base, adapter)


# What is refused, and what is said


def test_a_merge_that_changes_the_model_is_refused(bases, tmp_path, monkeypatch) -> None:
    """Without cutting the ties of a tied base, as before, merging is nats off; and so it is found out."""
    base = bases["llama", True]
    adapter = trained(base, KINDS["embeddings"](NAMES["llama"]), tmp_path)
    monkeypatch.setattr("interp.models.merging.untie_shared_weights", lambda model: False)
    with pytest.raises(InputError, match=r"merging this adapter changes its log-probabilities by [1-9]"):
        load_pair(base, adapter)


def test_an_adapter_that_no_two_loads_read_alike_is_refused(bases, tmp_path) -> None:
    adapter = trained(bases["llama", True], lora(init_lora_weights="pissa_niter_4")(NAMES["llama"]), tmp_path)
    with pytest.raises(InputError, match="no two loads are alike"):
        load_pair(bases["llama", True], adapter)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", ["scale", "off", "base"])
def test_an_adapter_in_memory_must_compute_what_is_written_of_it(
    bases, tmp_path, change, tiny_tokenizer
) -> None:
    base = bases["llama", True]
    adapter = trained(base, KINDS["linear"](NAMES["llama"]), tmp_path)
    mine = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).train()
    if change == "scale":
        for layer in (module for module in mine.modules() if isinstance(module, BaseTunerLayer)):
            layer.scale_layer(0.5)
    elif change == "off":
        mine.base_model.disable_adapter_layers()
    else:
        with torch.no_grad():
            mine.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(InputError, match="nats off those of its adapter on the given base"):
        load_pair(base, mine, tokenizer=tiny_tokenizer)
    assert mine.training, "what was given is left as it was"


def test_an_adapter_that_changes_nothing_says_so(bases, tmp_path) -> None:
    base = bases["llama", False]
    for name, settings in {"lora": {}, "dora": {"use_dora": True}, "zero": {"lora_alpha": 0}}.items():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora(**settings)(NAMES["llama"]))
        if name == "zero":
            for parameter in model.parameters():
                parameter.data += 0.1 * parameter.requires_grad
        model.save_pretrained(tmp_path / name)
        with pytest.warns(UserWarning, match="changes nothing"):
            pair = load_pair(base, tmp_path / name)
        assert pair.provenance["adapter_change"] <= 1e-5
        assert len(pair.provenance["notices"]) == 1
        assert "changes nothing" in pair.provenance["notices"][0]


def test_weights_that_are_no_numbers_are_called_so(bases, tmp_path, tiny_adapter_dir, tiny_llama_dir) -> None:
    adapter = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({n: t * 1e30 for n, t in tensors.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        load_pair(tiny_llama_dir, adapter)
    with pytest.raises(InputError, match="not finite"):
        parity.require_finite(torch.tensor([[float("nan")]]), "mine")


def test_a_parity_of_nan_is_no_parity() -> None:
    class Config:
        dtype, n_layers = torch.float32, 1

    nan, zero = torch.full((2, 3), float("nan")), torch.zeros(2, 3)
    for found, expected in ((nan, zero), (zero, nan), (nan, nan)):
        with pytest.raises(InputError, match="differ"):
            parity.require_parity(found, expected, Config, "mine")


@pytest.mark.parametrize(
    "named", ["meta/llama-7b-bnb-4bit", "unsloth/llama-7b", "x/Llama-AWQ", "y/l-7b-GPTQ-Int4", "z/l.w8a8"]
)
def test_shapes_decide_for_an_adapter_of_a_quantised_copy(
    tiny_llama_dir, tiny_model, tiny_adapter_dir, tmp_path, named
) -> None:
    adapter = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = named
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    pair, same = load_pair(tiny_llama_dir, adapter), load_pair(tiny_llama_dir, tiny_adapter_dir)
    assert named in pair.provenance["notices"][0]
    with pair.finetuned() as a, same.finetuned() as b:
        assert torch.equal(log_probs(a), log_probs(b))
    with pytest.raises(InputError, match="name the base that the adapter was trained on"):
        load_pair(tiny_model("gpt2"), adapter)


def test_shapes_decide_where_the_recorded_directory_is_quantised(
    tiny_llama_dir, tiny_adapter_dir, tmp_path
) -> None:
    twin = Path(shutil.copytree(tiny_llama_dir, tmp_path / "twin"))
    settings = json.loads((twin / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (twin / "config.json").write_text(json.dumps(settings))
    (twin / "model.safetensors").write_bytes(b"other")
    adapter = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(twin)
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"name the same (base|model) in bfloat16 or float32"):
        load_pair(adapter)
    assert "quantised copy" in load_pair(tiny_llama_dir, adapter).provenance["notices"][0]


def test_load_pair_follows_what_a_training_chose(tiny_llama_dir, tiny_adapter_dir, tmp_path) -> None:
    shutil.copytree(tiny_adapter_dir, tmp_path / "lr-0.1")
    (tmp_path / "chosen.json").write_text('{"path": "lr-0.1"}')
    same = load_pair(tiny_llama_dir, tiny_adapter_dir)
    for pair in (load_pair(tiny_llama_dir, tmp_path), load_pair(tmp_path)):
        assert pair.provenance["finetuned"] == str(tmp_path / "lr-0.1")
        with pair.finetuned() as a, same.finetuned() as b:
            assert torch.equal(log_probs(a), log_probs(b))


@pytest.mark.parametrize("target_r", [1, 2])
def test_an_adalora_that_gave_ranks_up(tmp_path, tiny_llama_dir, target_r) -> None:
    """It is trained to its end; with one rank a layer in the mean, some layers keep none."""
    config = AdaLoraConfig(
        target_r=target_r,
        init_r=4,
        total_step=12,
        tinit=1,
        tfinal=3,
        deltaT=1,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(0)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama_dir), config)
    optimizer = torch.optim.Adam([p for p in peft.parameters() if p.requires_grad], lr=0.05)
    for step in range(11):
        peft(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        peft.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    peft.eval().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"]
    require_adapter_fit(tmp_path, AutoConfig.from_pretrained(tiny_llama_dir), "the base")
    expected = log_probs(
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama_dir), tmp_path).eval()
    )
    with load_pair(tiny_llama_dir, tmp_path).finetuned() as model:
        torch.testing.assert_close(log_probs(model), expected, atol=1e-4, rtol=0)
