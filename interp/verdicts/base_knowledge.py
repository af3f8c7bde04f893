"""What the base knows of each fact before fine-tuning: in how many forms it is right, and how near where not.

It is told twice: by all forms, and beside each form of evidence by all *others*, as in cross-fitting.
Verdicts are by all forms. The others alone say how often lost and never-stored facts are stated in a form
that had no part in calling them so.

A fact counts as never stored where the base is right about it in no form, and where its right answer is at
*chance* among the relation's answers: ranked by how specific they are to the subject, averaged over forms, it
is not among the first ``CHANCE``. The test is lenient: of one form's ranks a share of about ``CHANCE`` fails
where nothing is stored, of a mean over four forms 0.4% (274 facts of the small world whose answers were dealt
anew). Controls are then partly facts that the base holds a trace of, and the rate at which they are called
stored an upper bound. A relation of fewer than 1 / ``CHANCE`` answers cannot fail it.
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
    """What the base knew of each fact: the share of forms that it completes right.

    ``never`` marks facts that it answers right in no form at all and whose right answer's mean ``rank`` among
    the relation's is at chance, ``specific`` those with a right answer that is also the most specific to the
    subject; ``said`` is what it says as it is asked, ``right`` whether that is right. ``elicited``: the share
    was found out in forms that suit it, not in statements alone.

    ``share_apart``, ``never_apart`` and ``specific_apart`` say the same by the forms other than each form of
    evidence, and ``has_others`` whether there are any.
    """

    share: Float[Tensor, " fact"]
    never: Bool[Tensor, " fact"]
    specific: Bool[Tensor, " fact"]
    share_apart: Float[Tensor, "fact form"]
    never_apart: Bool[Tensor, "fact form"]
    specific_apart: Bool[Tensor, "fact form"]
    has_others: Bool[Tensor, "fact form"]
    rank: Float[Tensor, " fact"]
    right: Bool[Tensor, " fact"]
    said: tuple[str, ...]
    elicited: bool = False


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
        evidence: those that the fine-tuned model is asked in, some of ``forms`` perhaps among them.
        known: what was found elsewhere, if anything was.
        batch_tokens: bound on the tokens of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.
    """
    right, tied, rank, asker = _ask(pair, asked, golds, forms, batch_tokens=batch_tokens, more=more)
    as_asked = asker.right.nan_to_num() > 0
    told_by = _told_by(forms, evidence)

    def told(values: Float[Tensor, "fact knowing"]) -> tuple[Tensor, Tensor]:
        """Sum what is there over forms, and count it."""
        return values.nan_to_num() @ told_by, values.isfinite().float() @ told_by

    (sums, counts), (ties, _), (ranks, places) = map(told, (right, tied, rank))
    own = asker.tally.rank[:, None]
    ranks = (ranks + own.nan_to_num()) / (places + own.isfinite())
    share = sums / counts.clamp_min(1)
    never = (sums == 0) & ~as_asked[:, None] & ~(ranks <= CHANCE)
    specific = (ties > 0) | (asker.tally.first & as_asked)[:, None]
    base = BaseKnowledge(
        share=share[:, -1],
        never=never[:, -1],
        specific=specific[:, -1],
        share_apart=share[:, :-1],
        never_apart=never[:, :-1],
        specific_apart=specific[:, :-1],
        has_others=counts[:, :-1] > 0,
        rank=ranks[:, -1],
        right=as_asked,
        said=tuple(asker.said),
    )
    return known.merged(asked, base) if known else base


def _told_by(forms: Sequence[Form], evidence: Sequence[Form]) -> Float[Tensor, "knowing form"]:
    """Mark which forms say what is known beside each form of evidence: all others; in the last column all."""
    apart = [[float(form is not other) for other in evidence] + [1.0] for form in forms]
    return torch.tensor(apart).reshape(len(forms), len(evidence) + 1)


def _ask(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    forms: Sequence[Form],
    *,
    batch_tokens: int,
    more: Callable[[int], None],
) -> tuple[Tensor, Tensor, Tensor, AnswerScorer]:
    """Ask the base in every form and as fine-tuning asks.

    Returns what is right, right and tied, and its rank, each Float [fact, form], NaN where a fact is not
    asked; and the scorer of the prompts as fine-tuning asks.
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
    return right, tied, rank, asker


@dataclass(frozen=True, kw_only=True)
class KnownFacts:
    """What was found out of the base elsewhere, by fact id, and prompts in forms in which it answers well.

    ``known`` says whether it knows a fact, ``never`` whether it never answers it right, ``specific``
    whether its answer is tied to the subject. ``knowing`` are prompts that this was found with, ``prompts``
    others, which supply evidence.
    """

    known: Mapping[str, bool]
    never: Mapping[str, bool]
    specific: Mapping[str, bool]
    knowing: Sequence[Sequence[Prompt]] = ()
    prompts: Sequence[Sequence[Prompt]] = ()

    def merged(self, asked: PromptBatch, base: BaseKnowledge) -> BaseKnowledge:
        """Put what was found in the place of what statements alone would say."""

        def of(found: Mapping[str, bool]) -> Bool[Tensor, " fact"]:
            return torch.tensor([found[fact_id] for fact_id in asked.fact_ids])

        def beside(values: Tensor) -> Tensor:
            return values[:, None].expand_as(base.has_others)

        share, never, specific = of(self.known).float(), base.never & of(self.never), of(self.specific)
        return replace(
            base,
            share=share,
            never=never,
            specific=specific,
            share_apart=beside(share),
            never_apart=beside(never),
            specific_apart=beside(specific),
            has_others=torch.ones_like(base.has_others),
            elicited=True,
        )
