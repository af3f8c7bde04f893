"""The prompts of a verdict: each fact in every statement form of its relation, and with solved examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render, with_examples
from finetune.data.records.fact import Fact
from interp.measures.answer_sets import answer_readings
from interp.measures.spans import PromptBatch, encode
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Prompts, their answers, and which fact each row is of.
Form = tuple[PromptBatch, AnswerTargets, Int[Tensor, " row"]]


def statement_form_prompts(
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    book: Phrasebook,
    asked: PromptBatch,
    golds: AnswerTargets,
    sets: Mapping[str, Sequence[str]],
    *,
    shots: int,
    seed: int,
    prompts: Sequence[Sequence[Prompt]] = (),
) -> list[Form]:
    """Word the asked facts in each statement form, and with solved examples in front.

    Args:
        tokenizer: the model's own fast tokenizer.
        facts: all facts.
        book: each relation's wording.
        asked: the prompts as fine-tuning asks; other facts are left out.
        golds: their right answers and decoys.
        sets: each relation's possible answers.
        shots: solved examples in front of one more form; none at 0.
        seed: of the draws.
        prompts: prompts of each form, worded already; then neither ``book`` nor ``shots`` counts.
    """
    place = {fact_id: i for i, fact_id in enumerate(asked.fact_ids)}
    texts = [[prompt for prompt in some if prompt.fact_id in place] for some in prompts]
    if not prompts:
        texts = _statements([fact for fact in facts if fact.id in place], book)
        if shots:
            texts.append(with_examples(asked.prompts, shots, seed=seed))
    forms = []
    for some in texts:
        batch = encode(tokenizer, some)
        owner = torch.tensor([place[fact_id] for fact_id in batch.fact_ids])
        answers = AnswerTargets.of(batch, answer_readings(tokenizer, batch, sets, "distinct"), seed=seed)
        # The same decoy in every form, for what is compared is the same wrong answer.
        forms.append((batch, answers.with_decoys(golds, owner), owner))
    return forms


def _statements(facts: Sequence[Fact], book: Phrasebook) -> list[list[Prompt]]:
    """Word facts in every statement form that their relations have, one form after the other."""
    most = max(len(book[fact.relation].statements) for fact in facts)
    return [
        [render(book[f.relation].statements[k], f) for f in facts if k < len(book[f.relation].statements)]
        for k in range(most)
    ]
