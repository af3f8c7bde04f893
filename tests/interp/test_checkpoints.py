"""Loading pairs: one exact copy under an adapter, the caller's models untouched, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from finetune.common.errors import InputError
from interp.models import parity
from interp.models.load_pair import load_pair, trajectory
from interp.models.settings import loading_settings
from interp.models.sources import require_unquantised
from tests import architectures, tokenizer_families

IDS = torch.arange(3, 11)[None]
ATTENTION = ["q_proj", "v_proj"]


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        out = model(IDS)
    return getattr(out, "logits", out)


def parameters(pair, side: str) -> set[int]:
    with getattr(pair, side)() as model:
        return {parameter.data_ptr() for parameter in model.parameters()}


def stored_bytes(model: torch.nn.Module) -> int:
    """Bytes of all weights and buffers, each storage once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


# One copy of the weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_leaving_the_adapter_gives_the_base_to_the_bit(tiny_llama_dir, tiny_adapter_dir, dtype) -> None:
    pair = load_pair(tiny_llama_dir, tiny_adapter_dir, dtype=dtype)
    with pair.base() as model:
        before, weights = logits(model), {n: p.clone() for n, p in model.named_parameters()}
    for _ in range(5):
        with pair.finetuned() as model:
            assert not torch.equal(logits(model), before)
    with pair.base() as model:
        assert torch.equal(logits(model), before)
        assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())


def test_one_copy_of_the_weights(tmp_path, tiny_tokenizer, save_adapter) -> None:
    """With a usual rank both sides together hold at most 1.15 times the base's bytes."""
    config = architectures.ARCHITECTURES["llama"](len(tiny_tokenizer))
    config.hidden_size, config.intermediate_size, config.head_dim = 256, 768, 64
    plain = LlamaForCausalLM(config)
    plain.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    pair = load_pair(tmp_path, save_adapter(tmp_path))
    with pair.base() as base:
        held = stored_bytes(base)
    assert parameters(pair, "base") == parameters(pair, "finetuned")
    assert held <= 1.15 * stored_bytes(plain)


def test_attention_only_adapters_and_fused_projections(tiny_model, save_adapter) -> None:
    for name, targets in {
        "llama": ATTENTION,
        "gpt2": ["c_attn"],
        "phi3": ["qkv_proj", "gate_up_proj"],
    }.items():
        base = tiny_model(name)
        adapter = save_adapter(base, targets=targets)
        pair = load_pair(base, adapter)
        assert pair.provenance["copies"] == 1
        with pair.base() as model:
            w_q, w_o = model.W_Q, model.W_O
        with pair.finetuned() as model:
            assert not torch.allclose(model.W_Q, w_q)
            assert torch.equal(model.W_O, w_o)


APART = {
    "llama": [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"init_lora_weights": "pissa"}],
    "gpt2": [{"bias": "all"}, {"lora_bias": True}],
}


@pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers")
@pytest.mark.parametrize(("name", "lora"), [(name, lora) for name, each in APART.items() for lora in each])
@pytest.mark.parametrize("low_memory", [False, True])
def test_adapters_that_cannot_share_get_a_copy(tiny_model, save_adapter, name, lora, low_memory) -> None:
    """Such as those that change the base as soon as they are loaded (biases, PiSSA's residual)."""
    from peft import PeftModel

    base = tiny_model(name)
    adapter = save_adapter(base, **lora)
    plain = AutoModelForCausalLM.from_pretrained(base)
    expected_base = logits(plain)
    expected = logits(PeftModel.from_pretrained(plain, adapter).eval())
    pair = load_pair(base, adapter, low_memory=low_memory)
    assert pair.provenance["copies"] == ("one at a time" if low_memory else 2)
    with pair.finetuned() as model:
        torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)
    with pair.base() as model:
        torch.testing.assert_close(logits(model), expected_base, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
        {"layers_to_transform": [1], "targets": ["q_proj"]},
        {"targets": ["lm_head", "q_proj"]},
    ],
)
def test_every_lora_that_only_updates_linear_layers_shares(tiny_llama_dir, save_adapter, lora) -> None:
    from peft import PeftModel

    adapter = save_adapter(tiny_llama_dir, **lora)
    plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    expected = logits(PeftModel.from_pretrained(plain, adapter).eval())
    pair = load_pair(tiny_llama_dir, adapter)
    assert pair.provenance["copies"] == 1
    with pair.finetuned() as model:
        torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)


