"""Calibration: the cut lets the stated share of never-stored facts through, and fresh anchors say so."""

from __future__ import annotations

import numpy as np
import pytest

from interp.verdicts.calibration import Cuts, fit_cuts


def cuts(never: np.ndarray, retained: np.ndarray, *, stated: float = 0, some: float = 0) -> Cuts:
    """Cut where a share of the retained facts is still stated in every form, and of both in some."""
    out = tuple(np.arange(len(values)) % 2 == 0 for values in (never, retained))
    names = tuple(np.arange(len(values)) for values in (never, retained))
    first = [np.arange(len(values)) / len(values) for values in (never, retained)]
    flags = (first[0] < some, first[1] < max(some, stated), first[1] < stated)
    return fit_cuts(never, retained, out, names, alpha=0.05, stated=flags)  # type: ignore[arg-type]


def test_the_stated_rate_is_reached_on_fresh_anchors() -> None:
    rates = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        never, retained = rng.normal(size=800), rng.normal(size=800) + 4
        never[rng.random(800) < 0.1] = np.nan
        made = cuts(never, retained, stated=0.75)
        assert made.doubt < made.threshold
        assert made.false_positives.n < made.missed.n == 400
        rates.append((made.false_positives.value, made.missed.value, made.unseen.value))
    assert np.mean(rates, axis=0)[:2] == pytest.approx([0.05, 0.25], abs=0.01)
    assert np.mean(rates, axis=0)[2] < 0.02


def test_where_anchors_overlap_retained_facts_are_not_seen() -> None:
    rng = np.random.default_rng(0)
    made = cuts(rng.normal(size=400), rng.normal(size=400))
    assert made.unseen.value == pytest.approx(0.95, abs=0.04)


def test_facts_that_are_stated_are_called_stored_whatever_their_index() -> None:
    rng = np.random.default_rng(0)
    never, retained = rng.normal(size=400), rng.normal(size=400)
    plain, stated = cuts(never, retained), cuts(never, retained, some=0.1)
    assert stated.threshold == plain.threshold
    assert stated.false_positives.value >= plain.false_positives.value + 0.05
    assert stated.unseen.value <= plain.unseen.value - 0.05


def test_without_an_index_there_are_no_cuts() -> None:
    nothing = np.full(80, np.nan)
    made = cuts(nothing, nothing)
    assert np.isnan([made.threshold, made.doubt]).all()
    assert made.false_positives.n == 0
