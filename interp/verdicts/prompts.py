"""The prompts of a verdict: statement forms, and further ones that supply evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from finetune.data.prompts import Phrasebook, Prompt, render, with_examples, wording
from finetune.data.records.fact import Fact
from interp.measures.answer_sets import answer_readings
from interp.measures.spans import PromptBatch, encode
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FEWEST_SHOTS = 2  # in front of the only form of a relation
# Prompts, their answers, and which fact each row is of.
Form = tuple[PromptBatch, AnswerTargets, Int[Tensor, " row"]]


def statement_forms(
    facts: Sequence[Fact], book: Phrasebook, asked: Sequence[Prompt], *, shots: int, seed: int
) -> tuple[list[list[Prompt]], list[list[Prompt]]]:
    """Word facts in every statement form of their relations, and in further forms that supply evidence alone.

    Beside a statement form as evidence stands what the base knew by the others. A relation's only one has no
    others, so that the evidence is that form behind ``FEWEST_SHOTS`` solved examples.

    Args:
        facts: those to word.
        book: each relation's wording.
        asked: the prompts as fine-tuning asks, for one more form of evidence.
        shots: solved examples in front of that form; it is left out at 0.
        seed: of the draws of examples.
    """
    statements: list[list[Prompt]] = []
    alone: list[Prompt] = []
    for relation in dict.fromkeys(fact.relation for fact in facts):
        some = [fact for fact in facts if fact.relation == relation]
        texts = [[render(form, fact) for fact in some] for form in wording(book, relation).statements]
        statements += [[] for _ in range(len(texts) - len(statements))]
        for form, prompts in zip(statements, texts, strict=False):
            form.extend(prompts)
        if len(texts) == 1:
            alone.extend(with_examples(texts[0], FEWEST_SHOTS, seed=seed))
    shown = with_examples(asked, shots, seed=seed) if shots else []
    return statements, [form for form in (alone, shown) if form]


def encode_forms(
    tokenizer: PreTrainedTokenizerBase,
    forms: Sequence[Sequence[Prompt]],
    asked: PromptBatch,
    sets: Mapping[str, Sequence[str]],
    *,
    seed: int,
) -> list[Form]:
    """Encode other wordings of the asked facts, with their answers; other facts are left out.

    Args:
        tokenizer: the model's own fast tokenizer.
        forms: prompts, form by form.
        asked: the prompts as fine-tuning asks.
        sets: each relation's possible answers.
        seed: of the draws.
    """
    place = {fact_id: i for i, fact_id in enumerate(asked.fact_ids)}
    encoded = []
    for form in forms:
        if some := [prompt for prompt in form if prompt.fact_id in place]:
            batch = encode(tokenizer, some)
            owner = torch.tensor([place[fact_id] for fact_id in batch.fact_ids])
            readings = answer_readings(tokenizer, batch, sets, "distinct")
            answers = AnswerTargets.of(tokenizer, batch, readings, seed=seed)
            encoded.append((batch, answers, owner))
    return encoded
