"""One fact's attention in several models, as a run directory keeps it and as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from finetune.common.errors import InputError
from interp.reports.read.files import RULE, expected_layout, read_optional
from interp.reports.read.pattern_coding import Head, pack, unpack_most

BASE = "base"
MOST_HEADS = 8
MOST_CELLS = 300_000  # over all models of one fact: 0.2 MB in a page
DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Example:
    """One fact's attention in every arm.

    ``patterns`` maps an arm to Float [layer head query key]; ``tokens`` and ``subject_tokens`` are [key].
    A large model's patterns are whole for the heads that changed most; of the others all but the last row
    is NaN.
    """

    fact_id: str
    prompt: str
    tokens: tuple[str, ...]
    subject_tokens: tuple[bool, ...]
    answers: tuple[str, ...]
    predictions: Mapping[str, str]
    patterns: Mapping[str, Float[ndarray, "layer head query key"]]

    def subject_mass(self, arm: str) -> Float[ndarray, "layer head"]:
        """Return how much of the last token's attention falls on the subject."""
        return self.patterns[arm][:, :, -1, np.array(self.subject_tokens, bool)].sum(-1)

    def heads_by_change(self, arms: Sequence[str]) -> list[Head]:
        """Order (layer, head) by the largest change of subject mass in any of ``arms``, largest first."""
        before = self.subject_mass(reference_of(self.patterns))
        change = np.max([np.abs(self.subject_mass(arm) - before) for arm in arms], axis=0)
        # Rounding makes heads with equal change keep their natural order whatever the last bit says.
        order = np.argsort(-change.round(6), axis=None, kind="stable")
        return [(int(i) // change.shape[1], int(i) % change.shape[1]) for i in order]


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
            if pattern.shape != (expected := (len(self.heads), length, length)):
                raise ValueError(
                    f"{name}: patterns have shape {pattern.shape}, but heads and tokens ask for {expected}"
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
        kept = {name: example.patterns[name] for name in arms or example.patterns}
        whole = np.all([np.isfinite(pattern).all((2, 3)) for pattern in kept.values()], axis=0)
        order = [at for at in example.heads_by_change(list(kept)) if whole[at]]
        room = MOST_CELLS // (len(kept) * len(example.tokens) ** 2)
        chosen = order if heads is None else order[: min(heads, room)]
        layers, columns = np.array(chosen, int).reshape(-1, 2).T
        return cls(
            fact_id=example.fact_id,
            prompt=example.prompt,
            tokens=example.tokens,
            subject_tokens=example.subject_tokens,
            answers=example.answers,
            predictions={name: example.predictions.get(name, "") for name in kept},
            heads=tuple(chosen),
            patterns={name: pattern[layers, columns] for name, pattern in kept.items()},
            mass={name: example.subject_mass(name) for name in kept},
        )

    @property
    def reference(self) -> str:
        """The model that the others are compared with: the base, or the first one."""
        return reference_of(self.patterns)

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads as ``L3H1``."""
        return tuple(f"L{layer}H{head}" for layer, head in self.heads)

    def first(self, heads: int) -> Self:
        """Keep the first heads."""
        patterns = {name: pattern[:heads] for name, pattern in self.patterns.items()}
        return replace(self, heads=self.heads[:heads], patterns=patterns)

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


def reference_of(models: Mapping[str, Any]) -> str:
    """Name the model that the others are compared with: the base, or the first one."""
    return BASE if BASE in models else next(iter(models))


def read_kept_examples(path: Path) -> tuple[Example, ...]:
    """Read the facts whose attention a run kept: several in examples.json, or one in example.json.

    Raises:
        InputError: the file is not laid out as it should be.
    """
    several, one = path / "examples.json", path / "example.json"
    file = several if several.is_file() else one
    held = read_optional(file, [])
    items = [held] if file == one and held != [] else held
    if not isinstance(items, list):
        raise InputError(f"{file}: holds no JSON list; {RULE}")
    with expected_layout(file):
        made = [_example(file, item) for item in items]
    return tuple(example for example in made if example.patterns)


def _example(path: Path, held: Any) -> Example:
    length = len(held["tokens"])
    if len(held["subject_tokens"]) != length:
        raise InputError(f"{path}: {len(held['subject_tokens'])} subject flags for {length} tokens; {RULE}")
    patterns = {
        arm: unpack_most(packed, length)
        if isinstance(packed := part["patterns"], dict)
        else full_table(path, arm, packed, (None, None, length, length))
        for arm, part in held["arms"].items()
    }
    if len({p.shape for p in patterns.values()}) > 1:
        raise InputError(f"{path}: the arms' patterns differ in shape; {RULE}")
    return Example(
        fact_id=str(held["fact_id"]),
        prompt=held["prompt"],
        tokens=tuple(held["tokens"]),
        subject_tokens=tuple(map(bool, held["subject_tokens"])),
        answers=tuple(held["answers"]),
        predictions={arm: str(part.get("prediction", "")) for arm, part in held["arms"].items()},
        patterns=patterns,
    )


def full_table(path: Path, arm: str, rows: Any, shape: tuple[int | None, ...]) -> ndarray:
    """Make an array of nested lists of a file.

    Args:
        path: the file, for the message.
        arm: whose lists they are, for the message.
        rows: the lists.
        shape: what is expected; None allows any length.

    Raises:
        InputError: the lists form no such table.
    """
    try:
        array = np.array(rows, dtype=float)
    except ValueError:
        raise InputError(f"{path}: the numbers of {arm!r} do not form a full table; {RULE}") from None
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        raise InputError(f"{path}: {arm!r} has shape {array.shape}, expected {shape}; {RULE}")
    return array
