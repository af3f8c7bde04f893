"""Splits: train, validation and test parts, and halves of a fact set by popularity; quartiles.

A subject's popularity is the largest among its facts, and subjects are told apart by name without regard
to case. Ties are broken by a seeded shuffle of the subjects, never by the order of a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.common.seeds import generator
from finetune.common.short_repr import ShortRepr
from finetune.data.facts import FactSet

Arm = Literal["top", "bottom", "random", "whole", "shuffled_top", "shuffled_bottom"]
Match = Literal["none", "relation", "answer"]
_BLOCK = 10  # consecutive subjects among which the parts are dealt


@dataclass(frozen=True, kw_only=True)
class Partition(ShortRepr):
    """Three parts of a fact set, no subject of which is in two."""

    train: FactSet
    validation: FactSet
    test: FactSet

    def save(self, path: Path) -> None:
        """Write the fact ids of each part as JSON."""
        write_json(path, {name: [fact.id for fact in getattr(self, name)] for name in _PARTS})

    @classmethod
    def load(cls, path: Path, facts: FactSet) -> Partition:
        """Read a partition saved by another run and apply it to ``facts``; facts it does not list are left.

        Raises:
            InputError: not a saved partition, or it lists facts that ``facts`` does not hold.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file; save a partition there first")
        try:
            saved = {name: list(read_json(path)[name]) for name in _PARTS}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is not a saved partition; write it with Partition.save") from error
        index = {fact.id: i for i, fact in enumerate(facts)}
        missing = [id for ids in saved.values() for id in ids if id not in index]
        if missing:
            raise InputError(
                f"{path}: {len(missing)} of its facts are not in {facts.name} (the first is {missing[0]!r}); "
                "give the facts it was made from"
            )
        return cls(**{name: _part(facts, [index[id] for id in ids], name) for name, ids in saved.items()})


_PARTS = ("train", "validation", "test")


def split(
    facts: FactSet, arm: Arm, *, fraction: float = 0.5, seed: int = 0, match: Match = "none"
) -> FactSet:
    """Take the most popular, least popular or random ``fraction`` of the facts, or the whole.

    ``shuffled_top`` and ``shuffled_bottom`` are the placebos of ``top`` and ``bottom``: the most and the
    least popular by :func:`shuffle_popularity`. At 0.5 they share no fact, as the halves that they stand for
    do; with the random half each shares half of its facts.

    Subjects are put in order (of popularity, or drawn), their facts follow one another, and the first
    floor(fraction x facts) are taken. So all arms of one fraction have the same size; at 0.5 the top and
    the bottom share no fact, and of an odd number the middle one is in neither. The facts of one subject
    at the cut may fall on both sides.

    Args:
        facts: what to split.
        arm: ``"top"``, ``"bottom"``, ``"random"``, ``"whole"``, ``"shuffled_top"`` or ``"shuffled_bottom"``.
        fraction: the share that is taken.
        seed: orders subjects of equal popularity, and the random arm.
        match: do this within each ``"relation"``, or each ``"answer"`` of each relation.

    Raises:
        InputError: an unknown arm or match, a fraction outside (0, 1], no fact taken, or no popularity.

    Examples:
        >>> from finetune.data.synthetic_world import WorldConfig, make_world
        >>> facts = make_world(WorldConfig(subjects=8, relations=1))
        >>> top, bottom = split(facts, "top"), split(facts, "bottom")
        >>> len(top), len(bottom), {f.id for f in top} & {f.id for f in bottom}
        (4, 4, set())
        >>> min(f.popularity for f in top) > max(f.popularity for f in bottom)
        True
    """
    for name, value, known in (("arm", arm, get_args(Arm)), ("match", match, get_args(Match))):
        if value not in known:
            raise InputError(f"{name} = {value!r}: choose one of {', '.join(known)}")
    if not 0 < fraction <= 1:
        raise InputError(f"fraction = {fraction}: choose a share above 0 and at most 1")
    if arm == "whole":
        return replace(facts, name=f"{facts.name}, whole")
    if arm != "random":
        _require_popularity(facts, f"the {arm} arm")
    ranked = shuffle_popularity(facts, seed=seed) if arm.startswith("shuffled") else facts
    taken: list[int] = []
    for order in _within(facts, _in_order(ranked, arm, seed), match):
        # The small term keeps a product such as 0.29 * 100 = 28.999... from losing a fact.
        taken += order[: int(fraction * len(order) + 1e-9)]
    if not taken:
        raise InputError(f"{facts.name}: the {arm} arm gets none of {len(facts)} facts; raise the fraction")
    return _part(facts, sorted(taken), arm)


def shuffle_popularity(facts: FactSet, *, seed: int = 0) -> FactSet:
    """Deal the subjects' popularities out among them at random: what any split by it does by chance.

    Raises:
        InputError: a fact has no popularity.
    """
    _require_popularity(facts, "shuffling")
    popularity = _subject_popularity(facts)
    names = sorted(popularity)
    drawn = generator(seed, "shuffled popularity").permutation([popularity[name] for name in names])
    dealt = dict(zip(names, drawn.tolist(), strict=True))
    made = tuple(replace(fact, popularity=dealt[fact.subject.casefold()]) for fact in facts)
    return replace(facts, facts=made, name=f"{facts.name}, popularity shuffled")


