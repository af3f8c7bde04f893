"""Diagnosis: the verdicts by name, how they follow from what was known and shown, and a table of them.

- *retained*: the base knew the fact, and the fine-tuned model says it, tied to its subject;
- *right but generic*: the answer is right and is said of other subjects as well, so it shows no knowledge;
- *suppressed, intact*: known and now wrong when asked, and still stated in every held-out form;
- *eroded*: known and now wrong, and stored in part: still stated in some held-out form, or evidence above
  that of never-stored facts;
- *erased*: known and now wrong, and not told from never-stored facts;
- *learned*: unknown before and said now; *never stored*: unknown before and now;
- *undetermined*: in doubt, or known in some forms only.
"""

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
from interp.verdicts.calibration import Cuts

RETAINED, GENERIC = "retained", "right but generic"
SUPPRESSED, ERODED, ERASED = "suppressed, intact", "eroded", "erased"
LEARNED, NEVER_STORED, UNDETERMINED = "learned", "never stored", "undetermined"
VERDICTS = (RETAINED, GENERIC, SUPPRESSED, ERODED, ERASED, LEARNED, NEVER_STORED, UNDETERMINED)
STORED = (SUPPRESSED, ERODED)  # lost facts that are stored in some degree
Rows = Bool[ndarray, " fact"]
Rate = tuple[float | None, float | None, float | None, int]


