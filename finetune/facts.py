"""Facts: what a model is asked about, where each one came from, and what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import pandas as pd


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the file, row or setting, and the remedy.

    ``in_python`` is a further remedy, one that only a caller in Python has; command lines leave it out.
    """

    def __init__(self, message: str = "", *, in_python: str = "") -> None:
        super().__init__(message + in_python)
        self.on_command_line = message


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One (subject, relation, answer) triple.

    ``answers`` are all accepted answers, the canonical one first. ``question`` is the source's own
    wording, if it has one. ``popularity`` is any non-negative proxy for pretraining frequency. ``choices``
    are the options of a multiple-choice question in their order, the canonical answer among them.

    Examples:
        >>> fact = Fact(id="q1", subject="Ada Lovelace", relation="born", answers=("London", "London, UK"))
        >>> fact.answer
        'London'
    """

    id: str
    subject: str
    relation: str
    answers: tuple[str, ...]
    question: str | None = None
    popularity: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The canonical answer."""
        return self.answers[0]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something that was set aside: where it stood (file and line, or fact id) and why."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class FactSet(Sequence[Fact]):
    """An ordered set of facts with a name and the record of what was left out of it.

    Examples:
        >>> facts = FactSet(
        ...     facts=(
        ...         Fact(id="1", subject="Ada", relation="born", answers=("London",)),
        ...         Fact(id="2", subject="Emmy", relation="born", answers=("Erlangen",)),
        ...     ),
        ...     name="two people",
        ... )
        >>> facts.answer_set("born")
        ('Erlangen', 'London')
        >>> [fact.subject for fact in facts[1:]]
        ['Emmy']
    """

    facts: tuple[Fact, ...]
    name: str
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def load(cls, source: str | Path, *, limit: int | None = None, seed: int = 0) -> FactSet:
        """Load facts from a file, a directory, or the hub.

        ``"popqa"``, ``"mmlu"`` and ``"mmlu:SUBSET"`` are the hub's data sets, ``"owner/name"`` or
        ``"owner/name:config"`` any other there. Files and directories: :func:`finetune.sources.load`.
        ``limit`` keeps a random draw of that many usable facts, taken with ``seed``.

        Raises:
            InputError: the source cannot be read, lacks a column, or is over half malformed.
        """
        from finetune.sources import load

        return load(source, limit=limit, seed=seed)

    @overload
    def __getitem__(self, index: int) -> Fact: ...
    @overload
    def __getitem__(self, index: slice) -> FactSet: ...
    def __getitem__(self, index: int | slice) -> Fact | FactSet:
        if isinstance(index, slice):
            return replace(self, facts=self.facts[index])
        return self.facts[index]

    def __len__(self) -> int:
        return len(self.facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def subset(self, indices: Sequence[int]) -> FactSet:
        """Keep the facts at ``indices``, in that order."""
        return replace(self, facts=tuple(self.facts[i] for i in indices))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that occur, sorted."""
        return tuple(sorted({fact.relation for fact in self.facts}))

    def answer_set(self, relation: str) -> tuple[str, ...]:
        """The distinct canonical answers of ``relation``, sorted."""
        return tuple(sorted({fact.answer for fact in self.facts if fact.relation == relation}))

    def to_frame(self) -> pd.DataFrame:
        """One row a fact, with the fields of :class:`Fact` as columns."""
        import pandas as pd

        return pd.DataFrame([vars(fact) for fact in self.facts])

    @property
    def digest(self) -> str:
        """A SHA-256 over the facts' contents and order (not over the name or what was left out)."""
        rows = json.dumps([_contents(fact) for fact in self.facts], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(rows.encode()).hexdigest()


def _contents(fact: Fact) -> dict[str, object]:
    """Return the fields of a fact; choices only where there are some, for most facts have none."""
    return {name: value for name, value in vars(fact).items() if name != "choices" or value}
