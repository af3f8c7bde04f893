"""What the paper and open questions claim of frequency and survival, each claim decided by a number."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from interp.reports.pages.study import decide_claim

if TYPE_CHECKING:
    from interp.reports.pages.study import Claim

CURVED = ("frequency", "stored", "statement", "question")  # whose calibration is claimed and drawn
OPEN = "open question"


def names_of(*, real: bool) -> dict[str, str]:
    """Return what each predictor is called."""
    return {
        "frequency": "page views" if real else "sightings",
        "answer_prior": "answer's prior",
        "stored": "readout, stored",
        "used": "readout, used",
        "statement": "log p(statement)",
        "question": "log p(question)",
        "harm_score": "harm score m",
        "shuffled": f"{'page views' if real else 'sightings'}, shuffled",
    }


def claims(results: dict[str, Any], *, real: bool) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    of_area = partial(decide_claim, unit="AUROC", digits=3)
    often, names, found = "viewed" if real else "met", names_of(real=real), results["any_arm"]
    made = [
        of_area(
            f"facts {often} more often survive fine-tuning more often (any arm)",
            "paper, claim 2",
            found["frequency"]["area"],
            above=0.5,
        ),
        of_area(
            f"{names['frequency']} predict survival better than {names['shuffled']} among subjects (any arm)",
            "paper, claim 2",
            found["frequency"]["over_placebo"],
        ),
        decide_claim(
            f"salience (the stored readout) rises with {names['frequency']}",
            "paper, claim 2",
            results["salience"]["stored"],
            unit="rank correlation",
            digits=2,
        ),
        of_area(
            f"among facts with rare answers, those {often} more often survive more often (any arm)",
            "paper, claim 2",
            results["tiers"]["rare"]["area"],
            above=0.5,
        ),
        of_area(
            "facts with common answers survive more often (any arm)",
            OPEN,
            found["answer_prior"]["area"],
            above=0.5,
        ),
    ]
    made += [
        of_area(
            f"{names[name]} predicts survival better than {names['frequency']} do (any arm)",
            OPEN,
            found[name]["over_frequency"],
        )
        for name in ("stored", "used", "statement", "question", "harm_score")
    ]
    made += [
        decide_claim(
            f"a curve fitted elsewhere to {names[name]} foretells survival better than the base rate",
            OPEN,
            results["calibration"][name]["brier_gain"],
            unit="Brier score",
            digits=3,
        )
        for name in CURVED
    ]
    return tuple(made)
