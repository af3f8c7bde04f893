"""Specificity of answers: is an answer tied to its subject, or said of any?

A model that answers generically finds a common answer likely whoever is asked about. So each answer's
log-probability is taken less the log of its mean probability for *other* subjects of the relation, those
whose right answer is another (pointwise mutual information), and renormalised over the relation's answers.
The *specificity* of a fact is what the right answer then gets, in nats: 0 at most, and about -ln(answers)
where the subject makes no difference. Of several accepted answers the most specific one counts, and none of
them is another's rival. The other subjects are the wrong-subject control, made for every fact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from finetune.common.seeds import generator
from interp.measures.answer_sets import AnswerSet
from interp.measures.decode import answer_tokens
from interp.measures.spans import PromptBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FEWEST_OTHERS = 8  # subjects below which there is no telling what is said of any
REFERENCES = 512  # facts of a relation after which a mean hardly moves
SAMPLES = 16  # of these, behind whose prompts all continuations of shared beginnings are asked


@dataclass(frozen=True, kw_only=True)
class AnswerTargets:
    """Each fact's relation, its right answer's tokens, and its place in the relation's answer set.

    ``accepted`` are the places of all answers of a fact that are there, of the right one (the canonical) too.
    ``reference`` marks the facts whose subjects say what is said of any, ``sample`` some of them, which say
    how answers with a shared beginning usually go on.
    """

    sets: dict[str, AnswerSet]
    relation: Int[Tensor, " fact"]
    place: Int[Tensor, " fact"]
    accepted: tuple[tuple[int, ...], ...]
    reference: Bool[Tensor, " fact"]
    sample: Bool[Tensor, " fact"]
    tokens: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        batch: PromptBatch,
        sets: dict[str, AnswerSet],
        *,
        seed: int = 0,
    ) -> AnswerTargets:
        """Look up right answers, and draw whose subjects say what is said of any.

        Args:
            tokenizer: the model's own fast tokenizer.
            batch: prompts, each with its right answer.
            sets: each relation's answers.
            seed: of the draw.
        """
        names = list(sets)
        relation = torch.tensor([names.index(prompt.relation) for prompt in batch.prompts])
        places = [[sets[p.relation].place.get(answer) for answer in p.answers] for p in batch.prompts]
        accepted = tuple(tuple(k for k in some if k is not None) for some in places)
        place = torch.tensor([sets[p.relation].place[p.answers[0]] for p in batch.prompts])
        reference, sample = torch.zeros(2, len(batch), dtype=torch.bool)
        rng = generator(seed, "reference subjects")
        for k in range(len(names)):
            rows = (relation == k).nonzero().flatten()
            drawn = rows[torch.from_numpy(rng.permutation(len(rows))[:REFERENCES])]
            reference[drawn], sample[drawn[:SAMPLES]] = True, True
        tokens = tuple(answer_tokens(tokenizer, batch))
        return cls(
            sets=sets,
            relation=relation,
            place=place,
            accepted=accepted,
            reference=reference,
            sample=sample,
            tokens=tokens,
        )

    def right(self, facts: Int[Tensor, " row"], answers: int) -> Bool[Tensor, "row answer"]:
        """Mark which of a relation's answers some of its facts accept."""
        marked = torch.zeros(len(facts), answers, dtype=torch.bool)
        for row, fact in zip(marked, facts.tolist(), strict=True):
            row[list(self.accepted[fact])] = True
        return marked

    @property
    def tails(self) -> Int[Tensor, " fact"]:
        """How many tokens may stand behind each prompt: of its right answer, or of a shared beginning."""
        shared = [max(map(len, some.branches), default=0) for some in self.sets.values()]
        own = torch.tensor([len(answer) - 1 for answer in self.tokens])
        return torch.maximum(own, torch.tensor(shared)[self.relation])

    @property
    def ordered(self) -> tuple[Int[Tensor, " some"], Int[Tensor, " more"], Int[Tensor, " other"]]:
        """The sample, the other reference facts, and all others."""
        rest = self.reference & ~self.sample
        sample, more, others = (part.nonzero().flatten() for part in (self.sample, rest, ~self.reference))
        return sample, more, others

    def by_relation(self, facts: Int[Tensor, " row"]) -> Iterator[tuple[str, Int[Tensor, " some"]]]:
        """Yield each relation that some facts are of, and which of them are."""
        member = self.relation[facts]
        for k, name in enumerate(self.sets):
            here = (member == k).nonzero().flatten()
            if len(here):
                yield name, here


@dataclass
class SpecificityAccumulator:
    """Takes in log-probabilities of answers and gives specificities; facts come in parts, references first.

    Those of reference facts are kept until ``finish`` has made each answer's baseline of them; later ones
    are compared at once, so that memory does not grow with the number of facts.

    ``specificity`` [fact] is the right answer's, NaN where fewer than ``FEWEST_OTHERS`` references have
    another answer; ``first`` says where no answer is more specific than the right one, and ``rank`` is the
    share of the relation's answers that are as specific: 1 over their number at best.
    """

    golds: AnswerTargets

    def __post_init__(self) -> None:
        n = len(self.golds.place)
        self.specificity, self.rank = (torch.full((n,), torch.nan) for _ in range(2))
        self.first = torch.zeros(n, dtype=torch.bool)
        self.waiting: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.baseline: dict[str, Float[Tensor, " answer"]] = {}

    def add(self, relation: str, fact: Int[Tensor, " row"], log_probs: Float[Tensor, "row answer"]) -> None:
        """Take in the log-probabilities of a relation's answers for some of its facts."""
        fine = log_probs.isfinite().all(1)
        if relation in self.baseline:
            self._compare(relation, fact[fine], log_probs[fine])
        else:
            self.waiting.setdefault(relation, []).append((fact[fine], log_probs[fine]))

    def finish(self) -> None:
        """Make the baselines of all that was taken in, and compare it with them."""
        for relation, parts in self.waiting.items():
            fact, log_probs = (torch.cat(some) for some in zip(*parts, strict=True))
            is_right = self.golds.right(fact, log_probs.shape[1]).double()
            others = (1 - is_right).sum(0)
            mean = (log_probs.double().exp() * (1 - is_right)).sum(0) / others.clamp_min(1)
            baseline = torch.where(others >= FEWEST_OTHERS, mean.clamp_min(1e-30).log(), torch.nan)
            self.baseline[relation] = baseline
            self._compare(relation, fact, log_probs)
        self.waiting.clear()

    def _compare(self, relation: str, fact: Tensor, log_probs: Tensor) -> None:
        told = log_probs.double() - self.baseline[relation]
        specific = told.masked_fill(told.isnan(), -torch.inf).log_softmax(-1).float()
        right = self.golds.right(fact, specific.shape[1])
        own = specific.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        self.specificity[fact] = torch.where(own.isneginf(), torch.nan, own)[:, 0]
        self.first[fact] = (specific <= own).all(1)
        rank = (specific >= own).float().mean(1)
        self.rank[fact] = torch.where(own.isfinite()[:, 0], rank, torch.nan)