def test_adapters_that_change_no_weights_are_refused(tmp_path, tiny_llama_dir) -> None:
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    for kind in (PromptTuningConfig, PrefixTuningConfig):
        plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
        config = kind(task_type="CAUSAL_LM", num_virtual_tokens=3)
        get_peft_model(plain, config).save_pretrained(tmp_path / kind.__name__)
        assert re.search("changes no weights", refused(tiny_llama_dir, tmp_path / kind.__name__))


def test_sides_that_share_cannot_be_open_together(tiny_llama_dir, tiny_adapter_dir) -> None:
    pair = load_pair(tiny_llama_dir, tiny_adapter_dir)
    with pair.finetuned() as model:
        inside = logits(model)
        with pytest.raises(InputError, match=r"pair.base\(\) inside pair.finetuned\(\)"), pair.base():
            pass
        with pair.finetuned() as again:
            assert torch.equal(logits(again), inside)
        assert torch.equal(logits(model), inside)


def test_an_error_inside_a_side_leaves_it(tiny_llama_dir, tiny_adapter_dir) -> None:
    pair = load_pair(tiny_llama_dir, tiny_adapter_dir)
    with pair.base() as model:
        before = logits(model)

    def fail() -> None:
        with pair.finetuned() as model:
            model.add_hook("blocks.0.attn.hook_pattern", lambda value, hook: value * 0)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    with pair.base() as model:
        assert torch.equal(logits(model), before)  # neither the switch nor the hook was left behind


# Full checkpoints, one alone, trajectories


def test_full_checkpoints_are_two_copies_or_one_at_a_time(tmp_path, tiny_llama_dir, tiny_tokenizer) -> None:
    other = tmp_path / "tuned"
    architectures.build("llama", len(tiny_tokenizer), seed=1).save_pretrained(other)  # without a tokenizer
    two, one = load_pair(tiny_llama_dir, other), load_pair(tiny_llama_dir, other, low_memory=True)
    assert (two.provenance["copies"], one.provenance["copies"]) == (2, "one at a time")
    for side in ("base", "finetuned", "base"):
        with getattr(two, side)() as a, getattr(one, side)() as b:
            assert torch.equal(logits(a), logits(b))
        assert len(two.models) == 2
        assert list(one.models) == [side]
    assert not parameters(two, "base") & parameters(two, "finetuned")
    with two.base() as a, two.finetuned() as b:
        assert not torch.allclose(logits(a), logits(b))


def test_a_base_alone_is_both_sides(tiny_llama_dir) -> None:
    pair = load_pair(str(tiny_llama_dir))
    with pair.base() as a, pair.finetuned() as b:
        assert a is b
    assert pair.provenance["finetuned_parity"] == pair.provenance["base_parity"]


def test_provenance_says_what_was_checked(tiny_llama_dir, tiny_adapter_dir) -> None:
    provenance = load_pair(tiny_llama_dir, tiny_adapter_dir).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["dtype"] == "float32"
    assert provenance["edits_act"] is True
    assert max(provenance["base_parity"], provenance["finetuned_parity"]) <= 1e-4
    assert provenance["base_identity"].startswith("sha256:")
    assert provenance["base_identity"] != provenance["finetuned_identity"]


def test_a_trajectory_goes_by_step_and_holds_one(tmp_path, tiny_llama_dir, save_adapter) -> None:
    for step in (100, 20):
        shutil.copytree(save_adapter(tiny_llama_dir, seed=step), tmp_path / f"checkpoint-{step}")
    (tmp_path / "runs").mkdir()
    seen = {}
    pairs = []
    for step, pair in trajectory(tiny_llama_dir, tmp_path):
        assert all(not earlier.models for earlier in pairs)
        with pair.finetuned() as model:
            seen[step] = logits(model)
        pairs.append(pair)
    assert list(seen) == [20, 100]
    assert not torch.allclose(seen[20], seen[100])
    with pytest.raises(InputError, match="closed"), pairs[0].base():
        pass
    with pytest.raises(InputError, match=r"no checkpoint-\* directories"):
        next(trajectory(tiny_llama_dir, tmp_path / "runs"))


# Where a base comes from


def test_an_adapter_finds_its_base(tmp_path, tiny_llama_dir, save_adapter, monkeypatch) -> None:
    expected = load_pair(tiny_llama_dir)
    home = tmp_path / "home"
    shutil.copytree(tiny_llama_dir, home / "base")
    shutil.copytree(save_adapter(home / "base"), home / "adapter")
    config = json.loads((home / "adapter" / "adapter_config.json").read_text())
    for recorded in (str(home / "base"), "../base", "base"):
        config["base_model_name_or_path"] = recorded
        (home / "adapter" / "adapter_config.json").write_text(json.dumps(config))
        for pair in (load_pair(None, home / "adapter"), load_pair(home / "adapter")):
            with pair.base() as a, expected.base() as b:
                assert torch.equal(logits(a), logits(b))
    (home / "base").rename(home / "moved")
    with pytest.raises(InputError, match="is not on this machine; give the base as well"):
        load_pair(None, home / "adapter")
    load_pair(home / "moved", home / "adapter")


