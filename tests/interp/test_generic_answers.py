"""Generic answers against scipy's entropy, scikit-learn's mutual information, and models without any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score

from interp.measures.generic_answers import answer_genericness

RIGHT = ["France"] * 6 + ["India", "Chile", "Chile", "Peru"]


def test_a_model_with_one_answer_is_modal_and_tells_nothing() -> None:
    found = answer_genericness(["country"] * 10, ["France"] * 10, RIGHT)
    assert found.modal.all()
    assert found.surprisal.mean() == 0
    assert found.information.mean() == pytest.approx(0, abs=1e-12)
    right = np.array([g == "France" for g in RIGHT])
    assert right.mean() == 0.6
    assert right[found.uncommon].mean() == 0, "nothing but the commonest answer is right"


def test_means_are_entropy_and_information_within_each_relation() -> None:
    rng = np.random.default_rng(0)
    relations = ["a"] * 70 + ["b"] * 30
    right = [f"{r}{rng.integers(4)}" for r in relations]
    said = [
        g if rng.random() < 0.5 else f"{r}{rng.integers(4)}" for r, g in zip(relations, right, strict=True)
    ]
    found = answer_genericness(relations, said, right)
    for name in ("a", "b"):
        rows = [i for i, r in enumerate(relations) if r == name]
        s, g = [said[i] for i in rows], [right[i] for i in rows]
        counts = np.unique(s, return_counts=True)[1]
        assert found.surprisal[rows].mean() == pytest.approx(entropy(counts, base=2))
        assert found.modal[rows].mean() == counts.max() / len(rows)
        raw = mutual_info_score(g, s)
        # Adjusted information is (I - E) / (mean of both entropies - E), so E follows from it.
        adjusted = adjusted_mutual_info_score(g, s)
        both = (entropy(counts) + entropy(np.unique(g, return_counts=True)[1])) / 2
        expected = (raw - adjusted * both) / (1 - adjusted)
        assert found.information[rows].mean() == pytest.approx((raw - expected) / np.log(2))


def test_answers_at_random_carry_no_information_on_average() -> None:
    rng = np.random.default_rng(1)
    right = [str(k) for k in rng.integers(8, size=60)]
    found = [
        answer_genericness(["r"] * 60, list(rng.permutation(right)), right).information.mean()
        for _ in range(200)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    perfect = answer_genericness(["r"] * 60, right, right)
    assert perfect.information.mean() > 1


def test_it_does_not_depend_on_the_order_of_facts() -> None:
    order = [3, 1, 9, 0, 5, 2, 8, 4, 7, 6]
    relations, said = ["x", "y"] * 5, ["a", "b", "a", "c", "b", "b", "a", "a", "c", "c"]
    one = answer_genericness(relations, said, RIGHT)
    two = answer_genericness(*([column[i] for i in order] for column in (relations, said, RIGHT)))
    for name in ("modal", "surprisal", "information", "uncommon"):
        assert np.allclose(getattr(one, name)[order], getattr(two, name))
