"""What the base knew: facts in several wordings, and which of them it answers right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render, with_examples
from finetune.data.records.fact import Fact
from interp.measures.spans import PromptBatch, encode
from interp.patching.engine import answer_readings
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from interp.models.pair import CheckpointPair

Form = tuple[
    PromptBatch, AnswerTargets, Int[Tensor, " row"]
]  # prompts, their answers, which fact each row is of


@dataclass(frozen=True, kw_only=True)
class BaseKnowledge:
    """What the base knew of each fact: the share of statement forms that it completes right.

    ``never`` marks facts that it answers right in no form at all, ``specific`` those with a right answer that
    is also the most specific to the subject; ``said`` is what it says as it is asked.
    """

    share: Float[Tensor, " fact"]
    never: Bool[Tensor, " fact"]
    specific: Bool[Tensor, " fact"]
    said: tuple[str, ...]


def base_knowledge(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    forms: Sequence[Form],
    *,
    batch_tokens: int,
) -> BaseKnowledge:
    """Ask the base in every form."""
    right, count = torch.zeros(len(asked)), torch.zeros(len(asked))
    specific = torch.zeros(len(asked), dtype=torch.bool)
    with pair.base() as model:
        for batch, answers, owner in forms:
            asker = AnswerScorer(batch, answers, pair.tokenizer, say=True)
            asker.ask_all(model, batch_tokens=batch_tokens)
            said_right = asker.right[0].nan_to_num()
            right.index_add_(0, owner, said_right)
            count.index_add_(0, owner, torch.ones(len(owner)))
            specific[owner] |= asker.tally.first[0] & (said_right > 0)
        asker = AnswerScorer(asked, golds, pair.tokenizer, say=True)
        asker.ask_all(model, batch_tokens=batch_tokens)
    as_asked = asker.right[0].nan_to_num() > 0
    return BaseKnowledge(
        share=right / count.clamp_min(1),
        never=(right == 0) & ~as_asked,
        specific=specific | (asker.tally.first[0] & as_asked),
        said=tuple(asker.said[0]),
    )


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """What was found out of the base elsewhere, by fact id, and prompts in forms in which it answers well.

    ``known`` says whether it knows a fact, ``unknown`` whether it never answers it right, ``specific``
    whether its answer is tied to the subject.
    """

    known: Mapping[str, bool]
    unknown: Mapping[str, bool]
    specific: Mapping[str, bool]
    prompts: Sequence[Sequence[Prompt]] = ()

    def merged(self, asked: PromptBatch, base: BaseKnowledge) -> BaseKnowledge:
        """Put what was found in the place of what statements alone would say."""

        def of(found: Mapping[str, bool]) -> Bool[Tensor, " fact"]:
            return torch.tensor([found[fact_id] for fact_id in asked.fact_ids])

        return replace(
            base,
            share=of(self.known).float(),
            never=base.never & of(self.unknown),
            specific=of(self.specific),
        )


def word_in_forms(
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    book: Phrasebook,
    asked: PromptBatch,
    golds: AnswerTargets,
    sets: Mapping[str, Sequence[str]],
    *,
    shots: int,
    seed: int,
    worded: Sequence[Sequence[Prompt]] = (),
) -> list[Form]:
    """Word the asked facts in each statement form, and with ``shots`` solved examples in front.

    ``worded`` are other prompts of theirs, to be taken instead.
    """
    place = {fact_id: i for i, fact_id in enumerate(asked.fact_ids)}
    kept = [fact for fact in facts if fact.id in place]
    texts = [[prompt for prompt in some if prompt.fact_id in place] for some in worded]
    if not worded:
        texts = _statements(kept, book)
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
