"""Short lessons on other facts, given to a fine-tuned model: which of its wrong answers come right again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from finetune.checkpoints.loading import is_adapter, load_model, tokenizer_for
from finetune.common.checksums import cached_frame, seal, sealed_state
from finetune.common.errors import InputError
from finetune.common.files import atomic_directory, read_json
from finetune.common.progress import notice
from finetune.common.seeds import draw_seed
from finetune.data.prompts import Prompt
from finetune.evaluation.generate import generate
from finetune.evaluation.judging import AnswerJudge
from finetune.training.config import TuneConfig
from finetune.training.presets import GIVEN_TUNE
from finetune.training.train import train
from interp.models.merging import load_merged
from interp.verdicts.recovery import exchange_answers, lesson_folds, lesson_prompts

LESSON, PLACEBO = "restored", "placebo"
REPEATED = "repeated"  # the share of further lessons, of other deals, that restore a fact
FEWEST = 8  # facts below which a lesson is none
Fold = tuple[list[Prompt], list[Prompt]]  # what a lesson teaches, and what is asked after it


@dataclass(frozen=True, kw_only=True)
class LessonPlan:
    """A model, what it is asked, and the lessons that it gets, in ``home``.

    ``judge`` judges as its verdicts do. ``config`` has the method, the batch and one learning rate; its steps
    are ``steps``' last. The subjects are dealt into folds ``deals`` times, each with lessons of its own.
    """

    source: str
    base: str
    prompts: Sequence[Prompt]
    judge: AnswerJudge
    config: TuneConfig
    steps: tuple[int, ...]
    seed: int
    home: Path
    deals: int = 1


def lesson_config(source: str, dtype: str) -> TuneConfig:
    """Return how a checkpoint is taught: as it was trained where ``training.json`` says, else by a preset.

    Adapters are merged and get a new adapter. Of several learning rates the smallest is taken.
    """
    adapter, told = is_adapter(source), Path(source) / "training.json"
    preset = GIVEN_TUNE["lora" if adapter else "full"]
    held = read_json(told).get("config", {}) if told.is_file() else {}
    names = ("batch", "rank", "alpha", "targets")
    taken: dict[str, Any] = {k: tuple(v) if isinstance(v := held[k], list) else v for k in names if k in held}
    rates = tuple(held.get("learning_rates", preset.learning_rates))
    taken |= {"learning_rates": (min(rates),), "dtype": "bfloat16" if dtype == "bfloat16" else "float32"}
    return replace(preset, **taken)


def after_lessons(plan: LessonPlan, frame: pd.DataFrame) -> pd.DataFrame:
    """Teach both folds of each deal; return ``restored_N`` and ``placebo_N`` of wrong facts, by id.

    ``repeated_N`` is the share of ``repeated_deals`` further deals whose lessons restore a fact. How well it
    foretells the first deal is no more than there is to foretell: a few lessons measure a fact with noise. A
    further deal that has too few known facts is left out with a notice.

    Args:
        plan: the model and its lessons.
        frame: its facts: fact_id, subject, base_knew, right.

    Raises:
        InputError: a fold of the first deal has too few known facts to teach.
    """
    first = _after_deal(plan, _deal(plan, frame), (LESSON, PLACEBO))
    further = []
    for number in range(1, plan.deals):
        other = replace(
            plan, seed=draw_seed(plan.seed, "lesson deals", number), home=plan.home / f"deal_{number}"
        )
        try:
            folds = _deal(other, frame)
        except InputError as error:
            notice(f"lessons of deal {number + 1} are left out: {error}")
            continue
        further.append(_after_deal(other, folds, (LESSON,)))
    if not further:
        return first
    shares = pd.concat(further).filter(regex=f"^{LESSON}_").groupby(level=0).mean()
    shares = shares.rename(columns=lambda name: name.replace(LESSON, REPEATED))
    return first.join(shares.assign(**{f"{REPEATED}_deals": len(further)}))


def _deal(plan: LessonPlan, frame: pd.DataFrame) -> list[Fold]:
    """Deal the subjects into two folds: what teaches each, and what is asked of it afterwards."""
    folds = lesson_folds(frame["subject"].tolist(), plan.seed)
    subjects = dict(zip(frame["fact_id"], frame["subject"], strict=True))
    known, wrong = frame["base_knew"] == 1, ~frame["right"].astype(bool)
    dealt = []
    for fold in (0, 1):
        inside = folds == bool(fold)
        tested = set(frame.loc[inside & wrong, "fact_id"])
        taught = set(frame.loc[~inside & known, "fact_id"])
        lesson = lesson_prompts(plan.prompts, subjects, taught, set(frame.loc[inside, "fact_id"]))
        if len(lesson) < FEWEST:
            raise InputError(
                f"only {len(lesson)} known facts to teach one half of the subjects; give at least {FEWEST}"
            )
        dealt.append((lesson, [prompt for prompt in plan.prompts if prompt.fact_id in tested]))
    return dealt


def _after_deal(plan: LessonPlan, folds: Sequence[Fold], kinds: Sequence[str]) -> pd.DataFrame:
    """Test each fold by lessons on the other."""
    parts = []
    for fold, (lesson, asked) in enumerate(folds):
        taught_by = {LESSON: lesson, PLACEBO: exchange_answers(lesson, plan.seed)}
        columns = [_taught(plan, f"{name}_{fold}", taught_by[name], asked) for name in kinds]
        named = [c.add_prefix(f"{name}_") for name, c in zip(kinds, columns, strict=True)]
        parts.append(pd.concat(named, axis="columns"))
    shutil.rmtree(plan.home / "merged", ignore_errors=True)
    return pd.concat(parts)


def _taught(plan: LessonPlan, name: str, lesson: Sequence[Prompt], asked: Sequence[Prompt]) -> pd.DataFrame:
    """Give one lesson and ask after each number of steps: a row a fact, a column a number."""

    def make() -> pd.DataFrame:
        start, work = _whole(plan), plan.home / name
        every, last = gcd(*plan.steps), max(plan.steps)
        config = replace(
            plan.config, steps=last, epochs=None, trajectory=every, check_every=last, keep="last"
        )
        made = train(start, lesson, lesson[:FEWEST], work, config=config, seed=plan.seed, name=name)
        right = {}
        for step in plan.steps:
            right[str(step)] = _right(plan, str(made.path / f"checkpoint-{step}"), start, asked)
        shutil.rmtree(work)
        return pd.DataFrame(right, index=pd.Index([p.fact_id for p in asked], name="fact_id"))

    return cached_frame(plan.home / f"{name}.parquet", make)


def _right(plan: LessonPlan, source: str, base: str, prompts: Sequence[Prompt]) -> np.ndarray:
    """Ask a checkpoint and judge its answers, 1 or 0 [prompt]."""
    model, tokenizer = load_model(source, base=base, dtype=getattr(torch, plan.config.dtype))
    pairs = zip(prompts, generate(model, tokenizer, prompts), strict=True)
    return np.array([plan.judge.is_right(prompt, text) for prompt, text in pairs], dtype=np.float64)


def _whole(plan: LessonPlan) -> str:
    """Return the checkpoint as one that a new training can start from; an adapter is merged on disk."""
    if not is_adapter(plan.source):
        return plan.source
    path = plan.home / "merged"
    if sealed_state(path) != "whole":
        with atomic_directory(path) as target:
            load_merged(plan.source, plan.base).save_pretrained(target)
            tokenizer_for(plan.source, plan.base).save_pretrained(target)
            seal(target)
    return str(path)
