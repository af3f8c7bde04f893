"""One fact's attention in several models, of the heads that changed most, small enough for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.reports.read.pattern_coding import Head, pack
from interp.reports.read.run import BASE, Example

MOST_HEADS = 8
MOST_CELLS = 300_000  # over all models of one fact: 0.2 MB in a page
DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class FactAttention:
    """A fact's tokens and, by model, the whole patterns of some heads and every head's subject mass.

    ``heads`` are (layer, head), the largest change first; ``patterns`` are [head query key] in their order,
    of which what lies above the diagonal is not read; ``mass`` is [layer head], the last token's attention to
    the subject.

    Raises:
        ValueError: the shapes do not belong together.
    """

    tokens: tuple[str, ...]
    subject_tokens: tuple[bool, ...]
    heads: tuple[Head, ...]
    patterns: Mapping[str, Float[ndarray, "head query key"]]
    mass: Mapping[str, Float[ndarray, "layer head"]]
    fact_id: str = ""
    prompt: str = ""
    answers: tuple[str, ...] = ()
    predictions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        length = len(self.tokens)
        if len(self.subject_tokens) != length:
            raise ValueError(f"{len(self.subject_tokens)} subject flags for {length} tokens")
        if not self.patterns or set(self.patterns) != set(self.mass):
            raise ValueError(f"patterns of {list(self.patterns)}, but subject mass of {list(self.mass)}")
        for name, pattern in self.patterns.items():
            if pattern.shape != (len(self.heads), length, length):
                raise ValueError(
                    f"{name}: patterns have shape {pattern.shape}, "
                    f"but heads and tokens ask for {(len(self.heads), length, length)}"
                )
        if len({mass.shape for mass in self.mass.values()}) > 1:
            raise ValueError("the models' subject mass differs in shape")

    @classmethod
    def of(
        cls, example: Example, *, heads: int | None = MOST_HEADS, arms: Sequence[str] | None = None
    ) -> Self:
        """Keep an example's heads of largest change among ``arms``, as many as a page has room for.

        Heads of which the example lacks the whole pattern are passed over. There may be none, where even one
        is too large for a page. ``heads=None`` keeps all.
        """
        names = list(arms or example.patterns)
        order = [
            at
            for at in example.heads_by_change(names)
            if all(np.isfinite(example.patterns[name][at]).all() for name in names)
        ]
        room = MOST_CELLS // (len(names) * len(example.tokens) ** 2)
        chosen = tuple(order if heads is None else order[: min(heads, room)])
        none = np.zeros((0, len(example.tokens), len(example.tokens)))
        return cls(
            fact_id=example.fact_id,
            prompt=example.prompt,
            tokens=example.tokens,
            subject_tokens=example.subject_tokens,
            answers=example.answers,
            predictions={name: example.predictions.get(name, "") for name in names},
            heads=chosen,
            patterns={
                name: np.stack([example.patterns[name][at] for at in chosen]) if chosen else none
                for name in names
            },
            mass={name: example.subject_mass(name) for name in names},
        )

    @property
    def reference(self) -> str:
        """The model that the others are compared with: the base, or the first one."""
        return BASE if BASE in self.patterns else next(iter(self.patterns))

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads as ``L3H1``."""
        return tuple(f"L{layer}H{head}" for layer, head in self.heads)

    def first(self, heads: int) -> Self:
        """Keep the first heads."""
        return replace(
            self,
            heads=self.heads[:heads],
            patterns={name: pattern[:heads] for name, pattern in self.patterns.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Write as JSON for a page, patterns as bytes."""
        return {
            "fact_id": self.fact_id,
            "prompt": self.prompt,
            "tokens": list(self.tokens),
            "subject": [int(flag) for flag in self.subject_tokens],
            "answers": list(self.answers),
            "heads": [list(head) for head in self.heads],
            "arms": {
                name: {
                    "prediction": self.predictions.get(name, ""),
                    "mass": self.mass[name].astype(float).round(DIGITS).tolist(),
                    "patterns": pack(pattern),
                }
                for name, pattern in self.patterns.items()
            },
        }
