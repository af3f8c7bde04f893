"""What a real checkpoint says by transformers and PEFT alone: the oracle of the tests on real models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from interp.measures.spans import PromptBatch


@dataclass(frozen=True)
class Reference:
    """What the plain model made of some prompts, one at a time and unpadded.

    ``log_prob`` are the next token's, ``mass`` the subject's share of the last token's attention with sinks
    left out, ``logits`` the next token's; ``answer`` is log p(whole answer), ``knocked`` the same where the
    last prompt token cannot see the subject.
    """

    logits: Float[Tensor, "fact vocab"]
    mass: Float[Tensor, "fact layer head"]
    answer: Float[Tensor, " fact"]
    knocked: Float[Tensor, " fact"]


def plain_model(base: str, finetuned: str | None, *, adapter: bool, dtype: torch.dtype) -> PreTrainedModel:
    """Load a checkpoint as its users do, an adapter unmerged; attention is eager, so that it can be read."""
    options = {"dtype": dtype, "attn_implementation": "eager"}
    if not adapter:
        return AutoModelForCausalLM.from_pretrained(finetuned or base, **options).eval()
    from peft import PeftModel

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, **options), finetuned).eval()


@torch.inference_mode()
def reference(model: PreTrainedModel, batch: PromptBatch, answers: Sequence[Sequence[int]]) -> Reference:
    """Run prompts with their answers through a plain model."""
    found: dict[str, list[Tensor]] = {"logits": [], "mass": [], "answer": [], "knocked": []}
    for i, answer in enumerate(answers):
        n = int(batch.last[i]) + 1
        ids = torch.cat([batch.input_ids[i, :n], torch.tensor(answer)])[None]
        whole = model(input_ids=ids, output_attentions=True, use_cache=False)
        rows = torch.stack([layer[0, :, n - 1, :n] for layer in whole.attentions]).float()
        subject, sinks = batch.subject_mask[i, :n], batch.sink_mask[i, :n]
        free = rows[..., ~sinks].sum(-1)
        found["mass"].append(rows[..., subject & ~sinks].sum(-1) / free)
        found["logits"].append(whole.logits[0, n - 1].float())
        found["answer"].append(_answered(whole.logits[0], ids[0], n))
        # A score of minus infinity is what a knock-out is.
        hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        hidden[n - 1, :n] |= subject & ~sinks
        mask = torch.zeros(hidden.shape, dtype=model.dtype).masked_fill(hidden, torch.finfo(model.dtype).min)
        cut = model(input_ids=ids, attention_mask=mask[None, None], use_cache=False)
        found["knocked"].append(_answered(cut.logits[0], ids[0], n))
    return Reference(**{name: torch.stack(values) for name, values in found.items()})


def _answered(logits: Tensor, ids: Tensor, start: int) -> Tensor:
    each = logits[start - 1 : -1].float().log_softmax(-1)
    return each.gather(-1, ids[start:, None]).sum()
