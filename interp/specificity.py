"""Is an answer tied to its subject, or said of any?

The measure is the pointwise mutual information of an answer with its subject, in nats: its log-probability
for this subject, less the log of its mean probability for the relation's other subjects whose right answer
is another. A model that answers generically gives 0 whatever the answer's share; one that still tells the
subject apart gives more. The other subjects are the wrong-subject control, made for every fact. A *decoy*, a
wrong answer that is right for another subject, is measured in the same way: nothing stores it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.answer_sets import AnswerSet
from interp.spans import PromptBatch

FEWEST_OTHERS = 8  # subjects below which there is no telling what is said of any


@dataclass(frozen=True, kw_only=True)
class Golds:
    """Each fact's relation, its right answer's place in the relation's answer set, and a decoy's."""

    sets: dict[str, AnswerSet]
    relation: Int[Tensor, " fact"]
    right: Int[Tensor, " fact"]
    decoy: Int[Tensor, " fact"]

    @classmethod
    def of(cls, batch: PromptBatch, sets: dict[str, AnswerSet], *, seed: int = 0) -> Golds:
        """Look up right answers and draw decoys among the right answers of other facts of the relation."""
        names = list(sets)
        relation = torch.tensor([names.index(prompt.relation) for prompt in batch.prompts])
        right = torch.tensor([sets[p.relation].place[p.answers[0]] for p in batch.prompts])
        decoy, rng = right.clone(), np.random.default_rng([seed, 5])
        for k in range(len(names)):
            rows = (relation == k).nonzero().flatten()
            pool = right[rows].tolist()
            for i in rows.tolist():
                # A few draws find another answer, unless nearly all facts share one.
                draws = [pool[k] for k in rng.integers(len(pool), size=16)]
                decoy[i] = next((answer for answer in draws if answer != int(right[i])), int(right[i]))
        return cls(sets=sets, relation=relation, right=right, decoy=decoy)

    def with_decoys(self, other: Golds, owner: Int[Tensor, " fact"]) -> Golds:
        """Take the decoys of another wording of the same facts; ``owner`` says which fact each row is of.

        The names of answers are the same, but a wording may tell more or fewer of their first tokens apart.
        """
        decoy = self.right.clone()
        for name, here in self.by_relation(torch.arange(len(self.right))):
            theirs, ours = other.sets[name], self.sets[name]
            name_of = {place: answer for answer, place in theirs.place.items()}
            for i in here.tolist():
                decoy[i] = ours.place[name_of[int(other.decoy[owner[i]])]]
        return replace(self, decoy=decoy)

    def by_relation(self, facts: Int[Tensor, " row"]) -> Iterator[tuple[str, Int[Tensor, " some"]]]:
        """Yield each relation that some facts are of, and which of them are."""
        member = self.relation[facts]
        for k, name in enumerate(self.sets):
            here = (member == k).nonzero().flatten()
            if len(here):
                yield name, here


@dataclass
class Tally:
    """Adds up what is said of all subjects, and keeps what is said of each; facts come in any parts.

    With ``log_probs`` scores are log-probabilities, and probabilities are averaged; else scores themselves.
    """

    golds: Golds
    cells: int
    log_probs: bool = True
    own: Float[Tensor, "answer cell fact"] = field(init=False)
    total: dict[str, Float[Tensor, "kind cell answer"]] = field(init=False)

    def __post_init__(self) -> None:
        self.own = torch.full((2, self.cells, len(self.golds.right)), torch.nan, dtype=torch.float64)
        # All subjects' sum and count, then those of the subjects whose right answer it is.
        self.total = {
            relation: torch.zeros(4, self.cells, len(answers.readings), dtype=torch.float64)
            for relation, answers in self.golds.sets.items()
        }

    def add(
        self,
        relation: str,
        cell: Int[Tensor, " row"],
        fact: Int[Tensor, " row"],
        scores: Float[Tensor, "row answer"],
    ) -> None:
        """Take in the scores of a relation's answers for some of its facts."""
        scores = scores.double()
        fine = scores.isfinite().all(1)
        cell, fact, scores = cell[fine], fact[fine], scores[fine]
        for k, answer in enumerate((self.golds.right, self.golds.decoy)):
            self.own[k, cell, fact] = scores.gather(1, answer[fact][:, None])[:, 0]
        values = scores.exp() if self.log_probs else scores
        is_right = torch.nn.functional.one_hot(self.golds.right[fact], scores.shape[1]).double()
        parts = (values, torch.ones_like(values), values * is_right, is_right)
        for total, part in zip(self.total[relation], parts, strict=True):
            total.index_add_(0, cell, part)

    def specificity(self, *, decoy: bool = False) -> Float[Tensor, "cell fact"]:
        """Return each fact's specificity in every cell; NaN where too few subjects have another answer."""
        answer = self.golds.decoy if decoy else self.golds.right
        baseline = torch.full_like(self.own[0], torch.nan)
        for relation, rows in self.golds.by_relation(torch.arange(len(answer))):
            total, count, own, own_count = self.total[relation]
            others = (count - own_count)[:, answer[rows]]
            mean = (total - own)[:, answer[rows]] / others.clamp_min(1)
            mean = mean.clamp_min(1e-30).log() if self.log_probs else mean
            baseline[:, rows] = torch.where(others >= FEWEST_OTHERS, mean, torch.nan)
        told = self.own[int(decoy)] - baseline
        same = self.golds.decoy == self.golds.right
        return (torch.where(same, torch.nan, told) if decoy else told).float()
