"""What the base knows of each fact before fine-tuning: in how many forms it is right, and how near where not.

A fact counts as never stored where the base is right about it in no form, and where its right answer is at
*chance* among the relation's answers: ranked by how specific they are to the subject, averaged over forms, it
is not among the first ``CHANCE``. Of facts about which nothing is stored a share of about ``CHANCE`` fails
that one-sided test; a relation of fewer than 1 / ``CHANCE`` answers cannot fail it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finetune.data.prompts import Prompt
from interp.measures.spans import PromptBatch
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.prompts import Form
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair


CHANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class BaseKnowledge:
    """What the base knew of each fact: the share of statement forms that it completes right.

    ``never`` marks facts that it answers right in no form at all and whose right answer's mean ``rank`` among
    the relation's is at chance, ``specific`` those with a right answer that is also the most specific to the
    subject; ``said`` is what it says as it is asked, ``right`` whether that is right. ``elicited``: the share
    was found out in forms that suit the base, not in statements alone.
    """

    share: Float[Tensor, " fact"]
    never: Bool[Tensor, " fact"]
    specific: Bool[Tensor, " fact"]
    rank: Float[Tensor, " fact"]
    right: Bool[Tensor, " fact"]
    said: tuple[str, ...]
    elicited: bool = False


def base_knowledge(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    forms: Sequence[Form],
    known: KnownFacts | None = None,
    *,
    batch_tokens: int,
    more: Callable[[int], None] = lambda done: None,
) -> BaseKnowledge:
    """Ask the base in every form; what was found of it elsewhere takes the place of what these say.

    Args:
        pair: base and fine-tuned model.
        asked: the prompts as fine-tuning asks.
        golds: their right answers' places in their relations' sets.
        forms: other prompts of the same facts, none of which supplies evidence.
        known: what was found elsewhere, if anything was.
        batch_tokens: bound on the tokens of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.
    """
    right, count = torch.zeros(len(asked)), torch.zeros(len(asked))
    specific = torch.zeros(len(asked), dtype=torch.bool)
    ranks = []
    with pair.base() as model:
        for batch, answers, owner in forms:
            asker = AnswerScorer(batch, answers, pair.tokenizer)
            asker.ask(model, batch_tokens=batch_tokens, more=more)
            said_right = asker.right.nan_to_num()
            right.index_add_(0, owner, said_right)
            count.index_add_(0, owner, torch.ones(len(owner)))
            specific[owner] |= asker.tally.first & (said_right > 0)
            ranks.append(torch.full((len(asked),), torch.nan).index_copy(0, owner, asker.tally.rank))
        asker = AnswerScorer(asked, golds, pair.tokenizer)
        asker.ask(model, batch_tokens=batch_tokens, more=more)
    as_asked = asker.right.nan_to_num() > 0
    rank = torch.stack([*ranks, asker.tally.rank]).nanmean(0)
    base = BaseKnowledge(
        share=right / count.clamp_min(1),
        never=(right == 0) & ~as_asked & ~(rank <= CHANCE),
        specific=specific | (asker.tally.first & as_asked),
        rank=rank,
        right=as_asked,
        said=tuple(asker.said),
    )
    return known.merged(asked, base) if known else base


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """What was found out of the base elsewhere, by fact id, and prompts in forms in which it answers well.

    ``known`` says whether it knows a fact, ``unknown`` whether it never answers it right, ``specific``
    whether its answer is tied to the subject. ``knowing`` are prompts that this was found with, ``prompts``
    others, which supply evidence.
    """

    known: Mapping[str, bool]
    unknown: Mapping[str, bool]
    specific: Mapping[str, bool]
    knowing: Sequence[Sequence[Prompt]] = ()
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
            elicited=True,
        )
