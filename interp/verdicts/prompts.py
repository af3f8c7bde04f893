"""The prompts of a verdict: statement forms that say what a base knows, and others that supply evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from finetune.common.seeds import generator
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
    """Deal the statement forms of every relation into those that say what the base knows, and the evidence.

    A relation's forms are dealt at random, the odd one to the former. Where it has one alone, the evidence is
    that form behind ``FEWEST_SHOTS`` solved examples.

    Args:
        facts: those to word.
        book: each relation's wording.
        asked: the prompts as fine-tuning asks, for one more form of evidence.
        shots: solved examples in front of that form; it is left out at 0.
        seed: of the draws.
    """
    sides: tuple[list[list[Prompt]], list[list[Prompt]]] = ([], [])
    for nth, relation in enumerate(dict.fromkeys(fact.relation for fact in facts)):
        some = [fact for fact in facts if fact.relation == relation]
        texts = [[render(form, fact) for fact in some] for form in wording(book, relation).statements]
        order = generator(seed, "knowing forms", nth).permutation(len(texts))
        dealt = [[texts[k] for k in part] for part in np.array_split(order, 2)]
        if not dealt[1]:
            dealt[1] = [with_examples(texts[0], FEWEST_SHOTS, seed=seed)]
        for side, forms in zip(sides, dealt, strict=True):
            side += [[] for _ in range(len(forms) - len(side))]
            for rank, prompts in enumerate(forms):
                side[rank].extend(prompts)
    if shots:
        sides[1].append(with_examples(asked, shots, seed=seed))
    return sides


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
            answers = AnswerTargets.of(batch, answer_readings(tokenizer, batch, sets, "distinct"), seed=seed)
            encoded.append((batch, answers, owner))
    return encoded
