"""The one-layer model trained: a small world of tokens, pretraining by single sightings, and fine-tuning.

1. Tokens: subjects, a statement and a question token for every relation, and answers.
2. Embeddings: orthonormal, for which the theory is exact; or random unit ones in a width below the number of
   tokens, where a question token shares a direction with its relation's statement token (as a noun would).
3. Pretraining: one gradient step a sighting, facts drawn in proportion to popularity.
4. Fine-tuning: full-batch steps on facts asked with the question token, in W_KQ alone or in W_V as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact
from finetune.data.synthetic_world import zipf
from interp.measures.theory import (
    OneLayer,
    TheoryExamples,
    kq_steps,
    loss,
    read_theory,
    step,
    untrained_model,
    v_steps,
    values,
)

Geometry = Literal["random", "orthonormal"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the world and the model are made of; ``answers`` is a relation's own number of them.

    ``width`` and ``shared`` (the cosine of a relation's two tokens) are those of random embeddings.
    """

    subjects: int = 150
    relations: int = 3
    answers: int = 10
    alpha: float = 1.0
    width: int = 96
    shared: float = 0.5
    sightings: int = 6000
    rate: float = 0.5
    tune_steps: int = 200
    tune_rate: float = 1.0
    small_rate: float = 0.1

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self.subjects + self.relations * (2 + self.answers)


@dataclass(frozen=True, kw_only=True)
class ToyTokens:
    """A world's facts, and the same as examples with statement tokens and with question tokens."""

    facts: FactSet
    stated: TheoryExamples
    asked: TheoryExamples
    shape: Shape

    def rows(self, facts: FactSet) -> Int[Tensor, " fact"]:
        """Return the rows of some facts."""
        place = {fact.id: i for i, fact in enumerate(self.facts)}
        return torch.tensor([place[fact.id] for fact in facts])


def make_tokens(shape: Shape, *, seed: int) -> ToyTokens:
    """Draw a world: Zipf subjects, and answers from a Zipf prior in every relation."""
    rng = generator(seed, "toy world")
    popularity = zipf(shape.subjects, shape.alpha) * shape.sightings / shape.relations
    prior = zipf(shape.answers, 1.0)
    drawn = rng.choice(shape.answers, size=(shape.subjects, shape.relations), p=prior)
    pairs = [(s, r) for s in range(shape.subjects) for r in range(shape.relations)]
    facts = tuple(
        Fact(
            id=f"r{r}/{s:05d}",
            subject=f"s{s:05d}",
            relation=f"r{r}",
            answers=(f"r{r}a{drawn[s, r]}",),
            popularity=float(popularity[s]),
        )
        for s, r in pairs
    )
    subject, relation = torch.tensor(pairs).unbind(1)
    answer = torch.tensor([r * shape.answers + int(drawn[s, r]) for s, r in pairs])
    stated = TheoryExamples(subject=subject, prompt=shape.subjects + relation, answer=answer)
    return ToyTokens(
        facts=FactSet(facts=facts, name="one-layer world"),
        stated=stated,
        asked=replace(stated, prompt=stated.prompt + shape.relations),
        shape=shape,
    )


def untrained_toy_model(shape: Shape, geometry: Geometry, *, seed: int) -> OneLayer:
    """Make a model that stores nothing and attends evenly."""
    first = shape.subjects + 2 * shape.relations
    width = None if geometry == "orthonormal" else shape.width
    model = untrained_model(shape.tokens, list(range(first, shape.tokens)), width=width, seed=seed)
    if geometry == "orthonormal":
        return model
    embed = model.embed.clone()
    statement = embed[shape.subjects : shape.subjects + shape.relations]
    own = embed[first - shape.relations : first]
    own = own - (own * statement).sum(1, keepdim=True) * statement
    own = own / own.norm(dim=1, keepdim=True)
    embed[first - shape.relations : first] = shape.shared * statement + (1 - shape.shared**2) ** 0.5 * own
    return replace(model, embed=embed)


def gradient_gap(model: OneLayer, examples: TheoryExamples) -> float:
    """Return the largest difference between closed-form gradients and automatic ones, over both matrices."""
    local, shared = kq_steps(model, examples)
    of_v = v_steps(model, examples)
    gap = 0.0
    for i in range(len(examples)):
        w_kq, w_v = (w.clone().requires_grad_() for w in (model.w_kq, model.w_v))
        lost = loss(replace(model, w_kq=w_kq, w_v=w_v), examples[[i]]).sum()
        for found, closed in zip(
            torch.autograd.grad(lost, (w_kq, w_v)), (local[i] + shared[i], of_v[i]), strict=True
        ):
            gap = max(gap, float((found + closed).abs().max()))
    return gap


def pretrain(model: OneLayer, world: ToyTokens, *, seed: int) -> tuple[OneLayer, dict[str, Any]]:
    """See facts one at a time, each drawn in proportion to its popularity; one step a sighting.

    Returns:
        The model; and for each fact: ``sightings``, the share of them whose step raised the fact's salience
        (``rose``), the share of those after the first at which it was higher than after the one before
        (``rose_since``), and, as the placebo, the share of other subjects' sightings, one drawn each time,
        whose step raised it (``rose_elsewhere``).
    """
    rng = generator(seed, "toy pretraining")
    weights = np.array([fact.popularity for fact in world.facts])
    n, one = len(world.facts), torch.ones(1, dtype=torch.float64)
    counts = {name: np.zeros(n) for name in ("sightings", "rose", "since", "elsewhere", "rose_elsewhere")}
    before_that = np.full(n, np.nan)
    subject = world.stated.subject.numpy()
    for i in rng.choice(n, size=world.shape.sightings, p=weights / weights.sum()):
        other = int(rng.choice(np.flatnonzero(subject != subject[i])))
        pair = world.stated[[int(i), other]]
        before = saliences(model, pair)
        model = step(model, world.stated[[int(i)]], one, rate=world.shape.rate)
        after = saliences(model, pair)
        counts["sightings"][i] += 1
        counts["rose"][i] += after[0] > before[0]
        counts["since"][i] += after[0] > before_that[i]
        counts["elsewhere"][other] += 1
        counts["rose_elsewhere"][other] += after[1] > before[1]
        before_that[i] = after[0]
    seen = counts["sightings"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return model, {
            "sightings": seen,
            "rose": counts["rose"] / seen,
            "rose_since": np.where(seen > 1, counts["since"] / (seen - 1), np.nan),
            "rose_elsewhere": counts["rose_elsewhere"] / counts["elsewhere"],
        }


def saliences(model: OneLayer, examples: TheoryExamples) -> Float[np.ndarray, " fact"]:
    """Return v(s)_a less its mean over the answers."""
    given = values(model, examples.subject)
    return (given.gather(1, examples.answer[:, None])[:, 0] - given.mean(1)).numpy()


def finetune(
    model: OneLayer, examples: TheoryExamples, shape: Shape, *, v: bool
) -> tuple[OneLayer, Float[Tensor, "step fact"]]:
    """Take full-batch steps on the mean loss, in W_KQ at least; also return every step's m.

    Args:
        model: the pretrained model.
        examples: what to train on.
        shape: number and rate of the steps.
        v: also step in W_V.
    """
    weights = torch.full((len(examples),), 1 / len(examples), dtype=torch.float64)
    steps = []
    for _ in range(shape.tune_steps):
        steps.append(read_theory(model, examples).m)
        model = step(model, examples, weights, rate=shape.tune_rate, v=v)
    return model, torch.stack(steps)
