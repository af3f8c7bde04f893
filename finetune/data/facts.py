"""Facts: what a model is asked about, where each one came from, and what was left out and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from finetune.common.errors import LeftOut
from finetune.common.short_repr import ShortRepr
from finetune.data.records.fact import Fact

if TYPE_CHECKING:
    import pandas as pd

    from finetune.data.records.wording import Wording


@dataclass(frozen=True, kw_only=True)
class FactSet(ShortRepr, Sequence[Fact]):
    """An ordered set of facts with a name and the record of what was left out of it.

    ``wordings`` are those that the source brings for some of its relations: a question, statements and
    pretraining questions, as in :mod:`finetune.data.templates`.

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
    wordings: Mapping[str, Wording] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        limit: int | None = None,
        seed: int = 0,
        columns: Mapping[str, str] | None = None,
        subjects: bool = True,
    ) -> FactSet:
        """Load facts from a file, a directory, or the hub.

        Args:
            source: a file or directory (:func:`finetune.data.load_facts.load`), ``"file.json#data.dev"`` for
                a list inside a JSON object, ``"popqa"``, ``"mmlu"``, ``"mmlu:SUBSET"``, ``"geonames"``
                (cities and countries, :mod:`finetune.data.loaders.geonames`), or any data set of the hub
                as ``"owner/name"`` or ``"owner/name:config"``.
            limit: keep a random draw of that many usable facts, taken with ``seed``.
            seed: of that draw.
            columns: what the file calls a column, by the name that it has here: ``{"subject": "Name"}``.
            subjects: whether facts must say what they are about; without, a bare list of questions and
                answers will do, and all of a question is its subject.

        Raises:
            InputError: the source cannot be read, lacks a column, or is over half malformed.
        """
        from finetune.data.load_facts import load

        return load(source, limit=limit, seed=seed, columns=columns, subjects=subjects)

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

    def _shown(self) -> Mapping[str, Any]:
        counted = [fact.popularity for fact in self.facts if fact.popularity is not None]
        shown = {"name": self.name, "facts": len(self), "relations": self.relations}
        span = f"{min(counted):g} to {max(counted):g}" if counted else "not given"
        return shown | {"popularity": span, "left_out": len(self.left_out)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("subject", "relation", "answer", "question", "popularity")
        return [{name: getattr(fact, name) for name in names} for fact in self.facts[:5]]

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

    @property
    def answer_sets(self) -> dict[str, tuple[str, ...]]:
        """The distinct canonical answers of every relation."""
        return {relation: self.answer_set(relation) for relation in self.relations}

    def to_frame(self) -> pd.DataFrame:
        """One row a fact, with the fields of :class:`Fact` as columns."""
        import pandas as pd

        return pd.DataFrame({name: [getattr(fact, name) for fact in self.facts] for name in _FIELDS})

    @property
    def digest(self) -> str:
        """A SHA-256 over the facts' contents and order (not over the name or what was left out)."""
        digest, before = hashlib.sha256(b"["), b""
        for start in range(0, len(self.facts), 4096):
            some = [_contents(fact) for fact in self.facts[start : start + 4096]]
            digest.update(before + json.dumps(some, ensure_ascii=False, sort_keys=True)[1:-1].encode())
            before = b", "
        digest.update(b"]")
        return digest.hexdigest()


_FIELDS = tuple(Fact.__dataclass_fields__)


def _contents(fact: Fact) -> dict[str, object]:
    """Return the fields of a fact; choices only where there are some, for most facts have none."""
    return {name: value for name in _FIELDS if (value := getattr(fact, name)) or name != "choices"}
