"""What a model says behind the beginnings that several answers share, where it can matter to a fact.

"San" begins many capitals. What follows is asked behind a fact's prompt where its right answer begins so, or
where the beginning is at least ``UNLIKELY`` times as likely as the likeliest first token of the relation's
answers. Asking for all would take a pass for each of the hundred beginnings that a table of capitals has.
Elsewhere the beginning's probability is shared as it is behind the prompts of some facts of which all is
asked, those aside whose right answer begins so: it is little for each fact, but not for the mean over facts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finetune.evaluation.batching import rows_within
from finetune.evaluation.prompt_cache import PromptCache
from finetune.evaluation.unembedding import vocabulary
from interp.measures.answer_sets import AnswerSet

Tokens = tuple[int, ...]
UNLIKELY = 0.01


@dataclass
class UsualContinuations:
    """What usually follows the beginnings that a relation's answers share: a mean over some facts.

    A fact counts by how likely the beginning is behind its prompt.
    """

    sums: dict[Tokens, Float[Tensor, " following"]] = field(default_factory=dict)
    whole: dict[Tokens, Float[Tensor, ""]] = field(default_factory=dict)

    def add(
        self,
        ids: Tokens,
        reached: Float[Tensor, " row"],
        after: Float[Tensor, "row following"],
        others: Bool[Tensor, " row"],
    ) -> None:
        """Take in how some rows go on.

        Args:
            ids: the beginning.
            reached: its log-probability.
            after: log-probabilities of what follows it.
            others: rows that count: those whose right answer begins otherwise.
        """
        weight = reached[others].double().exp()
        self.sums[ids] = self.sums.get(ids, 0) + (weight[:, None] * after[others].double().exp()).sum(0)
        self.whole[ids] = self.whole.get(ids, 0) + weight.sum()

    def merge(self, more: UsualContinuations) -> None:
        """Take in what another one took in."""
        for ids, sums in more.sums.items():
            self.sums[ids] = self.sums.get(ids, 0) + sums
            self.whole[ids] = self.whole.get(ids, 0) + more.whole[ids]

    def of(self, ids: Tokens, following: int, device: torch.device) -> Float[Tensor, " following"]:
        """Return log-probabilities of what follows a beginning; even ones where nothing was taken in."""
        if ids not in self.sums or not self.whole[ids] > 0:
            return torch.full((following,), -math.log(following + 1), device=device)
        return (self.sums[ids] / self.whole[ids]).clamp_min(1e-30).log().float()


def continuations(
    cache: PromptCache,
    here: Int[Tensor, " row"],
    answers: AnswerSet,
    first: Float[Tensor, "row vocab"],
    own: Int[Tensor, " row"],
    usual: UsualContinuations,
    *,
    into: UsualContinuations | None = None,
) -> dict[Tokens, Float[Tensor, "row following"]]:
    """Return log-probabilities of what follows each shared beginning, by beginning.

    Args:
        cache: prompts that were run.
        here: which of its rows are asked.
        answers: their relation's.
        first: log-probabilities behind the prompts, of these rows.
        own: the place of each row's right answer.
        usual: what follows where it is not asked.
        into: ask all, and add it to this.
    """
    after: dict[Tokens, Float[Tensor, "row following"]] = {}
    reached: dict[Tokens, Float[Tensor, " row"]] = {}
    likely = first[:, answers.first_tokens].amax(1) + math.log(UNLIKELY)
    by_length: dict[int, list[Tokens]] = {}
    for ids in answers.branches:
        by_length.setdefault(len(ids), []).append(ids)
    for _, level in sorted(by_length.items()):
        asked: list[Bool[Tensor, " row"]] = []
        others: dict[Tokens, Bool[Tensor, " row"]] = {}
        for ids in level:
            parent = ids[:-1]
            reached[ids] = (
                reached[parent] + after[parent][:, answers.following(parent).index(ids[-1])]
                if parent
                else first[:, ids[0]]
            )
            others[ids] = ~_begin_so(answers, ids)[own].to(first.device)
            asked.append(~others[ids] | (reached[ids] >= likely) | (into is not None))
            n = len(answers.following(ids))
            after[ids] = usual.of(ids, n, first.device).repeat(len(here), 1)
        _ask(cache, here, {ids: answers.following(ids) for ids in level}, asked, after)
        if into is not None:
            for ids in level:
                into.add(ids, reached[ids], after[ids], others[ids])
    return after


def _begin_so(answers: AnswerSet, ids: Tokens) -> Bool[Tensor, " answer"]:
    return torch.tensor([reading[: len(ids)] == ids for reading in answers.readings])


def _ask(
    cache: PromptCache,
    here: Int[Tensor, " row"],
    level: Mapping[Tokens, Sequence[int]],
    asked: Sequence[Bool[Tensor, " row"]],
    after: dict[Tokens, Float[Tensor, "row following"]],
) -> None:
    """Fill in the rows that each beginning is asked of; one pass takes several, and as many rows at most."""
    names = list(level)
    pairs = torch.stack(list(asked)).cpu().nonzero()
    most = min(len(here), rows_within(vocabulary(cache.model), len(names[0])))
    for some in pairs.split(max(1, most)):
        if not len(some):
            return
        nth, row = some.unbind(1)
        tails = torch.tensor([names[k] for k in nth.tolist()])
        said = cache.tail_logits(tails, here[row])[:, -1].float().log_softmax(-1)
        for k in nth.unique().tolist():
            mine = (nth == k).nonzero().flatten()
            after[names[k]][row[mine].to(said.device)] = said[mine.to(said.device)][:, level[names[k]]]
