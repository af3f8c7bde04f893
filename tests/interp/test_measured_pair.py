"""Every measure on both sides of one copy of the weights, against two plain models of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

import interp
from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from interp.measures.result import Result
from interp.measures.spans import PromptBatch
from interp.models.parity import boot_checked_bridge

ANSWERS = dict.fromkeys(("born", "job", "quoted"), ("Paris", "London", "Łódź"))
MEASURES: dict[str, Callable[..., Result]] = {
    "attention": lambda model, batch, tokenizer: interp.subject_attention(model, batch),
    "readout": lambda model, batch, tokenizer: interp.value_readout(model, batch, tokenizer, ANSWERS),
    "harm": interp.harm_score,
    "knockout": interp.knockout,
}


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def sides(request, tiny_model, save_adapter, tiny_tokenizer):
    """Return a pair on one copy of the weights, and each side alone with its weights merged."""
    base = tiny_model(request.param)
    adapter = save_adapter(base)

    def alone(merge: bool) -> TransformerBridge:
        model = AutoModelForCausalLM.from_pretrained(base)
        if merge:
            model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        return boot_checked_bridge(model.eval(), tiny_tokenizer, "alone")[0]

    return interp.load_pair(str(base), str(adapter)), {"base": alone(False), "finetuned": alone(True)}


@pytest.mark.parametrize("measure", MEASURES)
def test_each_side_measures_as_a_model_of_its_own(
    sides, measure: str, prompts: list[Prompt], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    pair, alone = sides
    batch: PromptBatch = interp.encode(tiny_tokenizer, prompts)
    results = {}
    for side in ("base", "finetuned"):
        with getattr(pair, side)() as model:
            results[side] = MEASURES[measure](model, batch, tiny_tokenizer)
        expected = MEASURES[measure](alone[side], batch, tiny_tokenizer)
        for name, value in vars(expected).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                torch.testing.assert_close(getattr(results[side], name), value, atol=1e-4, rtol=1e-3)
        results[side].require(alone[side])
    with pytest.raises(InputError, match="another model"):
        results["base"].require(alone["finetuned"])


def test_a_result_saved_on_one_side_is_refused_on_the_other(
    sides, prompts: list[Prompt], tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    pair, _ = sides
    batch = interp.encode(tiny_tokenizer, prompts)
    with pair.base() as model:
        interp.subject_attention(model, batch).save(tmp_path / "base.safetensors")
    loaded = interp.AttentionMass.load(tmp_path / "base.safetensors")
    with pair.finetuned() as model, pytest.raises(InputError, match="another model"):
        loaded.require(model)
    with pair.base() as model:
        loaded.require(model)