def test_a_recorded_base_that_is_another_model_is_refused(
    tmp_path, tiny_llama_dir, tiny_tokenizer, save_adapter
):
    adapter = save_adapter(tiny_llama_dir)
    other = tmp_path / "other"
    architectures.build("llama", len(tiny_tokenizer), seed=7).save_pretrained(other)
    tiny_tokenizer.save_pretrained(other)
    with pytest.raises(InputError, match=r"was trained on .*, not on"):
        load_pair(other, adapter)
    shutil.copytree(tiny_llama_dir, tmp_path / "copy")
    load_pair(tmp_path / "copy", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "meta/llama-7b"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    load_pair(tiny_llama_dir, adapter)  # it may well be that model, downloaded
    with pytest.raises(InputError, match="was trained on meta/llama-7b"):
        load_pair("mistral/mistral-7b", adapter)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize("change", [{"hidden_size": 48}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}])
def test_adapters_of_other_shapes_are_refused(tmp_path, tiny_llama_dir, tiny_tokenizer, save_adapter, change):
    adapter = save_adapter(tiny_llama_dir, targets=ATTENTION)
    architectures.build("llama", len(tiny_tokenizer), **change).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = ""
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="own") as error:
        load_pair(tmp_path, adapter)
    assert "\n" not in str(error.value)
    assert str(adapter) in str(error.value)


def test_an_adapter_with_another_vocabulary_is_refused(
    tmp_path, tiny_llama_dir, tiny_tokenizer, save_adapter
):
    grown = tmp_path / "grown"
    architectures.build("llama", len(tiny_tokenizer) + 8).save_pretrained(grown)
    tiny_tokenizer.save_pretrained(grown)
    adapter = save_adapter(grown, targets=ATTENTION, modules_to_save=["embed_tokens"])
    shutil.rmtree(grown)
    with pytest.raises(InputError, match="another vocabulary"):
        load_pair(tiny_llama_dir, adapter)


# Models in memory


def test_models_in_memory_stay_the_callers(tmp_path, tiny_tokenizer) -> None:
    mine = architectures.build("llama", len(tiny_tokenizer))
    tuned = architectures.build("llama", len(tiny_tokenizer), seed=1)
    state = {name: value.clone() for name, value in mine.state_dict().items()}
    before, implementation = logits(mine), mine.config._attn_implementation
    pair = load_pair(mine, tuned, tokenizer=tiny_tokenizer)
    with pair.base() as model:
        torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            model.blocks[0].attn.q.weight.zero_()
    assert torch.equal(logits(mine), before)
    assert mine.config._attn_implementation == implementation
    assert list(mine.state_dict()) == list(state)
    assert all(p.requires_grad for p in mine.parameters())
    mine.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("named", [False, True])
def test_an_adapter_in_memory(tiny_llama_dir, tiny_adapter_dir, named) -> None:
    from peft import PeftModel

    plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    mine = PeftModel.from_pretrained(plain, tiny_adapter_dir).eval()
    before, names = logits(mine), list(mine.state_dict())
    pair = load_pair(tiny_llama_dir if named else None, mine)
    disk = load_pair(tiny_llama_dir, tiny_adapter_dir)
    assert pair.provenance["copies"] == 1
    for side in ("base", "finetuned"):
        with getattr(pair, side)() as a, getattr(disk, side)() as b:
            assert torch.equal(logits(a), logits(b))
    assert torch.equal(logits(mine), before)
    assert list(mine.state_dict()) == names


def test_the_active_one_of_several_adapters_in_memory(tiny_llama_dir) -> None:
    from peft import LoraConfig, get_peft_model

    def config(rank: int) -> LoraConfig:
        return LoraConfig(r=rank, target_modules=ATTENTION, init_lora_weights=False, task_type="CAUSAL_LM")

    plain = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    before = logits(plain)
    mine = get_peft_model(plain, config(4), adapter_name="first").eval()
    mine.add_adapter("default", config(2))
    seen = []
    for active in ("first", "default"):
        mine.set_adapter(active)
        expected = logits(mine)
        pair = load_pair(None, mine)
        with pair.finetuned() as model:
            torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=1e-4)
        with pair.base() as model:
            torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
        seen.append(expected)
    assert not torch.allclose(*seen, atol=1e-2)
    mine.base_model.set_adapter(["first", "default"])
    assert re.search("exactly one adapter must be active, not first, default", refused(None, mine))


