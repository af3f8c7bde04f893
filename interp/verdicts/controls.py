"""Controls of a verdict: facts that nothing stores, and those among them that are like the lost ones.

A verdict's threshold is a quantile of its controls' evidence, so who they are decides what is called stored.

- ``never``: all facts right in no form of the base, the right answer at chance among the relation's
  (:mod:`interp.verdicts.base_knowledge`), and wrong in the fine-tuned model.
- ``matched``: those of them that are like the lost ones. In rounds, every lost fact in the order of the
  table takes the nearest of those that are left, the first of equals: one round, and more as long as there
  are ``ENOUGH_CONTROLS`` at most. Near is what differs little in the log of how many facts of the relation
  have the fact's answer, and in the rank of its popularity where all facts have one, each over its standard
  deviation.
- ``unknown``: all that the base does not know in *every* form, which earlier versions took. Those that it
  states in some form are stored in part.
- ``decoys``: another subject's answer, measured for facts that the base knew.

The verdict rests on the first of ``RELIED_ON`` that there are enough of, and says which; what others say
stands beside it. ``unknown`` comes last: facts that are stored in part make it too strict. ``matched`` only
stands beside it: where few facts are lost its threshold rests on a few dozen facts, and missed the rate that
it was fitted for (18.8%, 7.4 to 37.0, n = 32, for 5%).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from finetune.common.errors import InputError
from interp.verdicts.calibration import Cuts, fit_cuts
from interp.verdicts.diagnosis import KnownAndSaid, Rows
from interp.verdicts.matching import likeness, match
from interp.verdicts.storage_index import Anchors, Values, index_interval, storage_index

if TYPE_CHECKING:
    from finetune.data.records.fact import Fact

CONTROLS = {
    "matched": "facts right in no form of the base, at chance, matched to the lost ones",
    "never": "facts right in no form of the base, at chance",
    "unknown": "facts that the base does not know in every form",
    "decoys": "wrong answers for facts that the base knew",
}
RELIED_ON = ("never", "decoys", "unknown")
FEWEST_CONTROLS = 40  # a 5% threshold fitted on a half of fewer would be set by one fact
FEWEST_RETAINED = 20  # of the upper anchor, whose median the half of so many still settles
RETAINED_ARE = {
    "specific": "facts that both models answer right and specifically",
    "stated": "known facts that are still stated, specifically, in every held-out form",
    "right": "facts that both models answer right, few of them specifically",
}
NOTHING_KEPT = (
    "there is no fact that both models know, so nothing says what a stored fact looks like; "
    "give facts that the base states, in the wording that the model was fine-tuned on"
)


@dataclass(frozen=True, kw_only=True)
class FittedControls:
    """The index of every fact between the anchors, and its cuts by every set of controls.

    ``members`` and ``shown`` are [fact, set] in the order of ``CONTROLS``: who is a control (decoys are
    answers, and no fact is one), and whom each set's cut shows to be stored: NaN without evidence, or where
    there are too few for a cut. ``decoy_shown`` says whether the wrong answer of a known fact lies above the
    decoys' own cut; NaN of facts without one.
    """

    relied: str
    retained: str
    anchors: Anchors
    apart: bool
    index: Values
    bounds: tuple[Values, Values]
    cuts: dict[str, Cuts]
    members: Bool[ndarray, "fact set"]
    shown: Float[ndarray, "fact set"]
    decoy_shown: Float[ndarray, " fact"]

    @property
    def cut(self) -> Cuts:
        """The cuts that the verdict rests on."""
        return self.cuts[self.relied]

    def columns(self) -> dict[str, Any]:
        """Return what a diagnosis holds of them."""
        rates = {name: getattr(self.cut, name) for name in ("false_positives", "missed", "unseen")}
        low, high = (torch.from_numpy(np.asarray(bound)).float() for bound in self.bounds)
        return {
            "index": torch.from_numpy(self.index).float(),
            "index_low": low,
            "index_high": high,
            "apart": self.apart,
            "anchors": (len(self.anchors.never), len(self.anchors.retained)),
            **{name: getattr(self.cut, name) for name in ("threshold", "doubt")},
            **{name: (rate.value, rate.low, rate.high, rate.n) for name, rate in rates.items()},
            "controls": CONTROLS[self.relied],
            "retained_are": self.retained,
            "control_sets": tuple(CONTROLS),
            "shown": torch.from_numpy(self.shown).float(),
            "is_control": torch.from_numpy(self.members),
            "decoy_shown": torch.from_numpy(self.decoy_shown).float(),
        }


def fit_controls(
    evidence: Values,
    decoys: Values,
    told: KnownAndSaid,
    facts: Sequence[Fact],
    held_out: Rows,
    *,
    alpha: float,
    seed: int = 0,
) -> FittedControls:
    """Put facts on the scale of both anchors, and cut it by every set of controls that there are enough of.

    Args:
        evidence: of the right answers.
        decoys: of another subject's.
        told: what was known and said.
        facts: in the same order.
        held_out: facts that check what is fitted on the others.
        alpha: the share of never-stored facts that may lie above the cut.
        seed: of the anchors drawn for intervals.

    Raises:
        InputError: no fact that both models know, or too few controls that a verdict may rest on.
    """
    measured = ~np.isnan(evidence)
    sets = _control_sets(told, measured, told.known & ~np.isnan(decoys), facts)
    relied = _relied_on(sets, held_out)
    who, upper = _upper_anchor(told, measured, held_out)
    subjects = np.array([fact.subject for fact in facts])
    lower, fitting = sets[relied] & ~held_out, upper & ~held_out
    anchors = Anchors(never=(decoys if relied == "decoys" else evidence)[lower], retained=evidence[fitting])
    apart = anchors.apart(alpha)
    index, of_decoys = (
        storage_index(values, anchors)[0] if apart else np.full(len(facts), np.nan)
        for values in (evidence, decoys)
    )
    drawn = np.concatenate([subjects[lower], subjects[fitting]])
    cuts = _cut_by_sets(sets, index, of_decoys, upper, told, held_out, subjects, alpha)
    return FittedControls(
        relied=relied,
        retained=RETAINED_ARE[who],
        anchors=anchors,
        apart=apart,
        index=index,
        bounds=index_interval(evidence, anchors, drawn, seed=seed) if apart else (index, index),
        cuts=cuts,
        members=np.stack([sets[name] & (name != "decoys") for name in CONTROLS], axis=1),
        shown=_shown(index, cuts, told.states_some),
        decoy_shown=_decoy_shown(of_decoys, sets["decoys"], cuts.get("decoys")),
    )


def _control_sets(told: KnownAndSaid, measured: Rows, decoys: Rows, facts: Sequence[Fact]) -> dict[str, Rows]:
    """Return who is in every set of controls."""
    free = told.never & ~told.right
    return {
        "matched": match(told.lost, free, likeness(facts)) & measured,
        "never": free & measured,
        "unknown": ~told.known & ~told.right & measured,
        "decoys": decoys,
    }


def _cut_by_sets(
    sets: Mapping[str, Rows],
    index: Float[ndarray, " fact"],
    of_decoys: Float[ndarray, " fact"],
    upper: Rows,
    told: KnownAndSaid,
    held_out: Rows,
    subjects: ndarray,
    alpha: float,
) -> dict[str, Cuts]:
    """Cut the index by every set that has enough facts; nobody asked for a decoy in words."""
    return {
        name: fit_cuts(
            (of_decoys if name == "decoys" else index)[rows],
            index[upper],
            (held_out[rows], held_out[upper]),
            (subjects[rows], subjects[upper]),
            alpha=alpha,
            stated=(told.states_some[rows] & (name != "decoys"), told.states_some[upper], told.stated[upper]),
        )
        for name, rows in sets.items()
        if _enough(rows, held_out)
    }


def _shown(
    index: Float[ndarray, " fact"], cuts: Mapping[str, Cuts], stated: Rows
) -> Float[ndarray, "fact set"]:
    """Say whom each set's cut shows to be stored; nothing where there is no cut or no index."""
    shown = np.full((len(index), len(CONTROLS)), np.nan)
    for k, name in enumerate(CONTROLS):
        if name in cuts:
            stored = (index > cuts[name].threshold) | stated
            shown[:, k] = np.where(np.isnan(index), np.nan, stored)
    return shown


