"""Controls of a verdict: facts that nothing stores, and those among them that are like the lost ones.

A verdict's threshold is a quantile of its controls' evidence, so who they are decides what is called stored.

- ``matched``: facts right in *no* form of the base and wrong in the fine-tuned model, chosen to be like the
  lost ones. In rounds, every lost fact in the order of the table takes the nearest of those that are left,
  the first of equals: one round, and more as long as there are ``ENOUGH_CONTROLS`` at most. Near is what
  differs little in the log of how many facts of the relation have the fact's answer, and in the rank of its
  popularity where all facts have one, each over its standard deviation.
- ``never``: all facts right in no form of the base and wrong in the fine-tuned model.
- ``unknown``: all that the base does not know in *every* form, which earlier versions took. Those that it
  states in some form are stored in part.
- ``decoys``: another subject's answer, measured for facts that the base knew.

The verdict rests on the first of ``RELIED_ON`` that there are enough of, and says which; what others say
stands beside it. ``unknown`` comes last: facts that are stored in part make it too strict. ``matched`` only
stands beside it: where few facts are lost its threshold rests on a few dozen facts, and missed the rate that
it was fitted for (18.8%, 7.4 to 37.0, n = 32, for 5%).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import rankdata

from finetune.common.errors import InputError
from interp.verdicts.calibration import Calibration, Values, calibrate

if TYPE_CHECKING:
    from finetune.data.records.fact import Fact

CONTROLS = {
    "matched": "facts right in no form of the base, matched to the lost ones",
    "never": "facts right in no form of the base",
    "unknown": "facts that the base does not know in every form",
    "decoys": "wrong answers for facts that the base knew",
}
RELIED_ON = ("never", "decoys", "unknown")
FEWEST_CONTROLS = 40  # a 5% threshold fitted on a half of fewer would be set by one fact
NOTHING_KEPT = (
    "there is no fact that both models know, so nothing says what a stored fact looks like; "
    "give facts that the base states, in the wording that the model was fine-tuned on"
)
ENOUGH_CONTROLS = 100  # bounds further rounds of matching, which take facts that are less and less alike
Rows = Bool[ndarray, " fact"]


@dataclass(frozen=True, kw_only=True)
class KnownAndSaid:
    """What the base knew of each fact, and whether the fine-tuned model is right.

    ``known``: right in every form of the base; ``specific``: tied to the subject; ``never``: right in none.
    """

    known: Rows
    specific: Rows
    never: Rows
    right: Rows


@dataclass(frozen=True, kw_only=True)
class FittedControls:
    """Thresholds of every set of controls that there are enough of, and which of them a verdict rests on.

    ``members`` and ``shown`` are [fact, set] in the order of ``CONTROLS``: who is a control (decoys are
    answers, and no fact is one), and whose evidence lies above the set's threshold: NaN without evidence, or
    where there are too few for one.
    """

    relied: str
    calibrations: dict[str, Calibration]
    strength: Float[ndarray, " fact"]
    members: Bool[ndarray, "fact set"]
    shown: Float[ndarray, "fact set"]

    def columns(self) -> dict[str, Any]:
        """Return what a diagnosis holds of them."""
        rate = self.calibration.false_positives
        return {
            "strength": torch.from_numpy(self.strength).float(),
            "threshold": self.calibration.threshold,
            "doubt": self.calibration.doubt,
            "controls": CONTROLS[self.relied],
            "control_sets": tuple(CONTROLS),
            "shown": torch.from_numpy(self.shown).float(),
            "is_control": torch.from_numpy(self.members),
            "false_positives": (rate.value, rate.low, rate.high, rate.n),
        }

    @property
    def calibration(self) -> Calibration:
        """The one that the verdict rests on."""
        return self.calibrations[self.relied]


def fit_controls(
    evidence: Values,
    decoys: Values,
    told: KnownAndSaid,
    facts: Sequence[Fact],
    held_out: Rows,
    *,
    alpha: float,
) -> FittedControls:
    """Calibrate on every set of controls that there are enough of, on the subjects that are not held out.

    Args:
        evidence: of the right answers, [fact, kind].
        decoys: of another subject's.
        told: what was known and said.
        facts: in the same order.
        held_out: facts that check a threshold.
        alpha: the share of controls allowed above a threshold.

    Raises:
        InputError: no fact that both models know, or too few controls that a verdict may rest on.
    """
    if not (told.known & told.right).any():
        raise InputError(NOTHING_KEPT)
    lost, free = told.known & told.specific & ~told.right, told.never & ~told.right
    sets = {
        "matched": match(lost, free, likeness(facts)),
        "never": free,
        "unknown": ~told.known & ~told.right,
        "decoys": told.known,
    }
    subjects = np.array([fact.subject for fact in facts])
    found = _calibrated(sets, evidence, decoys, held_out, subjects, alpha)
    relied = next(name for name in RELIED_ON if name in found)
    sets["decoys"] = np.zeros(len(facts), bool)
    shown = np.full((len(facts), len(CONTROLS)), np.nan)
    for k, name in enumerate(CONTROLS):
        if name in found:
            strength = found[name].strength(evidence)
            shown[:, k] = np.where(np.isnan(strength), np.nan, strength > found[name].threshold)
    return FittedControls(
        relied=relied,
        calibrations=found,
        strength=found[relied].strength(evidence),
        members=np.stack([sets[name] for name in CONTROLS], axis=1),
        shown=shown,
    )


def _calibrated(
    sets: Mapping[str, Rows],
    evidence: Values,
    decoys: Values,
    held_out: Rows,
    subjects: ndarray,
    alpha: float,
) -> dict[str, Calibration]:
    """Calibrate on the sets that have enough facts with evidence, on both halves."""
    found: dict[str, Calibration] = {}
    counts: dict[str, int] = {}
    for name, wanted in sets.items():
        values = decoys if name == "decoys" else evidence
        some = wanted & ~np.isnan(values).all(1)
        fitting, counts[name] = ~held_out[some], int(some.sum())
        if counts[name] >= FEWEST_CONTROLS and fitting.any() and not fitting.all():
            found[name] = calibrate(values[some], fitting, alpha=alpha, groups=subjects[some])
    if not set(RELIED_ON) & set(found):
        most = max(counts[name] for name in RELIED_ON)
        raise InputError(
            f"only {most} controls: give at least {FEWEST_CONTROLS} facts, of relations with several "
            "subjects and answers"
        )
    return found


def likeness(facts: Sequence[Fact]) -> Float[ndarray, "fact feature"]:
    """Return what facts are matched on, in standard deviations: log answer frequency, popularity's rank."""
    counts = Counter((fact.relation, fact.answers[0]) for fact in facts)
    columns = [np.log([counts[fact.relation, fact.answers[0]] for fact in facts])]
    popularity = [fact.popularity for fact in facts if fact.popularity is not None]
    if len(popularity) == len(facts):
        columns.append(rankdata(popularity))
    values = np.stack(columns, axis=1)
    spread = values.std(0)
    return values / np.where(spread > 0, spread, 1.0)


def match(lost: Rows, pool: Rows, features: Float[ndarray, "fact feature"]) -> Rows:
    """Choose the facts of a pool that are nearest to lost ones, in rounds; none where none is lost."""
    taken, left = np.zeros_like(pool), pool.copy()
    for _ in range(max(1, ENOUGH_CONTROLS // max(1, lost.sum()))):
        for i in np.flatnonzero(lost):
            rows = np.flatnonzero(left)
            if len(rows):
                nearest = rows[np.square(features[rows] - features[i]).sum(1).argmin()]
                taken[nearest], left[nearest] = True, False
    return taken
