"""What the base knows of each fact before fine-tuning: in how many forms it is right, and how near where not.

Each form is held out in its turn: beside what the fine-tuned model makes of a fact in one form stands what
the base knew by all *others*, so that no answer of the base decides on the use of its own form (as in
cross-fitting).

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
    """What the base knew of each fact, held against each form of evidence: by all forms but that one.

    ``share``: of those forms, in which it is right. ``never`` marks facts that it answers right in none of
    them, nor as asked, and whose right answer's mean rank among the relation's is at chance there;
    ``specific`` those with a right answer that is also the most specific to the subject. ``rank`` is over all
    forms, ``said`` what it says as it is asked, ``right`` whether that is right. ``elicited``: what it knew
    was found out in forms that suit it, not in statements alone.
    """

    share: Float[Tensor, "fact form"]
    never: Bool[Tensor, "fact form"]
    specific: Bool[Tensor, "fact form"]
    rank: Float[Tensor, " fact"]
    right: Bool[Tensor, " fact"]
    said: tuple[str, ...]
    elicited: bool = False

    @property
    def knew(self) -> Float[Tensor, " fact"]:
        """The share of forms in which the base is right: the greatest of those by what is held out."""
        return self.share.amax(1)

    def held_out(self, knows: float) -> Bool[Tensor, "fact form"]:
        """Mark the forms that are evidence about a fact: those without which it is known, or never stored.

        A fact that is neither has all forms: nothing is decided of it.

        Args:
            knows: the share of the other forms from which on the base knew a fact.
        """
        known = self.share >= knows
        forms = torch.ones_like(known)
        for decided in (self.never, known, known & self.specific):
            forms = torch.where(decided.any(1, keepdim=True), decided, forms)
        return forms


def base_knowledge(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    forms: Sequence[Form],
    evidence: Sequence[Form],
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
        forms: other prompts of the same facts.
        evidence: those that the fine-tuned model is asked in; one of ``forms`` is held out where it is used.
        known: what was found elsewhere, if anything was.
        batch_tokens: bound on the tokens of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.
    """
    right, tied, rank = (torch.full((len(asked), len(forms)), torch.nan) for _ in range(3))
    with pair.base() as model:
        for k, (batch, answers, owner) in enumerate(forms):
            asker = AnswerScorer(batch, answers, pair.tokenizer)
            asker.ask(model, batch_tokens=batch_tokens, more=more)
            right[owner, k] = asker.right.nan_to_num()
            tied[owner, k] = right[owner, k] * asker.tally.first
            rank[owner, k] = asker.tally.rank
        asker = AnswerScorer(asked, golds, pair.tokenizer)
        asker.ask(model, batch_tokens=batch_tokens, more=more)
    as_asked = asker.right.nan_to_num() > 0
    others = torch.tensor([[float(form is not other) for other in evidence] for form in forms])
    others = others.reshape(len(forms), len(evidence))

    def beside(values: Float[Tensor, "fact knowing"]) -> tuple[Tensor, Tensor]:
        """Sum what is there over the forms other than each form of evidence, and count it."""
        return values.nan_to_num() @ others, values.isfinite().float() @ others

    (sums, counts), (ties, _), (ranks, places) = map(beside, (right, tied, rank))
    own = asker.tally.rank[:, None]
    mean_rank = (ranks + own.nan_to_num()) / (places + own.isfinite())
    base = BaseKnowledge(
        share=sums / counts.clamp_min(1),
        never=(sums == 0) & ~as_asked[:, None] & ~(mean_rank <= CHANCE),
        specific=(ties > 0) | (asker.tally.first & as_asked)[:, None],
        rank=torch.cat([rank, own], dim=1).nanmean(1),
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

        def of(found: Mapping[str, bool]) -> Bool[Tensor, "fact form"]:
            flags = torch.tensor([found[fact_id] for fact_id in asked.fact_ids])
            return flags[:, None].expand_as(base.never)

        return replace(
            base,
            share=of(self.known).float(),
            never=base.never & of(self.unknown),
            specific=of(self.specific),
            elicited=True,
        )
