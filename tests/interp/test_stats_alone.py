"""Intervals are made in interp.stats and nowhere else, and it knows nothing of models; what they cover."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from interp.stats import auroc, estimate, mean_by_cell, rank_correlation, roc_area, spearman

ROOT = Path(__file__).parents[2]
# What makes bounds, p-values or ranks, under whatever name the module was imported.
MAKERS = {
    *("percentile", "nanpercentile", "quantile", "nanquantile", "bootstrap", "permutation_test"),
    *("ppf", "isf"),
    *("binomtest", "proportion_ci", "confidence_interval", "sem", "rankdata", "spearmanr"),
    *("kendalltau", "pearsonr", "corrcoef", "mannwhitneyu", "ttest_1samp", "ttest_rel", "ttest_ind"),
    *("wilcoxon", "roc_auc_score", "roc_curve", "false_discovery_control", "bootstrap_ci", "t_interval"),
}
# No interval and no statistic of a result: each with what it is for.
ALLOWED = {
    "interp/verdicts/matching.py": {"rankdata"},  # what facts are matched on
    "finetune/training/cost_estimate.py": {"quantile"},  # how long the rows of a batch are
    "analyses/experiments/popularity_proxies/proxies.py": {"rankdata"},  # popularity from a score's order
    "analyses/experiments/pretraining_sweep/numbers.py": {
        "linregress"
    },  # a slope a seed, whose interval is over seeds
    "analyses/experiments/salience_vs_frequency/calibration.py": {
        "rankdata"
    },  # the input of a logistic curve
}


def makers(source: str) -> set[str]:
    """Names of attributes, of plain calls and of imports that make bounds, p-values or ranks."""
    found: set[str] = set()
    tools: set[str] = set()  # whatever comes from scipy.stats
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            found |= names
            whole = {"stats"} if node.module == "scipy" else set()
            tools |= names if node.module == "scipy.stats" else names & whole
        elif isinstance(node, ast.Import):
            tools |= {alias.name for alias in node.names} & {"scipy.stats"}
    return found & MAKERS | tools


def modules() -> list[str]:
    """All modules but those of the statistics."""
    files = (f for place in ("finetune", "interp", "analyses") for f in (ROOT / place).rglob("*.py"))
    names = sorted(f.relative_to(ROOT).as_posix() for f in files)
    return [name for name in names if not name.startswith("interp/stats/")]


def test_nothing_else_makes_an_interval() -> None:
    found = {name: makers((ROOT / name).read_text(encoding="utf-8")) for name in modules()}
    odd = {name: held - ALLOWED.get(name, set()) for name, held in found.items()}
    assert {name: held for name, held in odd.items() if held} == {}
    assert {name: found[name] for name in ALLOWED} == ALLOWED


def test_what_makes_an_interval_is_seen_under_any_name() -> None:
    for line in (
        "import numpy as n\nn.percentile(x, 5)",
        "from numpy import nanquantile",
        "from scipy.stats import t as student\nstudent.ppf(0.975, 2)",
        "import scipy.stats\nscipy.stats.bootstrap((x,), f)",
        "frame['x'].quantile(0.5)",
        "from scipy.stats import binomtest as exact",
        "from scipy.stats import t\nt.interval(0.95, 2)",
        "from scipy import stats",
    ):
        assert makers(line), line
    assert not makers("from interp.stats import estimate\nestimate(x).low")


def test_bounds_are_given_to_no_estimate_elsewhere() -> None:
    for name in modules():
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Estimate":
                bounds = [k.value for k in node.keywords if k.arg in ("low", "high")]
                assert all(isinstance(b, ast.Constant) and b.value is None for b in bounds), name


def test_it_knows_nothing_of_models() -> None:
    command = (
        "import sys, interp.stats; import numpy as np; interp.stats.auroc(np.arange(9.), np.arange(9) % 2);"
        "print(sorted({'torch', 'transformers', 'transformer_lens'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def clusters(rng: np.random.Generator, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw subjects with one to nine facts; facts of one subject are alike."""
    sizes = rng.choice([1, 2, 9], n, p=[0.5, 0.3, 0.2])
    subject = np.repeat(np.arange(n), sizes)
    return subject, rng.normal(size=n)[subject], rng.normal(size=len(subject))


@pytest.mark.parametrize("kind", ["real", "share", "auroc", "spearman"])
def test_intervals_over_subjects_cover_what_all_subjects_would_give(kind: str) -> None:
    def of(subject: np.ndarray, own: np.ndarray, noise: np.ndarray):  # type: ignore[no-untyped-def]
        if kind == "real":
            return estimate(own + noise, groups=subject)
        if kind == "share":
            return estimate((own + noise > -0.8).astype(float), groups=subject)
        if kind == "auroc":
            return auroc(own, own + noise > 0, groups=subject)
        return spearman(own, own + noise, groups=subject)

    rng = np.random.default_rng(0)
    _, own, noise = clusters(rng, 60_000)
    truth = {
        "real": 0.0,
        "share": (own + noise > -0.8).mean(),
        "auroc": roc_area(own, own + noise > 0),
        "spearman": rank_correlation(own, own + noise),
    }[kind]
    found = [of(*clusters(rng)) for _ in range(100)]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert 0.86 <= covered <= 1
    # As if facts were independent, the interval would be too short.
    subject, own, noise = clusters(rng)
    alone, together = (estimate(own + 0.1 * noise, groups=g) for g in (None, subject))
    assert together.high - together.low > 1.2 * (alone.high - alone.low)


def test_tables_of_a_thousand_cells_are_quick_and_hold_their_means() -> None:
    subject, own, _ = clusters(np.random.default_rng(3))
    cells = own[:, None, None] + np.linspace(0, 1, 1000).reshape(1, 20, 50)
    mean, low, high = mean_by_cell(cells, groups=subject)
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (high - low) == pytest.approx((high - low)[0, 0] * np.ones((20, 50)))