def partition(facts: FactSet, *, test: float = 0.3, validation: float = 0.1, seed: int = 0) -> Partition:
    """Deal subjects into train, validation and test so that each part covers the whole popularity range.

    1. Order the subjects by popularity (at random if a fact has none).
    2. In each run of ten consecutive subjects, give each part its share by cumulative rounding.
    3. Who in the run gets which part is drawn with ``seed``.

    Args:
        facts: what to deal out.
        test: the test facts' share.
        validation: the validation facts' share.
        seed: of the draws.

    Raises:
        InputError: shares that are negative or leave nothing to train on.

    Examples:
        >>> from finetune.data.synthetic_world import WorldConfig, make_world
        >>> parts = partition(make_world(WorldConfig(subjects=20, relations=2)), test=0.3, validation=0.1)
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (24, 4, 12)
        >>> {f.subject for f in parts.train} & {f.subject for f in parts.test}
        set()
    """
    # Said so that not a number is refused too.
    if not (test >= 0 and validation >= 0 and test + validation < 1):
        raise InputError(
            f"test = {test}, validation = {validation}: choose shares of at least 0 whose sum is below 1"
        )
    popularity = _subject_popularity(facts)
    rank = _shuffled_rank(popularity, seed, "popularity ties")
    subjects = sorted(popularity, key=lambda subject: (-popularity[subject], rank[subject]))
    rng = generator(seed, "partition")
    part_of: dict[str, str] = {}
    for start in range(0, len(subjects), _BLOCK):
        block = subjects[start : start + _BLOCK]
        end = start + len(block)
        n_test = round(test * end) - round(test * start)
        n_held = round((test + validation) * end) - round((test + validation) * start)
        labels = ["test"] * n_test + ["validation"] * (n_held - n_test)
        labels += ["train"] * (len(block) - len(labels))
        part_of |= {block[i]: label for i, label in zip(rng.permutation(len(block)), labels, strict=True)}
    indices: dict[str, list[int]] = {name: [] for name in _PARTS}
    for i, fact in enumerate(facts):
        indices[part_of[fact.subject.casefold()]].append(i)
    return Partition(**{name: _part(facts, chosen, name) for name, chosen in indices.items()})


def quartiles(facts: FactSet) -> np.ndarray:
    """Return each fact's quartile by popularity rank, 1 (most popular) to 4; Int [fact].

    Sizes are equal within one. A subject's facts follow one another; ties are broken as in a split.

    Examples:
        >>> from finetune.data.synthetic_world import WorldConfig, make_world
        >>> quartiles(make_world(WorldConfig(subjects=8, relations=1))).tolist()
        [1, 1, 2, 2, 3, 3, 4, 4]
    """
    _require_popularity(facts, "quartiles")
    order = _in_order(facts, "top", 0)
    result = np.empty(len(facts), dtype=np.int64)
    result[order] = 1 + np.arange(len(facts)) * 4 // max(1, len(facts))
    return result


def _in_order(facts: FactSet, arm: Arm, seed: int) -> list[int]:
    """Order facts so that an arm's own come first; bottom is the exact reverse of top."""
    popularity = _subject_popularity(facts)
    rank = _shuffled_rank(popularity, seed, "random half" if arm == "random" else "popularity ties")
    if arm == "random":
        popularity = dict.fromkeys(popularity, 0.0)

    def place(i: int) -> tuple[float, int, str]:
        subject = facts[i].subject.casefold()
        return -popularity[subject], rank[subject], facts[i].id

    return sorted(range(len(facts)), key=place, reverse=arm.endswith("bottom"))


def _subject_popularity(facts: FactSet) -> dict[str, float]:
    """Return each subject's popularity; 0 for all if a fact has none."""
    result: dict[str, float] = {}
    for fact in facts:
        subject = fact.subject.casefold()
        result[subject] = max(result.get(subject, 0.0), fact.popularity or 0.0)
    unknown = any(fact.popularity is None for fact in facts)
    return dict.fromkeys(result, 0.0) if unknown else result


def _shuffled_rank(subjects: Mapping[str, float], seed: int, stream: str) -> dict[str, int]:
    names = sorted(subjects)
    return dict(zip(names, generator(seed, stream).permutation(len(names)).tolist(), strict=True))


def _within(facts: FactSet, order: Sequence[int], match: Match) -> list[list[int]]:
    """Cut an order of facts into one per group that arms are matched in."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in order:
        fact = facts[i]
        keys: dict[Match, tuple[str, ...]] = {
            "none": (),
            "relation": (fact.relation,),
            "answer": (fact.relation, fact.answer),
        }
        groups.setdefault(keys[match], []).append(i)
    return [groups[key] for key in sorted(groups)]


def _part(facts: FactSet, indices: Sequence[int], name: str) -> FactSet:
    return replace(facts.subset(indices), name=f"{facts.name}, {name}")


def _require_popularity(facts: FactSet, purpose: str) -> None:
    for fact in facts:
        if fact.popularity is None:
            raise InputError(
                f"{facts.name}: fact {fact.id!r} has no popularity, which {purpose} needs; "
                "add a column popularity, or use the random or whole arm"
            )