@dataclass(frozen=True, kw_only=True)
class KnownAndSaid:
    """What the base knew of each fact, and what the fine-tuned model says.

    ``known``: right in every form of the base; ``specific``: tied to the subject; ``never``: right in none.
    ``right``: the fine-tuned model's answer; ``tied``: no other answer of the relation is more specific to
    the subject there; ``compared``: there were other subjects to tell by; ``stated_share``: the share of
    held-out forms in which it is right and tied, NaN where it was asked in none.
    """

    known: Rows
    specific: Rows
    never: Rows
    right: Rows
    tied: Rows
    compared: Rows
    stated_share: Float[ndarray, " fact"]

    @property
    def stated(self) -> Rows:
        """Facts that are still stated in every held-out form."""
        return np.asarray(self.stated_share == 1)

    @property
    def states_some(self) -> Rows:
        """Facts that are still stated in some held-out form."""
        return np.asarray(self.stated_share > 0)

    @property
    def retained(self) -> Rows:
        """Facts known specifically and still said specifically."""
        return self.known & self.specific & self.right & self.tied

    @property
    def lost(self) -> Rows:
        """Facts known specifically and no longer said."""
        return self.known & self.specific & ~self.right


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """One verdict a fact, with the evidence and the controls that it rests on.

    ``knew`` is the share of the knowing forms in which the base answers right, ``base_right`` whether it
    does as asked, ``base_rank`` its right answer's mean rank over the number of answers. ``right``: the
    fine-tuned model is as asked, ``tied``: no other answer is more specific to the subject there, ``asked``
    how specific the right one is (nats). ``evidence`` and ``decoys`` [fact, form] are the same in each
    held-out form, of the right answer and of a wrong one; ``states`` [fact, form] is 1 where the model is
    right and tied.

    ``index`` is 0 at the median of never-stored facts and 1 at that of specifically retained ones
    (:mod:`interp.verdicts.storage_index`); ``index_low`` and ``index_high`` are its 95% bounds over which
    ``anchors`` (how many never-stored, retained) were drawn; it is missing unless they are ``apart``. Above
    ``threshold`` a fact is stored in some degree, at most ``doubt`` storage is not shown.
    ``false_positives``, ``missed`` and ``unseen`` are value, low, high and n of the rates reached on held-out
    anchors (:mod:`interp.verdicts.calibration`).

    ``held_out`` marks the facts of the subjects that nothing was fitted on. ``controls`` and
    ``retained_are`` say who the anchors are. ``control_sets`` are all sets of controls
    (:mod:`interp.verdicts.controls`): ``shown`` [fact, set] says whom each one's cut shows to be stored (NaN
    where it is too small for one), ``is_control`` who is in it. ``decoy_shown`` [fact] says whether the
    decoy of a known fact lies above the decoys' cut (NaN without one).
    """

    subjects: tuple[str, ...]
    relations: tuple[str, ...]
    answers: tuple[str, ...]
    verdicts: tuple[str, ...]
    knew: Float[Tensor, " fact"]
    base_right: Bool[Tensor, " fact"]
    base_rank: Float[Tensor, " fact"]
    right: Float[Tensor, " fact"]
    tied: Bool[Tensor, " fact"]
    asked: Float[Tensor, " fact"]
    log_prob: Float[Tensor, " fact"]
    base_said: tuple[str, ...]
    said: tuple[str, ...]
    evidence: Float[Tensor, "fact form"]
    decoys: Float[Tensor, "fact form"]
    states: Float[Tensor, "fact form"]
    index: Float[Tensor, " fact"]
    index_low: Float[Tensor, " fact"]
    index_high: Float[Tensor, " fact"]
    apart: bool
    anchors: tuple[int, int]
    threshold: float
    doubt: float
    alpha: float
    controls: str
    retained_are: str
    control_sets: tuple[str, ...]
    shown: Float[Tensor, "fact set"]
    is_control: Bool[Tensor, "fact set"]
    decoy_shown: Float[Tensor, " fact"]
    held_out: Bool[Tensor, " fact"]
    false_positives: Rate
    missed: Rate
    unseen: Rate
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
            "base_right": self.base_right.numpy(),
            "base_rank": self.base_rank.numpy(),
            "right": self.right.numpy().astype(bool),
            "tied": self.tied.numpy(),
            "said": self.said,
            "log_prob": self.log_prob.numpy(),
            "index": self.index.numpy(),
            "index_low": self.index_low.numpy(),
            "index_high": self.index_high.numpy(),
            "stated_share": self.states.nanmean(1).numpy(),
            "evidence_asked": self.asked.numpy(),
            "evidence_forms": self.evidence.nanmean(1).numpy(),
            "decoy_forms": self.decoys.nanmean(1).numpy(),
            **{f"evidence_form_{k + 1}": form.numpy() for k, form in enumerate(self.evidence.T)},
            **{f"states_form_{k + 1}": form.numpy() for k, form in enumerate(self.states.T)},
            "decoy_shown": self.decoy_shown.numpy(),
            "held_out": self.held_out.numpy(),
        }
        for k, name in enumerate(self.control_sets):
            columns[f"shown_by_{name}"] = self.shown[:, k].numpy()
            columns[f"control_{name}"] = self.is_control[:, k].numpy()
        return pd.DataFrame(columns)

    def _shown(self) -> Mapping[str, Any]:
        value, low, high, n = self.false_positives
        rate = (
            "" if value is None else f"{value:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")
        )
        told: dict[str, Any] = {"facts": len(self.fact_ids), "controls": self.controls}
        told |= {verdict: count for verdict, count in self.counts().items() if count}
        told |= {"threshold": self.threshold, "false_positives": f"{rate or 'not measured'}, n = {n}"}
        return told | {"left_out": len(self.left_out), "model": self.model, "finetuned": self.finetuned}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("subjects", "relations", "answers", "verdicts", "base_said", "said")
        return [{name: getattr(self, name)[i] for name in names} for i in range(min(5, len(self.fact_ids)))]

    def counts(self) -> dict[str, int]:
        """Count the facts of each verdict."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}


def judge(told: KnownAndSaid, index: Float[ndarray, " fact"], cuts: Cuts) -> ndarray:
    """Turn what was known and said, and the index, into verdicts.

    A fact that the base did not know, whose answer is wrong and for which there is yet evidence of storage is
    undetermined: the base was asked in the wrong way, or it is one of the false positives. So is a right
    answer where there are too few other subjects to tell whether it is tied to its own.

    Args:
        told: what was known and said.
        index: of the evidence of storage.
        cuts: where it is cut.
    """
    stored = (index > cuts.threshold) | told.states_some
    gone = (index <= cuts.doubt) & ~told.states_some
    cases = [
        (told.right & told.compared & ~told.tied, GENERIC),
        (told.retained, RETAINED),
        (told.lost & told.stated, SUPPRESSED),
        (told.lost & stored, ERODED),
        (told.lost & gone, ERASED),
        (told.never & told.right & told.tied, LEARNED),
        (told.never & ~told.right & gone, NEVER_STORED),
    ]
    return np.select([case for case, _ in cases], [name for _, name in cases], default=UNDETERMINED)
