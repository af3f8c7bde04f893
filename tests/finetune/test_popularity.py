"""Splits: sizes, disjointness, order and determinism, on drawn fact sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import Fact, FactSet, InputError, partition, split
from finetune.data.splits import Partition, quartiles, shuffle_popularity


def make(popularity: list[float | None], relations: int = 1, name: str = "s") -> FactSet:
    facts = tuple(
        Fact(id=f"{r}/{k}", subject=f"{name}{k}", relation=f"r{r}", answers=("a",), popularity=value)
        for k, value in enumerate(popularity)
        for r in range(relations)
    )
    return FactSet(facts=facts, name="made")


def ids(facts: FactSet) -> set[str]:
    return {fact.id for fact in facts}


views = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=40)


@given(views, st.integers(1, 3), st.integers(0, 5), st.sampled_from(["none", "relation", "answer"]))
def test_halves_are_equal_disjoint_and_ordered(
    popularity: list[float | None], relations: int, seed: int, match: str
) -> None:
    facts = make(popularity, relations)
    top, bottom, random = (
        split(facts, arm, seed=seed, match=match)  # type: ignore[arg-type]
        for arm in ("top", "bottom", "random")
    )
    expected = len(facts) // 2 if match == "none" else relations * (len(popularity) // 2)
    assert len(top) == len(bottom) == len(random) == expected
    placebo = split(facts, "shuffled_top", seed=seed, match=match)  # type: ignore[arg-type]
    dealt = shuffle_popularity(facts, seed=seed)
    assert ids(placebo) == ids(split(dealt, "top", seed=seed, match=match))  # type: ignore[arg-type]
    assert set(placebo) <= set(facts), "facts keep their own popularity"
    other = split(facts, "shuffled_bottom", seed=seed, match=match)  # type: ignore[arg-type]
    assert ids(other) == ids(split(dealt, "bottom", seed=seed, match=match))  # type: ignore[arg-type]
    assert not ids(placebo) & ids(other)
    assert not ids(top) & ids(bottom)
    assert min(f.popularity for f in top) >= max(f.popularity for f in bottom)  # type: ignore[type-var]
    assert ids(split(facts, "whole", seed=seed)) == ids(facts)
    if match != "none":
        assert Counter(f.relation for f in top) == Counter(f.relation for f in random)


def test_matched_halves_have_the_same_answers_and_still_differ_in_popularity() -> None:
    rng = np.random.default_rng(0)
    facts = make([float(k) for k in range(200)], relations=2)
    # Popular subjects have other answers than unpopular ones, so that plain halves differ in answers too.
    named = tuple(
        replace(f, answers=(str(int(rng.integers(3)) if (f.popularity or 0) > 100 else 2),)) for f in facts
    )
    facts = replace(facts, facts=named)
    marginals = {
        match: [
            Counter((f.relation, f.answer) for f in split(facts, arm, match=match))  # type: ignore[arg-type]
            for arm in ("top", "bottom", "random")
        ]
        for match in ("none", "answer")
    }
    assert marginals["none"][0] != marginals["none"][1]
    assert marginals["answer"][0] == marginals["answer"][1] == marginals["answer"][2]
    top, bottom = (split(facts, arm, match="answer").to_frame() for arm in ("top", "bottom"))  # type: ignore[arg-type]
    means = [part.groupby(["relation", "answers"])["popularity"].mean() for part in (top, bottom)]
    assert (means[0] > means[1]).all()


def test_shuffling_deals_the_same_popularities_to_other_subjects() -> None:
    facts = make([float(k) for k in range(50)], relations=2)
    placebo = shuffle_popularity(facts, seed=1)
    by_subject = {fact.subject: fact.popularity for fact in placebo}
    assert sorted(by_subject.values()) == [float(k) for k in range(50)]  # type: ignore[type-var]
    assert all(by_subject[fact.subject] == fact.popularity for fact in placebo), "one a subject"
    correlation = np.corrcoef([f.popularity for f in facts], [f.popularity for f in placebo])[0, 1]  # type: ignore[misc]
    assert abs(correlation) < 0.4
    assert ids(placebo) == ids(facts)
    assert placebo.digest != shuffle_popularity(facts, seed=2).digest


def test_the_middle_of_an_odd_number_is_in_neither_half() -> None:
    facts = make([5, 4, 3, 2, 1])
    assert ids(split(facts, "top")) == {"0/0", "0/1"}
    assert ids(split(facts, "bottom")) == {"0/3", "0/4"}


def test_fractions_and_seeds() -> None:
    facts = make([float(k) for k in range(100)])
    assert len(split(facts, "top", fraction=0.29)) == 29
    assert split(facts, "random", seed=3).digest == split(facts, "random", seed=3).digest
    assert split(facts, "random", seed=3).digest != split(facts, "random", seed=4).digest
    assert split(facts, "top", seed=3).digest == split(facts, "top", seed=4).digest
    tied = make([1.0] * 100)
    assert split(tied, "top", seed=3).digest != split(tied, "top", seed=4).digest
    assert not ids(split(tied, "top", seed=3)) & ids(split(tied, "bottom", seed=3))


def test_splits_do_not_depend_on_the_order_of_the_file() -> None:
    facts = make([float(k % 7) for k in range(50)], relations=2)
    turned = facts.subset(list(range(len(facts)))[::-1])
    for arm in ("top", "bottom", "random"):
        assert ids(split(facts, arm)) == ids(split(turned, arm))  # type: ignore[arg-type]
    assert ids(partition(facts).test) == ids(partition(turned).test)


def test_a_subject_has_the_popularity_of_its_best_known_fact() -> None:
    rows = [("Run", 1.0), ("run", 9.0), ("Walk", 5.0), ("Fly", 4.0)]
    facts = FactSet(
        name="made",
        facts=tuple(
            Fact(id=str(k), subject=s, relation=f"r{k}", answers=("a",), popularity=p)
            for k, (s, p) in enumerate(rows)
        ),
    )
    assert ids(split(facts, "top")) == {"0", "1"}


@given(st.integers(1, 200), st.integers(1, 3), st.integers(0, 5))
def test_parts_share_no_subject_and_have_their_sizes(n: int, relations: int, seed: int) -> None:
    facts = make([float(k) for k in range(n)], relations)
    parts = partition(facts, seed=seed)
    subjects = [{f.subject for f in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, subjects)) == n == len(set.union(*subjects))
    assert len(subjects[2]) == round(0.3 * n)
    assert len(subjects[1]) == round(0.4 * n) - round(0.3 * n)


def test_each_part_covers_the_popularity_range() -> None:
    facts = make([float(k) for k in range(400)])
    parts = partition(facts, seed=1)
    quartile = dict(zip([f.id for f in facts], quartiles(facts), strict=True))
    for part, share in ((parts.test, 30), (parts.validation, 10)):
        assert Counter(quartile[f.id] for f in part) == {1: share, 2: share, 3: share, 4: share}
    assert ids(parts.test) != ids(partition(facts, seed=2).test)
    assert ids(parts.test) == ids(partition(facts, seed=1).test)


def test_names_that_differ_in_case_are_one_subject() -> None:
    facts = FactSet(
        name="made",
        facts=tuple(
            Fact(id=f"{k}{case}", subject=f"Name {case * (k + 1)}", relation="r", answers=("a",))
            for k in range(20)
            for case in "xX"
        ),
    )
    parts = partition(facts)
    assert all(len({f.id[:-1] for f in part}) * 2 == len(part) for part in (parts.train, parts.test))


@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=40))
def test_quartiles_are_equal_within_one_and_ordered(popularity: list[float | None]) -> None:
    facts = make(popularity)
    found = quartiles(facts)
    sizes = np.bincount(found, minlength=5)[1:]
    assert sizes.max() - sizes.min() <= 1
    for better, worse in zip((1, 2, 3), (2, 3, 4), strict=True):
        above = [f.popularity or 0.0 for f, q in zip(facts, found, strict=True) if q <= better]
        below = [f.popularity or 0.0 for f, q in zip(facts, found, strict=True) if q >= worse]
        assert not below or min(above) >= max(below)


def test_a_partition_is_saved_and_loaded(tmp_path: Path) -> None:
    facts = make([float(k) for k in range(60)])
    parts = partition(facts)
    parts.save(tmp_path / "parts.json")
    assert Partition.load(tmp_path / "parts.json", facts) == parts
    with pytest.raises(InputError, match="of its facts are not in"):
        Partition.load(tmp_path / "parts.json", facts[:30])
    (tmp_path / "other.json").write_text("[1]")
    for name, said in (("other.json", "is not a saved partition"), ("absent.json", "no such file")):
        with pytest.raises(InputError, match=said):
            Partition.load(tmp_path / name, facts)


def test_mistakes_are_named() -> None:
    unknown = make([1.0, None, 2.0, 3.0])
    for arm in ("top", "bottom"):
        with pytest.raises(InputError, match="'0/1' has no popularity"):
            split(unknown, arm)  # type: ignore[arg-type]
    assert len(split(unknown, "random")) == 2
    assert len(partition(unknown, test=0.5).test) == 2
    with pytest.raises(InputError, match="arm = 'best'"):
        split(unknown, "best")  # type: ignore[arg-type]
    for fraction in (0.0, 1.5):
        with pytest.raises(InputError, match="fraction"):
            split(unknown, "random", fraction=fraction)
    with pytest.raises(InputError, match="raise the fraction"):
        split(unknown, "random", fraction=0.1)
    with pytest.raises(InputError, match="sum is below 1"):
        partition(unknown, test=0.8, validation=0.2)
