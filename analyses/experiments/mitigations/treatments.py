"""One cure on one case: made, asked on every group of facts, and laid out as rows.

Groups are ``held out`` (test facts, asked as the arm was trained), ``trained`` (its own training facts, asked
the same way) and ``statements`` (test facts in all statement forms; log p is their mean).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from analyses.experiments.mitigations import after_training as after
from analyses.experiments.mitigations import during_training as during
from analyses.experiments.mitigations.case import OTHERS, UNCURED, MitigationCase
from analyses.experiments.mitigations.respondents import PlainRespondent, Respondent, ScaledRespondent
from analyses.experiments.mitigations.strength import Ask, ValidationSelector, strongest
from finetune.common.checksums import sealed_state
from finetune.data.prompts import Prompt
from interp.models.load_pair import load_pair
from interp.patching.interventions import Edits
from interp.weight_edits import scale_subject_attention
from interp.weight_edits.save import save_edited

HELD_OUT, TRAINED, STATEMENTS = "held out", "trained", "statements"
NONE = "uncured"
ANY = ", at any cost"  # behind the name of a cure whose strength was chosen for what it restores alone
REFERENCES = {NONE: UNCURED, "popular half instead": "top", "whole set instead": "whole"}
CURES = (*during.DURING, *after.AFTER, *list(after.SCALED)[:2])
PLACEBOS = (*during.PLACEBOS, *after.PLACEBOS, *list(after.SCALED)[2:])
# What a cure has to beat, beside doing nothing.
PLACEBO_OF = {
    "other known facts mixed in": "other unknown facts mixed in",
    "other known facts last": "other unknown facts last",
    "questions distilled": "questions of unknown facts distilled",
    "named heads from the popular half": "named heads from wrong heads",
    "W_Q and W_K towards the base": "W_Q and W_K moved at random",
    "attention to the subject scaled": "attention to the relation scaled",
}


@dataclass(frozen=True, kw_only=True)
class MitigatedModel:
    """A cured model, what was done in a few words, and the CPU seconds that took."""

    asked: Respondent
    told: dict[str, Any]
    seconds: float


def mitigate(case: MitigationCase, cure: str, home: Path) -> Iterator[tuple[str, MitigatedModel]]:
    """Make a cure, under its name; one after training also as it is chosen whatever it costs.

    Each must be asked before the next is made. Weights are left in ``home``/cured.
    """
    if cure in REFERENCES:
        yield (
            cure,
            MitigatedModel(asked=PlainRespondent.of(case, case.arm(REFERENCES[cure])), told={}, seconds=0.0),
        )
        return
    started = time.process_time()
    if cure in (plans := during.DURING | during.PLACEBOS):
        made = during.train_with_plan(case, plans[cure](case), home / "cured", name=cure)
        seconds = time.process_time() - started
        yield (
            cure,
            MitigatedModel(
                asked=PlainRespondent.of(case, made.path), told={"step": made.step}, seconds=seconds
            ),
        )
        return
    _ = case.uncured, case.arm(OTHERS[0])  # shared, and no part of a cure's time
    editor, started = after.WeightEditor(case), time.process_time()
    chosen = _scaled(editor, **after.SCALED[cure]) if cure in after.SCALED else _moved(editor, cure, home)
    seconds = 0.0
    for suffix, (told, asked) in zip(("", ANY), chosen, strict=True):
        # Both come of one choosing, and the second is made after the first was asked everything.
        seconds = seconds or time.process_time() - started
        yield cure + suffix, MitigatedModel(asked=asked, told=told, seconds=seconds)


def rows(case: MitigationCase, cure: str, home: Path) -> pd.DataFrame:
    """Ask all that a cure comes to everything; a row per group and fact."""
    frames: list[pd.DataFrame] = []
    for name, treated in mitigate(case, cure, home):
        told = json.dumps(treated.told)
        same = [frame for frame in frames if frame["told"].iloc[0] == told]
        asked = same[0] if same else _everything(case, treated.asked)
        frames.append(asked.assign(cure=name, told=told, seconds=treated.seconds))
    return case.setup.told(pd.concat(frames, ignore_index=True))


def _everything(case: MitigationCase, asked: Respondent) -> pd.DataFrame:
    checkpoints = case.checkpoints({})
    own = case.asked_of_own
    said = case.statements(checkpoints.test)
    each = _frame(STATEMENTS, said, log_prob=asked.log_prob(said))
    frames = [
        _frame(group, prompts, correct=asked.right(prompts))
        for group, prompts in ((HELD_OUT, checkpoints.prompts), (TRAINED, case.setup.asked(own)))
    ]
    frames.append(each.groupby(["group", "fact_id"], as_index=False).mean())
    made = pd.concat(frames, ignore_index=True)
    subject = {fact.id: fact.subject for fact in (*checkpoints.test, *own)}
    made["subject"] = made["fact_id"].map(subject)
    made["known"] = made["fact_id"].isin(case.stated)
    return made


def _frame(
    group: str,
    prompts: Sequence[Prompt],
    correct: ndarray | float = np.nan,
    log_prob: ndarray | float = np.nan,
) -> pd.DataFrame:
    ids = [prompt.fact_id for prompt in prompts]
    return pd.DataFrame({"group": group, "fact_id": ids, "correct": correct, "log_prob": log_prob})


def _moved(editor: after.WeightEditor, cure: str, home: Path) -> Iterator[tuple[dict[str, Any], Respondent]]:
    """Choose how far to move weights, or which to graft; the one at the allowed cost is saved."""
    candidates = (after.AFTER | after.PLACEBOS)[cure](editor)
    both = strongest(candidates, editor.asker, ValidationSelector.of(editor.case), editor.asker(editor.tuned))
    model, tokenizer = editor.loaded
    for told, weights in both:
        model.load_state_dict(editor.tuned if weights is None else weights)
        yield told, PlainRespondent(model, tokenizer, editor.case.judge)
    out = home / "cured"
    if sealed_state(out) != "whole":  # a killed cell may have left it
        shutil.rmtree(out, ignore_errors=True)
        told, weights = both[0]
        state = editor.tuned if weights is None else weights
        save_edited(model, state, editor.case.setup.base, out, {"cure": cure, **told})


def _scaled(
    editor: after.WeightEditor, *, named: bool, placebo: bool
) -> Iterator[tuple[dict[str, Any], Respondent]]:
    """Choose how strongly to scale attention; the hooked model stays open as long as it is asked."""
    case = editor.case
    pair = load_pair(str(case.setup.base), case.uncured)

    def right(cell: Edits) -> Ask:
        return ScaledRespondent(pair, cell, case.batch_tokens, case.judge).right

    candidates = after.scalings(editor, named=named, placebo=placebo)
    unscaled = scale_subject_attention(1.0, keys=after.keys_of(placebo))
    for told, cell in strongest(candidates, right, ValidationSelector.of(case), right(unscaled)):
        if cell is None:
            yield told, PlainRespondent.of(case, case.uncured)
        else:
            yield told, ScaledRespondent(pair, cell, case.batch_tokens, case.judge)
