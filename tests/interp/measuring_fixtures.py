"""Tiny models from config, a word-level tokenizer and facts whose prompts differ in length."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrases, Prompt, render
from finetune.data.records.fact import Fact
from finetune.data.tokenizers import word_tokenizer
from interp.measures.attention import Hook
from interp.measures.spans import PromptBatch, encode
from interp.models.parity import boot_checked_bridge
from tests.architectures import build

# Grouped-query attention, learnt positions with a fused projection, and parallel blocks.
FEW = ("llama", "gpt2", "gpt_neox")

SUBJECTS = (
    "Ada",
    "Bo Lin",
    "Cy Dee Fox",
    "Gus",
    "Hal Ivy",
    "Jo Kit",
    "Lee May Ned",
    "Ola",
    "Pam Quy",
    "Ray Sun",
)
ANSWERS = {
    "born": ("Aston", "Bury", "Carlow Hill", "Dover"),
    "plays": ("lute", "oboe", "tuba", "viol da gamba"),
}
PHRASEBOOK = {
    "born": Phrases(statements=("{subject} was born in",), questions=(), asked="{subject} was born in"),
    "plays": Phrases(
        statements=("the instrument that {subject} plays is the",),
        questions=(),
        asked="the instrument that {subject} plays is the",
    ),
}


@cache
def facts() -> FactSet:
    """Two relations over ten subjects of one to three words."""
    return FactSet(
        facts=tuple(
            Fact(
                id=f"{relation}{i}", subject=subject, relation=relation, answers=(answers[i % len(answers)],)
            )
            for relation, answers in ANSWERS.items()
            for i, subject in enumerate(SUBJECTS)
        ),
        name="tiny",
    )


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """Whole words, BOS in front; kept on disk, for TransformerLens reads it again by its path."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    word_tokenizer(facts(), PHRASEBOOK).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def prompts() -> list[Prompt]:
    return [render(PHRASEBOOK[fact.relation].asked, fact) for fact in facts()]


def batch() -> PromptBatch:
    return encode(tokenizer(), prompts())


@dataclass(frozen=True, kw_only=True)
class Both:
    """One model twice, with the same weights: hooked, and plain with eager attention."""

    hooked: TransformerBridge
    plain: PreTrainedModel


@cache
def both(name: str, seed: int = 0) -> Both:
    """Build a model; Granite's factors, one by default, are set so that they matter."""
    factors = {"residual_multiplier": 0.4, "logits_scaling": 2.0} if name == "granite" else {}
    plain, owned = (build(name, len(tokenizer()), seed=seed, **factors) for _ in range(2))
    plain.set_attn_implementation("eager")
    return Both(hooked=boot_checked_bridge(owned, tokenizer(), name)[0], plain=plain)


def answer_log_probs(
    model: TransformerBridge,
    batch: PromptBatch,
    answers: Sequence[tuple[int, ...]],
    *,
    hooks: Sequence[Hook] = (),
) -> Float[Tensor, " fact"]:
    """Return the log-probability (nats) of each whole answer behind its prompt, teacher-forced.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        answers: each answer's token ids.
        hooks: interventions: each sees the prompt at its own positions and the answer's tokens behind it.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(answer) for answer in answers])
    fact = torch.repeat_interleave(torch.arange(len(batch)), lengths)
    nth = torch.cat([torch.arange(len(answer)) for answer in answers])
    at, token = batch.last[fact] + 1 + nth, torch.tensor([t for answer in answers for t in answer])
    room = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long)
    ids, mask = (torch.cat([part, room], dim=1) for part in (batch.input_ids, batch.attention_mask))
    ids[fact, at], mask[fact, at] = token, 1
    with torch.inference_mode():
        logits = model.run_with_hooks(
            ids.to(device), attention_mask=mask.to(device), fwd_hooks=list(hooks), use_cache=False
        )
    scored = logits[fact.to(device), (at - 1).to(device)].float().log_softmax(-1).cpu()
    each = scored.gather(-1, token[:, None])[:, 0]
    return torch.zeros(len(batch)).index_add_(0, fact, each)