def _decoy_shown(of_decoys: Float[ndarray, " fact"], rows: Rows, cut: Cuts | None) -> Float[ndarray, " fact"]:
    """Say which decoys lie above their own cut."""
    if cut is None:
        return np.full(len(of_decoys), np.nan)
    return np.where(rows & ~np.isnan(of_decoys), of_decoys > cut.threshold, np.nan)


def _enough(rows: Rows, held_out: Rows) -> bool:
    """Tell whether a set has enough facts, and some on both halves."""
    return bool(rows.sum() >= FEWEST_CONTROLS and (rows & held_out).any() and (rows & ~held_out).any())


def _relied_on(sets: Mapping[str, Rows], held_out: Rows) -> str:
    for name in RELIED_ON:
        if _enough(sets[name], held_out):
            return name
    most = max(int(sets[name].sum()) for name in RELIED_ON)
    raise InputError(
        f"only {most} controls: give at least {FEWEST_CONTROLS} facts, of relations with several "
        "subjects and answers"
    )


def _upper_anchor(told: KnownAndSaid, measured: Rows, held_out: Rows) -> tuple[str, Rows]:
    """Choose the facts that say what a stored one looks like: the first kind that there are enough of."""
    of = {
        "specific": told.retained & measured,
        "stated": told.known & told.stated & measured,
        "right": told.known & told.right & measured,
    }
    for name, rows in of.items():
        if rows.sum() >= FEWEST_RETAINED and (rows & ~held_out).any():
            return name, rows
    if not (of["right"] & ~held_out).any():
        raise InputError(NOTHING_KEPT)
    return "right", of["right"]
