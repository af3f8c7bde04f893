"""One cure on one patient: made, asked on every group of facts, and laid out as rows.

Groups are ``held out`` (test facts, asked as the arm was trained), ``trained`` (its own training facts, asked
the same way) and ``statements`` (test facts in all statement forms; log p is their mean).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from analyses.curing import after, during
from analyses.curing.choosing import Judge, strongest
from analyses.curing.patient import UNCURED, Patient
from finetune.prompts import Prompt

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT, TRAINED, STATEMENTS = "held out", "trained", "statements"
NONE = "uncured"
REFERENCES = {NONE: UNCURED, "popular half instead": "top", "whole set instead": "whole"}
CURES = (*during.DURING, *after.AFTER, *list(after.SCALED)[:2])
PLACEBOS = (*during.PLACEBOS, *after.PLACEBOS, *list(after.SCALED)[2:])
Answers = Callable[[Sequence[Prompt]], tuple[ndarray, ndarray]]  # right, log p of the answer (nats)


@dataclass(frozen=True, kw_only=True)
class Treated:
    """A cured model as something to ask, what was done in a few words, and the CPU seconds that took."""

    answers: Answers
    told: dict[str, Any]
    seconds: float


def treat(patient: Patient, cure: str, home: Path) -> Treated:
    """Make a cure; the weights of one that lives in weights are left in ``home``/cured."""
    if cure in REFERENCES:
        return Treated(answers=_of_checkpoint(patient, patient.arm(REFERENCES[cure])), told={}, seconds=0.0)
    plans = during.DURING | during.PLACEBOS
    if cure in plans:
        started = time.process_time()
        made = during.trained(patient, plans[cure](patient), home / "cured", name=cure)
        seconds = time.process_time() - started
        return Treated(answers=_of_checkpoint(patient, made.path), told={"step": made.step}, seconds=seconds)
    _ = patient.uncured, patient.arm("top")  # shared, and no part of a cure's time
    clinic, started = after.Clinic(patient), time.process_time()
    if cure in after.SCALED:
        return _scaled(clinic, started, **after.SCALED[cure])
    told, weights = clinic.cured((after.AFTER | after.PLACEBOS)[cure](clinic))
    seconds = time.process_time() - started
    _save(clinic, weights, home / "cured", {"cure": cure, **told})
    model, tokenizer = clinic.loaded
    model.load_state_dict(weights)
    return Treated(answers=partial(_asked, model, tokenizer), told=told, seconds=seconds)


def rows(patient: Patient, treated: Treated) -> pd.DataFrame:
    """Ask a treated model everything; a row per group and fact."""
    import pandas as pd

    checkpoints = patient.checkpoints({})
    own = patient.asked_of_own
    frames = [
        _frame(HELD_OUT, checkpoints.prompts, *treated.answers(checkpoints.prompts)),
        _frame(TRAINED, patient.bench.asked(own), *treated.answers(patient.bench.asked(own))),
    ]
    said = patient.statements(checkpoints.test)
    each = _frame(STATEMENTS, said, *treated.answers(said))
    frames.append(
        each.groupby(["group", "fact_id"], as_index=False).agg({"correct": "all", "log_prob": "mean"})
    )
    made = pd.concat(frames, ignore_index=True)
    subject = {fact.id: fact.subject for fact in (*checkpoints.test, *own)}
    made["subject"] = made["fact_id"].map(subject)
    made["known"] = made["fact_id"].isin(patient.stated)
    return made.assign(told=json.dumps(treated.told), seconds=treated.seconds)


def _frame(group: str, prompts: Sequence[Prompt], right: ndarray, log_prob: ndarray) -> pd.DataFrame:
    import pandas as pd

    ids = [prompt.fact_id for prompt in prompts]
    return pd.DataFrame({"group": group, "fact_id": ids, "correct": right, "log_prob": log_prob})


def _scaled(clinic: after.Clinic, started: float, *, named: bool, placebo: bool) -> Treated:
    """Choose how strongly to scale attention; the hooked model stays open as long as it is asked."""
    from interp.checkpoints import load_pair

    patient = clinic.patient
    pair = load_pair(str(patient.bench.base), patient.uncured)

    def asked(cell: Any, prompts: Sequence[Prompt]) -> tuple[ndarray, ndarray]:
        with pair.finetuned() as model:
            return after.under(model, pair.tokenizer, cell, patient.batch_tokens, prompts)

    def right(cell: Any) -> Callable[[Sequence[Prompt]], ndarray]:
        return lambda prompts: asked(cell, prompts)[0]

    told, cell = strongest(
        after.scalings(clinic, named=named, placebo=placebo),
        right,
        Judge.of(patient),
        clinic.asker(clinic.tuned),
    )
    seconds = time.process_time() - started
    if cell is None:
        return Treated(answers=_of_checkpoint(patient, patient.uncured), told=told, seconds=seconds)
    return Treated(answers=partial(asked, cell), told=told, seconds=seconds)


def _of_checkpoint(patient: Patient, path: Path) -> Answers:
    from finetune.models import load_model

    return partial(_asked, *load_model(path, base=patient.bench.base))


def _asked(model: Any, tokenizer: Any, prompts: Sequence[Prompt]) -> tuple[ndarray, ndarray]:
    from finetune.evaluate import ask

    said = ask(model, tokenizer, prompts)
    return said.correct, said.log_prob


def _save(clinic: after.Clinic, weights: Any, out: Path, told: dict[str, Any]) -> None:
    from interp.restoring.saving import CURE, save_cured

    if not (out / CURE).is_file():  # a killed cell may have left it
        save_cured(clinic.loaded[0], weights, clinic.patient.bench.base, out, told)
