"""Diagnosis: the verdicts by name, how they follow from what was known and shown, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from interp.measures.result import Result
from interp.models.identity import Fingerprint
from interp.verdicts.calibration import Calibration

RETAINED, SUPPRESSED, ERASED = "retained", "suppressed", "erased"
LEARNED, NEVER_STORED, UNDETERMINED = "learned", "never stored", "undetermined"
VERDICTS = (RETAINED, SUPPRESSED, ERASED, LEARNED, NEVER_STORED, UNDETERMINED)


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """One verdict a fact, with the evidence and the controls that it rests on.

    ``knew`` is the share of statement forms in which the base answers right, ``right`` whether the fine-tuned
    model does. ``evidence`` and ``decoys`` are [fact, kind], nats (``readout``: logits), the same measure for
    the right answer and for a wrong one; ``kinds`` are all that was measured, placebos among them, and
    ``used`` those that the verdict rests on. ``strength`` is -ln of the (harmonic mean) share of controls
    with as much evidence; above ``threshold`` a fact is held to be stored, between ``doubt`` and it
    undetermined.
    ``recovered`` [fact, pattern] says which facts are answered right under other attention, NaN where the
    intervention could not be made. ``held_out`` marks the facts of the subjects that no threshold was fitted
    on; ``false_positives`` is value, low, high and n on the controls among them. ``controls`` says who they
    are. ``control_sets`` are all sets of them (:mod:`interp.verdicts.controls`): ``shown`` [fact, set] says
    whose evidence lies above each one's threshold (NaN where it is too small for one), ``is_control`` who is
    in it.
    """

    subjects: tuple[str, ...]
    relations: tuple[str, ...]
    answers: tuple[str, ...]
    verdicts: tuple[str, ...]
    knew: Float[Tensor, " fact"]
    right: Float[Tensor, " fact"]
    log_prob: Float[Tensor, " fact"]
    base_said: tuple[str, ...]
    said: tuple[str, ...]
    kinds: tuple[str, ...]
    used: tuple[str, ...]
    evidence: Float[Tensor, "fact kind"]
    decoys: Float[Tensor, "fact kind"]
    patterns: tuple[str, ...]
    recovered: Float[Tensor, "fact pattern"]
    strength: Float[Tensor, " fact"]
    threshold: float
    doubt: float
    alpha: float
    controls: str
    control_sets: tuple[str, ...]
    shown: Float[Tensor, "fact set"]
    is_control: Bool[Tensor, "fact set"]
    held_out: Bool[Tensor, " fact"]
    false_positives: tuple[float | None, float | None, float | None, int]
    left_out: tuple[tuple[str, str], ...]
    finetuned: Fingerprint | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per fact: verdict, what was known and said, every kind of evidence and its control."""
        columns: dict[str, Any] = {
            "fact_id": self.fact_ids,
            "subject": self.subjects,
            "relation": self.relations,
            "answer": self.answers,
            "verdict": self.verdicts,
            "base_knew": self.knew.numpy(),
            "base_said": self.base_said,
            "right": self.right.numpy().astype(bool),
            "said": self.said,
            "log_prob": self.log_prob.numpy(),
            "strength": self.strength.numpy(),
            "held_out": self.held_out.numpy(),
        }
        columns |= {f"evidence_{kind}": self.evidence[:, k].numpy() for k, kind in enumerate(self.kinds)}
        columns |= {f"decoy_{kind}": self.decoys[:, k].numpy() for k, kind in enumerate(self.kinds)}
        columns |= {f"recovered_{name}": self.recovered[:, k].numpy() for k, name in enumerate(self.patterns)}
        for k, name in enumerate(self.control_sets):
            columns[f"shown_by_{name}"] = self.shown[:, k].numpy()
            columns[f"control_{name}"] = self.is_control[:, k].numpy()
        return pd.DataFrame(columns)

    def _shown(self) -> Mapping[str, Any]:
        value, low, high, n = self.false_positives
        rate = (
            "" if value is None else f"{value:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")
        )
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        told = {"facts": len(self.fact_ids), "verdicts": counts, "used": self.used, "controls": self.controls}
        told |= {"threshold": self.threshold, "false_positives": f"{rate or 'not measured'}, n = {n}"}
        return told | {"left_out": len(self.left_out), "model": self.model, "finetuned": self.finetuned}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("subjects", "relations", "answers", "verdicts", "base_said", "said")
        return [{name: getattr(self, name)[i] for name in names} for i in range(min(5, len(self.fact_ids)))]

    def counts(self) -> dict[str, int]:
        """Count the facts of each verdict."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}


def judge(
    known: Bool[ndarray, " fact"],
    told_apart: Bool[ndarray, " fact"],
    unknown: Bool[ndarray, " fact"],
    right: Bool[ndarray, " fact"],
    strength: Float[ndarray, " fact"],
    calibration: Calibration,
) -> ndarray:
    """Turn what was known and said, and the evidence, into verdicts.

    A fact that the base did not know, whose answer is wrong and for which there is yet evidence of storage is
    undetermined: the base was asked in the wrong way, or it is one of the false positives.

    Args:
        known: whether the base knew the fact.
        told_apart: whether a right answer of the base was also the most specific one.
        unknown: whether the base was right in no form at all.
        right: whether the fine-tuned model is.
        strength: of the evidence of storage.
        calibration: the threshold, and what is in doubt.
    """
    shown, gone = strength > calibration.threshold, strength <= calibration.doubt
    lost = known & told_apart & ~right
    cases = [
        (known & right, RETAINED),
        (lost & shown, SUPPRESSED),
        (lost & gone, ERASED),
        (unknown & right, LEARNED),
        (unknown & ~right & gone, NEVER_STORED),
    ]
    return np.select([case for case, _ in cases], [name for _, name in cases], default=UNDETERMINED)
