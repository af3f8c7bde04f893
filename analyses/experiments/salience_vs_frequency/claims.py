"""What the paper and open questions claim of frequency and survival, each claim decided by a number."""

from __future__ import annotations

from collections.abc import Iterator

from interp.reports.pages.results_tables import Wording, decide_each
from interp.reports.pages.study import Claim
from interp.reports.read.results import Results

CURVED = ("frequency", "stored", "statement", "question")  # whose calibration is claimed and drawn
PAPER, OPEN, AREA = "paper, claim 2", "open question", "AUROC 3"


def names_of(*, real: bool) -> dict[str, str]:
    """Return what each predictor is called."""
    often = "page views" if real else "sightings"
    return {
        "frequency": often,
        "answer_prior": "answer's prior",
        "stored": "readout, stored",
        "used": "readout, used",
        "statement": "log p(statement)",
        "question": "log p(question)",
        "harm_score": "harm score m",
        "shuffled": f"{often}, shuffled",
    }


def claims(results: Results, *, real: bool) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    names = names_of(real=real)
    better = [
        (
            f"{names[name]} predicts survival better than {names['frequency']} do (any arm)",
            OPEN,
            f"any_arm/{name}/over_frequency",
            AREA,
        )
        for name in ("stored", "used", "statement", "question", "harm_score")
    ]
    curves = [
        (
            f"a curve fitted elsewhere to {names[name]} foretells survival better than the base rate",
            OPEN,
            f"calibration/{name}/brier_gain",
            "Brier score 3",
        )
        for name in CURVED
    ]
    return decide_each(results, (*_of_frequency("viewed" if real else "met", names), *better, *curves))


def _of_frequency(met: str, names: dict[str, str]) -> Iterator[Wording]:
    often, arm = names["frequency"], "(any arm)"
    survive = f"facts {met} more often survive fine-tuning more often {arm}"
    yield survive, PAPER, "any_arm/frequency/area", AREA, 0.5
    better = f"{often} predict survival better than {names['shuffled']} among subjects {arm}"
    yield better, PAPER, "any_arm/frequency/over_placebo", AREA
    rises = f"salience (the stored readout) rises with {often}"
    yield rises, PAPER, "salience/stored", "rank correlation 2"
    rare = f"among facts with rare answers, those {met} more often survive more often {arm}"
    yield rare, PAPER, "tiers/rare/area", AREA, 0.5
    common = f"facts with common answers survive more often {arm}"
    yield common, OPEN, "any_arm/answer_prior/area", AREA, 0.5
