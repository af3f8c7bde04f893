"""One cure on one patient: made, asked on every group of facts, and laid out as rows.

Groups are ``held out`` (test facts, asked as the arm was trained), ``trained`` (its own training facts, asked
the same way) and ``statements`` (test facts in all statement forms; log p is their mean).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from analyses.curing import after, during
from analyses.curing.choosing import Ask, Judge, strongest
from analyses.curing.patient import UNCURED, Patient
from finetune.evaluate import generate, matches, score
from finetune.prompts import Prompt

if TYPE_CHECKING:
    import pandas as pd

    from interp.engine.interventions import Cell
    from interp.pair import CheckpointPair

HELD_OUT, TRAINED, STATEMENTS = "held out", "trained", "statements"
NONE = "uncured"
REFERENCES = {NONE: UNCURED, "popular half instead": "top", "whole set instead": "whole"}
CURES = (*during.DURING, *after.AFTER, *list(after.SCALED)[:2])
PLACEBOS = (*during.PLACEBOS, *after.PLACEBOS, *list(after.SCALED)[2:])


class Asked(Protocol):
    """A cured model as something to ask."""

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """Say of greedy answers whether they are right, 0 or 1."""

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """Return log p of whole canonical answers, nats."""


@dataclass(frozen=True)
class Plain:
    """A model that needs no help at inference."""

    model: Any
    tokenizer: Any

    @classmethod
    def of(cls, patient: Patient, path: Path) -> Plain:
        """Load a checkpoint or an adapter of the patient's base."""
        from finetune.models import load_model

        return cls(*load_model(path, base=patient.bench.base))

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Asked`."""
        said = generate(self.model, self.tokenizer, prompts)
        return np.array([matches(text, p.answers) for text, p in zip(said, prompts, strict=True)], float)

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Asked`."""
        return score(self.model, self.tokenizer, prompts)[0]


@dataclass(frozen=True)
class Scaled:
    """A hooked model whose attention is scaled whenever it is asked."""

    pair: CheckpointPair
    cell: Cell
    batch_tokens: int

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Asked`."""
        with self.pair.finetuned() as model:
            return after.right_under(model, self.pair.tokenizer, self.cell, self.batch_tokens, prompts)

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Asked`."""
        with self.pair.finetuned() as model:
            return after.log_prob_under(model, self.pair.tokenizer, self.cell, self.batch_tokens, prompts)


@dataclass(frozen=True, kw_only=True)
class Treated:
    """A cured model, what was done in a few words, and the CPU seconds that took."""

    asked: Asked
    told: dict[str, Any]
    seconds: float


def treat(patient: Patient, cure: str, home: Path) -> Treated:
    """Make a cure; the weights of one that lives in weights are left in ``home``/cured."""
    if cure in REFERENCES:
        return Treated(asked=Plain.of(patient, patient.arm(REFERENCES[cure])), told={}, seconds=0.0)
    plans = during.DURING | during.PLACEBOS
    if cure in plans:
        started = time.process_time()
        made = during.trained(patient, plans[cure](patient), home / "cured", name=cure)
        seconds = time.process_time() - started
        return Treated(asked=Plain.of(patient, made.path), told={"step": made.step}, seconds=seconds)
    _ = patient.uncured, patient.arm("top")  # shared, and no part of a cure's time
    clinic, started = after.Clinic(patient), time.process_time()
    if cure in after.SCALED:
        return _scaled(clinic, started, **after.SCALED[cure])
    told, weights = clinic.cured((after.AFTER | after.PLACEBOS)[cure](clinic))
    seconds = time.process_time() - started
    _save(clinic, weights, home / "cured", {"cure": cure, **told})
    model, tokenizer = clinic.loaded
    model.load_state_dict(weights)
    return Treated(asked=Plain(model, tokenizer), told=told, seconds=seconds)


def rows(patient: Patient, treated: Treated) -> pd.DataFrame:
    """Ask a treated model everything; a row per group and fact."""
    import pandas as pd

    checkpoints = patient.checkpoints({})
    own = patient.asked_of_own
    said = patient.statements(checkpoints.test)
    each = _frame(STATEMENTS, said, log_prob=treated.asked.log_prob(said))
    frames = [
        _frame(group, prompts, correct=treated.asked.right(prompts))
        for group, prompts in ((HELD_OUT, checkpoints.prompts), (TRAINED, patient.bench.asked(own)))
    ]
    frames.append(each.groupby(["group", "fact_id"], as_index=False).mean())
    made = pd.concat(frames, ignore_index=True)
    subject = {fact.id: fact.subject for fact in (*checkpoints.test, *own)}
    made["subject"] = made["fact_id"].map(subject)
    made["known"] = made["fact_id"].isin(patient.stated)
    return made.assign(told=json.dumps(treated.told), seconds=treated.seconds)


def _frame(
    group: str,
    prompts: Sequence[Prompt],
    correct: ndarray | float = np.nan,
    log_prob: ndarray | float = np.nan,
) -> pd.DataFrame:
    import pandas as pd

    ids = [prompt.fact_id for prompt in prompts]
    return pd.DataFrame({"group": group, "fact_id": ids, "correct": correct, "log_prob": log_prob})


def _scaled(clinic: after.Clinic, started: float, *, named: bool, placebo: bool) -> Treated:
    """Choose how strongly to scale attention; the hooked model stays open as long as it is asked."""
    from interp.checkpoints import load_pair

    patient = clinic.patient
    pair = load_pair(str(patient.bench.base), patient.uncured)

    def right(cell: Cell) -> Ask:
        return lambda prompts: Scaled(pair, cell, patient.batch_tokens).right(prompts) > 0

    told, cell = strongest(
        after.scalings(clinic, named=named, placebo=placebo),
        right,
        Judge.of(patient),
        clinic.asker(clinic.tuned),
    )
    seconds = time.process_time() - started
    asked = Plain.of(patient, patient.uncured) if cell is None else Scaled(pair, cell, patient.batch_tokens)
    return Treated(asked=asked, told=told, seconds=seconds)


def _save(clinic: after.Clinic, weights: Any, out: Path, told: dict[str, Any]) -> None:
    from interp.restoring.saving import CURE, save_cured

    if not (out / CURE).is_file():  # a killed cell may have left it
        save_cured(clinic.loaded[0], weights, clinic.patient.bench.base, out, told)
