"""Diagnosis: the verdicts by name, how they follow from what was known and shown, and a table of them.

- *retained*: the base knew the fact, and the fine-tuned model says it, tied to its subject;
- *right but generic*: the answer is right and is said of other subjects as well, so it shows no knowledge;
- *suppressed, intact*: known and now wrong when asked, and still stated in every held-out form;
- *eroded*: known and now wrong, and still stated in some held-out form;
- *erased*: known and now wrong, and right in none, so that storage is not shown;
- *learned*: unknown before and said now; *never stored*: unknown before, wrong now and right in no form;
- *undetermined*: known in some forms only, or by luck, or unknown and yet right in a held-out form.

A fact is *stated* in a form if its answer is right there. *Suppressed, intact* and *eroded* are lost facts
that are stored in some degree.
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
from interp.stats import estimate

RETAINED, GENERIC = "retained", "right but generic"
SUPPRESSED, ERODED, ERASED = "suppressed, intact", "eroded", "erased"
LEARNED, NEVER_STORED, UNDETERMINED = "learned", "never stored", "undetermined"
VERDICTS = (RETAINED, GENERIC, SUPPRESSED, ERODED, ERASED, LEARNED, NEVER_STORED, UNDETERMINED)
STORED = (SUPPRESSED, ERODED)  # lost facts that are stored in some degree
# Changed whenever verdicts are: runs tell it, and one that another rule began is not continued.
RULES = {"verdict_rule": "stated is right in a held-out form"}
Rows = Bool[ndarray, " fact"]
Rate = tuple[float | None, float | None, float | None, int]  # value, 95% bounds, and of how many facts


@dataclass(frozen=True, kw_only=True)
class KnownAndSaid:
    """What the base knew of each fact, and what the fine-tuned model says.

    ``known``: right in every form of the base; ``specific``: tied to the subject; ``never``: right in none.
    ``right``: the fine-tuned model's answer; ``tied``: no other answer of the relation is more specific to
    the subject there; ``compared``: there were other subjects to tell by; ``stated_share``: the share of
    held-out forms in which it is right, NaN where it was asked in none.
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

    ``knew`` is the share of the forms in which the base answers right, ``base_right`` whether it
    does as asked, ``base_rank`` its right answer's mean rank over the number of answers. ``right``: the
    fine-tuned model is as asked, ``tied``: no other answer is more specific to the subject there, ``asked``
    how specific the right one is (nats). ``evidence`` [fact, form] is the same in each held-out form;
    ``states`` [fact, form] is 1 where the model is right there; ``known_apart`` and ``never_apart``
    [fact, form] tell what the base knew by the other forms alone. ``is_control`` [fact, set] says who is in
    each of the ``control_sets`` (:mod:`interp.verdicts.controls`).

    ``false_positives`` is the rate at which never-stored facts are stated in some held-out form, ``missed``
    that at which retained facts are not stated in every one, and ``unseen`` that at which they are stated in
    none: each value, low, high and n.
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
    states: Float[Tensor, "fact form"]
    known_apart: Bool[Tensor, "fact form"]
    never_apart: Bool[Tensor, "fact form"]
    control_sets: tuple[str, ...]
    is_control: Bool[Tensor, "fact set"]
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
            "stated_share": self.states.nanmean(1).numpy(),
            "evidence_asked": self.asked.numpy(),
            "evidence_forms": self.evidence.nanmean(1).numpy(),
            **{f"evidence_form_{k + 1}": form.numpy() for k, form in enumerate(self.evidence.T)},
            **{f"states_form_{k + 1}": form.numpy() for k, form in enumerate(self.states.T)},
            **{f"known_apart_{k + 1}": form.numpy() for k, form in enumerate(self.known_apart.T)},
            **{f"never_apart_{k + 1}": form.numpy() for k, form in enumerate(self.never_apart.T)},
            **{f"control_{name}": self.is_control[:, k].numpy() for k, name in enumerate(self.control_sets)},
        }
        return pd.DataFrame(columns)

    def _shown(self) -> Mapping[str, Any]:
        told: dict[str, Any] = {"facts": len(self.fact_ids)}
        told |= {verdict: count for verdict, count in self.counts().items() if count}
        told |= {"never-stored facts stated in some form": _written(self.false_positives)}
        told |= {"retained facts stated in no form": _written(self.unseen)}
        return told | {"left_out": len(self.left_out), "model": self.model, "finetuned": self.finetuned}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("subjects", "relations", "answers", "verdicts", "base_said", "said")
        return [{name: getattr(self, name)[i] for name in names} for i in range(min(5, len(self.fact_ids)))]

    def counts(self) -> dict[str, int]:
        """Count the facts of each verdict."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}


def _written(rate: Rate) -> str:
    value, low, high, n = rate
    if value is None:
        return "not measured"
    bounds = "" if low is None or high is None else f" ({low:.1%} to {high:.1%})"
    return f"{value:.1%}{bounds}, n = {n}"


def judge(told: KnownAndSaid) -> ndarray:
    """Turn what was known and said into verdicts.

    A fact that the base did not know, whose answer is wrong and which is yet right in a held-out form is
    undetermined: the base was asked in the wrong way, or it is one of the false positives. So is a right
    answer where there are too few other subjects to tell whether it is tied to its own, and what was asked
    in no held-out form.
    """
    silent = told.stated_share == 0
    cases = [
        (told.right & told.compared & ~told.tied, GENERIC),
        (told.retained, RETAINED),
        (told.lost & told.stated, SUPPRESSED),
        (told.lost & told.states_some, ERODED),
        (told.lost & silent, ERASED),
        (told.never & told.right & told.tied, LEARNED),
        (told.never & ~told.right & silent, NEVER_STORED),
    ]
    return np.select([case for case, _ in cases], [name for _, name in cases], default=UNDETERMINED)


def rates(told: KnownAndSaid, never: Rows, subjects: ndarray) -> dict[str, Rate]:
    """Return the error rates of what is called stored: ``false_positives``, ``missed`` and ``unseen``.

    Args:
        told: what was known and said.
        never: facts that nothing stores.
        subjects: of every fact, for the intervals.
    """
    retained = told.retained & ~np.isnan(told.stated_share)

    def rate(wrong: Rows, of: Rows) -> Rate:
        found = estimate(wrong[of].astype(np.float64), groups=subjects[of])
        return found.value, found.low, found.high, found.n

    return {
        "false_positives": rate(told.states_some, never),
        "missed": rate(~told.stated, retained),
        "unseen": rate(~told.states_some, retained),
    }
