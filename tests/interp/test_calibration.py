"""Calibration: cuts let the stated shares of both anchors through, and fresh anchors say so."""

from __future__ import annotations

import numpy as np
import pytest

from interp.verdicts.calibration import fit_cuts


def cuts(never: np.ndarray, retained: np.ndarray, alpha: float = 0.05, stated: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    out = tuple(np.arange(len(values)) % 2 == 0 for values in (never, retained))
    names = tuple(np.arange(len(values)) for values in (never, retained))
    stated = np.zeros(len(never), bool) if stated is None else stated
    return fit_cuts(never, retained, out, names, alpha=alpha, stated=stated)  # type: ignore[arg-type]


def test_the_stated_rates_are_reached_on_fresh_anchors() -> None:
    rates = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        never, retained = rng.normal(size=800), rng.normal(size=800) + 4
        never[rng.random(800) < 0.1] = np.nan
        made = cuts(never, retained)
        assert made.doubt < made.threshold < made.intact
        assert made.false_positives.n < made.missed.n == 400
        rates.append((made.false_positives.value, made.missed.value, made.unseen.value))
    assert np.mean(rates, axis=0)[:2] == pytest.approx([0.05, 0.05], abs=0.01)
    assert np.mean(rates, axis=0)[2] < 0.02


def test_where_anchors_overlap_nothing_lies_between_them() -> None:
    rng = np.random.default_rng(0)
    made = cuts(rng.normal(size=400), rng.normal(size=400))
    assert made.intact == made.threshold
    assert made.unseen.value == pytest.approx(0.95, abs=0.04)


def test_facts_that_are_stated_count_as_false_positives_whatever_their_index() -> None:
    rng = np.random.default_rng(0)
    never, retained = rng.normal(size=400), rng.normal(size=400) + 4
    plain, stated = cuts(never, retained), cuts(never, retained, stated=np.arange(400) < 40)
    assert stated.threshold == plain.threshold
    assert stated.false_positives.value >= plain.false_positives.value + 0.05


def test_without_an_index_there_are_no_cuts() -> None:
    nothing = np.full(80, np.nan)
    made = cuts(nothing, nothing)
    assert np.isnan([made.threshold, made.doubt, made.intact]).all()
    assert made.false_positives.n == 0
