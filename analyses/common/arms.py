"""From a setting to checkpoints and what they answer: the part of a run that trains and asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from analyses.common.checkpoints import Checkpoints
from analyses.common.evaluate import answer_rows, knows_statements
from analyses.common.options import TrainingOptions
from analyses.common.training_setup import TrainingSetup, WorldSetting, fine_tune, make_training_setup
from analyses.common.visits import Stage
from finetune.common.files import as_json, read_json
from finetune.data.facts import FactSet
from interp.measures.spans import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def train_arms(options: TrainingOptions, setting: WorldSetting, directory: Path, *, seed: int) -> Checkpoints:
    """Split the facts by subject, pretrain the base, and fine-tune every arm."""
    bench = make_training_setup(setting, cache=options.bases, seed=seed)
    arms = options.arms(bench.parts.train, seed=seed)
    chosen = {arm: fine_tune(bench, facts, directory / "arms" / arm, name=arm) for arm, facts in arms.items()}
    sizes = {f"train_{arm}": len(facts) for arm, facts in arms.items()}
    return checkpoints_side_by_side(
        bench, {arm: str(checkpoint.path) for arm, checkpoint in chosen.items()}, sizes=sizes
    )


def checkpoints_side_by_side(
    bench: TrainingSetup,
    arms: dict[str, str],
    *,
    test: FactSet | None = None,
    sizes: dict[str, int] | None = None,
) -> Checkpoints:
    """Lay a bench's base and arms side by side, on its held-out facts or on ``test``."""
    facts, parts = bench.setting.facts, bench.parts
    counts = {part: len(getattr(parts, part)) for part in ("train", "validation", "test")}
    checkpoints = Checkpoints(
        base=str(bench.base),
        arms=arms,
        test=parts.test if test is None else test,
        prompts=bench.asked(parts.test if test is None else test),
        phrasebook=bench.setting.phrasebook,
        answer_sets=_answer_sets(facts),
        sizes={"total": len(facts), **counts, **(sizes or {})},
    )
    return _alignable(checkpoints)


def known_stage(checkpoints: Checkpoints, path: Path) -> Stage[list[bool]]:
    """Ask the base's plain model which test facts it knows: it completes every statement form of them."""

    def make(model: PreTrainedModel, to: Path) -> None:
        asked = checkpoints.tokenizer, checkpoints.test, checkpoints.phrasebook
        known = checkpoints.known
        if known is None:
            known = knows_statements(model, *asked, told="the base").tolist()
        to.write_text(as_json(list(known)), encoding="utf-8")

    return Stage(paths=(path,), make=make, read=lambda: list(read_json(path)))


def answers_stage(checkpoints: Checkpoints, name: str, path: Path, *, seed: int) -> Stage[pd.DataFrame]:
    """Ask a checkpoint's plain model every test prompt: a row a fact, without what the base knows."""

    def make(model: PreTrainedModel, to: Path) -> None:
        frame = answer_rows(model, checkpoints.tokenizer, checkpoints.test, checkpoints.prompts, told=name)
        of_seed = pd.DataFrame({"seed": seed, "arm": name}, index=frame.index)
        pd.concat([of_seed, frame], axis="columns").to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def _answer_sets(facts: FactSet) -> dict[str, tuple[str, ...]]:
    return {relation: facts.answer_set(relation) for relation in facts.relations}


def _alignable(checkpoints: Checkpoints) -> Checkpoints:
    """Set aside, with the reason, every fact whose prompt cannot be asked of every checkpoint, or aligned.

    Raises:
        InputError: the checkpoints' tokenizers disagree, or one brings none.
    """
    batch = encode(checkpoints.tokenizer, checkpoints.prompts)
    if not batch.left_out:
        return checkpoints
    kept = set(batch.fact_ids)
    index = [i for i, fact in enumerate(checkpoints.test) if fact.id in kept]
    known = checkpoints.known
    return replace(
        checkpoints,
        test=checkpoints.test.subset(index),
        prompts=batch.prompts,
        left_out=(*checkpoints.left_out, *batch.left_out),
        known=None if known is None else tuple(known[i] for i in index),
    )