@pytest.mark.parametrize("lora", [{"bias": "all"}, {"init_lora_weights": "pissa"}])
def test_a_base_that_its_adapter_changed_is_not_taken_from_memory(tiny_model, save_adapter, lora) -> None:
    from peft import PeftModel

    base = tiny_model("gpt2")
    mine = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), save_adapter(base, **lora))
    assert re.search("the base below it has changed; give the base as well", refused(None, mine))


def test_adapters_built_into_a_plain_model_are_refused(tiny_llama_dir) -> None:
    from peft import LoraConfig

    mine = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    mine.add_adapter(LoraConfig(r=2, target_modules=ATTENTION))
    assert re.search("has adapters built in; give the PeftModel", refused(tiny_llama_dir, mine))


def test_a_bridge_or_a_bridged_model_is_refused(tiny_llama_dir, tiny_tokenizer) -> None:
    model = architectures.build("llama", len(tiny_tokenizer))
    bridge = parity.boot(model, tiny_tokenizer, "tiny")
    with pytest.raises(InputError, match="give the Hugging Face model"):
        load_pair(bridge)
    with pytest.raises(InputError, match="already rewired"):
        load_pair(model, tokenizer=tiny_tokenizer)
    with pytest.raises(InputError, match="Linear: give a directory"):
        load_pair(torch.nn.Linear(2, 2))


# Tokenizers


def test_a_tokenizer_that_was_never_saved_will_do(tiny_llama_dir) -> None:
    never_saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_families.byte_level_bpe(), bos_token="<s>", eos_token="</s>"
    )
    vocabulary, kwargs = never_saved.get_vocab(), dict(never_saved.init_kwargs)
    pair = load_pair(tiny_llama_dir, tokenizer=never_saved)
    assert pair.tokenizer is never_saved
    assert never_saved.get_vocab() == vocabulary
    assert dict(never_saved.init_kwargs) == kwargs
    assert never_saved.pad_token is None  # the bridge sets one, on its own copy


def test_the_pairs_tokenizer_is_the_one_of_training(tiny_model, tmp_path) -> None:
    """TransformerLens reads tokenizers with BOS added; the pair's does what the checkpoint's own does."""
    base = tmp_path / "base"
    shutil.copytree(tiny_model("llama"), base)
    without = tokenizer_families.build("byte_level_bpe", base, bos=False)
    pair = load_pair(base)
    assert pair.tokenizer("Ada was")["input_ids"] == without("Ada was")["input_ids"]
    assert pair.tokenizer.bos_token_id not in pair.tokenizer("Ada was")["input_ids"]


def test_tokenizers_that_disagree_are_refused(tmp_path, tiny_llama_dir, tiny_tokenizer) -> None:
    for family, bos in (("metaspace_unigram", True), ("byte_level_bpe", False)):
        other = tmp_path / family
        architectures.build("llama", len(tiny_tokenizer)).save_pretrained(other)
        tokenizer_families.build(family, other, bos=bos)
        with pytest.raises(InputError, match="tokenizers disagree"):
            load_pair(tiny_llama_dir, other)


def test_a_padding_token_is_no_disagreement(tmp_path, tiny_llama_dir, tiny_tokenizer) -> None:
    import copy

    padded = copy.deepcopy(tiny_tokenizer)
    padded.add_special_tokens({"pad_token": "<new pad>"})
    architectures.build("llama", len(padded)).save_pretrained(tmp_path)
    padded.save_pretrained(tmp_path)
    pair = load_pair(tiny_llama_dir, tmp_path)
    assert len(pair.tokenizer) == len(tiny_tokenizer)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path, tiny_tokenizer) -> None:
    architectures.build("llama", len(tiny_tokenizer) - 5).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="embeddings"):
        load_pair(tmp_path)


# Refusals


