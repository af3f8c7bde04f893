"""From a setting to checkpoints and what they answer: the part of a run that trains and asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from transformers import PreTrainedModel

from analyses.common.checkpoints import Checkpoints
from analyses.common.evaluate import answer_rows, knows_statements
from analyses.common.options import TrainingOptions
from analyses.common.training_setup import TrainingSetup, WorldSetting, fine_tune, make_training_setup
from analyses.common.visits import Stage, json_stage
from finetune.checkpoints.loading import load_tokenizer
from finetune.common.errors import InputError, LeftOut
from finetune.common.progress import console, notice
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.evaluation.judging import AnswerJudge
from finetune.training.cost_estimate import estimate_prompt_costs, require_room
from interp.measures.spans import LEAD_IN, SUNK, behind_lead_in, encode

ASIDE = 64  # training facts to find heads on, of which some are answered right


def train_arms(options: TrainingOptions, setting: WorldSetting, directory: Path, *, seed: int) -> Checkpoints:
    """Split the facts by subject, take or pretrain the base, and fine-tune every arm.

    Args:
        options: how the facts are split into arms and trained on.
        setting: the seed's facts, their wording and the base.
        directory: the seed's own, for the arms' files.
        seed: of splits and training.
    """
    setup = make_training_setup(setting, cache=options.bases, seed=seed)
    arms = options.arms(setup.parts.train, seed=seed)
    if setting.checkpoint is not None:
        _say_costs(setup, arms)
    chosen = {arm: fine_tune(setup, facts, directory / "arms" / arm, name=arm) for arm, facts in arms.items()}
    sizes = {f"train_{arm}": len(facts) for arm, facts in arms.items()}
    made = checkpoints_side_by_side(
        setup, {arm: str(checkpoint.path) for arm, checkpoint in chosen.items()}, sizes=sizes
    )
    if setting.checkpoint is None:
        return made
    return replace(made, examples=setup.parts.train, dtype=options.dtype or made.dtype)


def _say_costs(setup: TrainingSetup, arms: Mapping[str, FactSet]) -> None:
    """Say what fine-tuning a given base will take, and refuse what cannot fit."""
    tune, largest = setup.setting.tune, max(arms.values(), key=len)
    budget = estimate_prompt_costs(str(setup.base), load_tokenizer(setup.base), setup.asked(largest), tune)
    each = f"each of {len(arms)} arms at {len(tune.learning_rates)} learning rates"
    console().print(f"{each}: {budget.sentence()}", highlight=False, markup=False, soft_wrap=True)
    require_room(budget)


def checkpoints_side_by_side(
    setup: TrainingSetup,
    arms: dict[str, str],
    *,
    test: FactSet | None = None,
    sizes: dict[str, int] | None = None,
) -> Checkpoints:
    """Lay a setup's base and arms side by side, on its held-out facts.

    Args:
        setup: the base and its facts.
        arms: each arm's directory.
        test: other facts to ask than the held-out ones.
        sizes: further numbers of facts, by name.
    """
    facts, parts = setup.setting.facts, setup.parts
    counts = {part: len(getattr(parts, part)) for part in ("train", "validation", "test")}
    aside = generator(0, "recall facts").permutation(len(parts.train))[:ASIDE].tolist()
    checkpoints = Checkpoints(
        base=str(setup.base),
        arms=arms,
        test=parts.test if test is None else test,
        prompts=setup.asked(parts.test if test is None else test),
        phrasebook=setup.setting.phrasebook,
        answer_sets=facts.answer_sets,
        sizes={"total": len(facts), **counts, **(sizes or {})},
        aside=setup.asked(parts.train.subset(aside)),
    )
    return alignable(checkpoints)


def known_stage(checkpoints: Checkpoints, path: Path) -> Stage[list[bool]]:
    """Ask the base's plain model which test facts it knows: it completes every statement form of them."""

    def make(model: PreTrainedModel) -> list[bool]:
        if checkpoints.known is not None:
            return list(checkpoints.known)
        asked = checkpoints.tokenizer, checkpoints.test, checkpoints.phrasebook
        return knows_statements(model, *asked, told="the base").tolist()

    return json_stage(path, make)


def answers_stage(checkpoints: Checkpoints, name: str, path: Path, *, seed: int) -> Stage[pd.DataFrame]:
    """Ask a checkpoint's plain model every test prompt: a row a fact, without what the base knows.

    Args:
        checkpoints: what is compared, and on which facts.
        name: the checkpoint, an arm's or the base's name.
        path: the file of its rows.
        seed: a column of the rows.
    """

    def make(model: PreTrainedModel, to: Path) -> None:
        asked = model, checkpoints.tokenizer, checkpoints.test, checkpoints.prompts
        frame = answer_rows(*asked, told=name, judge=AnswerJudge(checkpoints.answer_sets))
        of_seed = pd.DataFrame({"seed": seed, "arm": name}, index=frame.index)
        pd.concat([of_seed, frame], axis="columns").to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def alignable(checkpoints: Checkpoints) -> Checkpoints:
    """Set aside, with the reason, every fact whose prompt cannot be asked of every checkpoint, or aligned.

    Prompts that begin with their subject, where nothing tells attention to it from a sink's, are asked behind
    a neutral lead-in; one that a chat template wrote whole is set aside.

    Raises:
        InputError: the checkpoints' tokenizers disagree, or one brings none; or no fact is left.
    """
    checkpoints = _led_in(checkpoints)
    batch = encode(checkpoints.tokenizer, checkpoints.prompts)
    told = zip(batch.fact_ids, batch.sunk.tolist(), strict=True)
    sunk = [LeftOut(where=fact_id, reason=SUNK) for fact_id, is_sunk in told if is_sunk]
    if len(sunk) == len(batch):
        raise InputError(f"fact {sunk[0].where!r}, and every other: {SUNK}")
    left_out = (*batch.left_out, *sunk)
    if not left_out:
        return checkpoints
    batch = batch[~batch.sunk]
    kept = set(batch.fact_ids)
    index = [i for i, fact in enumerate(checkpoints.test) if fact.id in kept]
    known = checkpoints.known
    return replace(
        checkpoints,
        test=checkpoints.test.subset(index),
        prompts=batch.prompts,
        left_out=(*checkpoints.left_out, *left_out),
        known=None if known is None else tuple(known[i] for i in index),
    )


def _led_in(checkpoints: Checkpoints) -> Checkpoints:
    """Put a neutral lead-in in front of the prompts that begin with their subject, and say how many."""
    batch = encode(checkpoints.tokenizer, checkpoints.prompts)
    told = zip(batch.prompts, batch.sunk.tolist(), strict=True)
    sunk = {prompt for prompt, is_sunk in told if is_sunk and not prompt.rendered}
    if not sunk:
        return checkpoints
    notice(
        f"{len(sunk)} of {len(batch)} prompts begin with their subject, and a first token draws attention "
        f"whatever it is; they are asked behind {LEAD_IN.strip()!r}"
    )
    prompts = (behind_lead_in(prompt) if prompt in sunk else prompt for prompt in checkpoints.prompts)
    return replace(checkpoints, prompts=tuple(prompts))