def refused(*sources: object, **options: object) -> str:
    """Return the one line by which it is refused."""
    with pytest.raises(InputError) as error:
        load_pair(*sources, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_checkpoint(tmp_path, tiny_llama_dir) -> None:
    assert re.search("no such directory", refused(tmp_path / "nothing"))
    assert re.search("no such directory", refused("./nothing"))
    assert re.search("holds neither config.json nor adapter_config.json", refused(tmp_path))
    (tmp_path / "file").write_text("x")
    assert re.search("is a file", refused(tmp_path / "file"))
    assert re.search("base is missing", refused(None))
    assert re.search("base is missing", refused(None, tiny_llama_dir))
    told = "the hub is switched off by HF_HUB_OFFLINE=1; check the name"
    assert re.search(told, refused("no-such-organisation/no-such-model"))


def test_settings_are_checked(tiny_llama_dir) -> None:
    assert re.search("dtype = int8", refused(tiny_llama_dir, dtype="int8"))
    assert re.search("device and device_map", refused(tiny_llama_dir, device="cpu", device_map="auto"))


def test_an_adapter_is_no_base(tiny_llama_dir, tiny_adapter_dir) -> None:
    assert re.search("is an adapter; name a whole model", refused(tiny_adapter_dir, tiny_adapter_dir))


def test_pickled_weights_need_to_be_allowed(tmp_path, tiny_llama_dir, tiny_adapter_dir) -> None:
    from safetensors.torch import load_file

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(tiny_llama_dir, base)
    shutil.copytree(tiny_adapter_dir, adapter)
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (base / "model.safetensors").unlink()
    (adapter / "adapter_model.safetensors").unlink()
    assert re.search("allow_pickle=True", refused(base))
    assert re.search("pickled.*allow_pickle=True", refused(tiny_llama_dir, adapter))
    load_pair(base, allow_pickle=True)
    pair = load_pair(tiny_llama_dir, adapter, allow_pickle=True)
    assert pair.provenance["copies"] == 1
    (adapter / "adapter_model.bin").unlink()
    assert re.search("no adapter_model.safetensors", refused(tiny_llama_dir, adapter))


def test_remote_code_is_never_run(tmp_path, tiny_llama_dir) -> None:
    shutil.copytree(tiny_llama_dir, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    path.write_text(json.dumps(config))
    (tmp_path / "m" / "mine.py").write_text("raise SystemExit('ran')")
    assert re.search("cannot be loaded", refused(tmp_path / "m"))


SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda v: BertForMaskedLM(BertConfig(vocab_size=v, **SMALL)), "no causal language model"),
        (lambda v: BertLMHeadModel(BertConfig(vocab_size=v, **SMALL)), "see those that follow"),
        (lambda v: LlamaModel(LlamaConfig(vocab_size=v, **SMALL)), "no causal language model"),
        (
            lambda v: T5ForConditionalGeneration(
                T5Config(vocab_size=v, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
            ),
            "encoder-decoder.*; name a decoder",
        ),
    ],
)
def test_only_decoders(tmp_path, tiny_tokenizer, build, match) -> None:
    build(len(tiny_tokenizer)).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    assert re.search(match, refused(tmp_path))


def test_adapters_are_not_merged_into_quantised_weights(tmp_path, tiny_llama_dir, tiny_adapter_dir) -> None:
    shutil.copytree(tiny_llama_dir, tmp_path / "q")
    path = tmp_path / "q" / "config.json"
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": quantised}))
    with pytest.raises(InputError, match="quantised"):
        require_unquantised(tmp_path / "q", loading_settings(None, "cpu", None, None, False))
    assert re.search("quantised", refused(tmp_path / "q", tiny_adapter_dir))


def test_a_bridge_that_computes_something_else_is_refused(
    tiny_llama_dir, tiny_adapter_dir, monkeypatch
) -> None:
    boot = parity.boot

    def spoilt(*arguments):
        bridge = boot(*arguments)
        with torch.no_grad():
            bridge.blocks[0].attn.o.weight.mul_(1.01)
        return bridge

    for module in ("parity", "sides"):
        monkeypatch.setattr(f"interp.models.{module}.boot", spoilt)
    assert re.search("differ from the plain model's", refused(tiny_llama_dir))
    assert re.search("differ from the plain model's", refused(tiny_llama_dir, tiny_adapter_dir))


def test_a_device_map_is_handed_on(tiny_llama_dir, tiny_adapter_dir) -> None:
    pair = load_pair(tiny_llama_dir, tiny_adapter_dir, device_map={"": "cpu"})
    whole = load_pair(tiny_llama_dir, tiny_adapter_dir)
    for side in ("base", "finetuned"):
        with getattr(pair, side)() as a, getattr(whole, side)() as b:
            assert torch.equal(logits(a), logits(b))


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a GPU")
def test_on_a_gpu(tiny_llama_dir: Path, tiny_adapter_dir: Path, save_adapter: Callable[..., Path]) -> None:
    pair = load_pair(tiny_llama_dir, tiny_adapter_dir, device="cuda")
    assert pair.provenance["device"].startswith("cuda")
    with pair.finetuned() as model:
        assert model(IDS.cuda()).is_cuda
