"""The steps of stored_or_suppressed: arms diagnosed, and suppression located head by head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.checkpoints import BASE, Checkpoints
from analyses.common.elicited_knowledge import (
    KNOWLEDGE,
    known_facts,
    say_if_few_controls,
    say_if_form_fails,
)
from analyses.common.experiment import Measured
from analyses.common.lessons import LessonPlan, after_lessons, lesson_config
from analyses.common.measurements import mean_masses
from analyses.common.visits import OpenCheckpoints, source_of
from analyses.experiments.attention_imbalance.checkpoints import checkpoints_of
from analyses.experiments.attention_imbalance.options import describe, subjects_known
from analyses.experiments.stored_or_suppressed.head_transplants import (
    head_table,
    in_order,
    pictures,
    sibling_of,
    transplanted_heads,
)
from analyses.experiments.stored_or_suppressed.hidden import with_hidden_knowledge
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from analyses.experiments.stored_or_suppressed.pathway import grafted_answers, pathway_columns
from finetune.common.checksums import cached_files
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import as_json, read_json, write_frame
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.evaluation.judging import AnswerJudge
from interp.stats import TEST_OVER_TRAIN
from interp.verdicts.base_knowledge import KnownFacts
from interp.verdicts.diagnose import diagnose
from interp.verdicts.preconditions import FEWEST_FACTS, require_comparable_facts


@dataclass(frozen=True, kw_only=True)
class SeedVerdicts:
    """One seed's verdicts, a row per fact and arm; by arm, transplants head by head and what is looked at.

    ``grafted`` are the answers under grafts of weights, a row per arm, donor, subset and fact.
    """

    frame: pd.DataFrame
    grafted: pd.DataFrame
    grids: dict[str, pd.DataFrame]
    pictures: dict[str, list[dict[str, Any]]]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """All seeds' verdicts, a row per fact and arm; the first seed's heads, a row each, and pictured facts."""

    rows: pd.DataFrame
    heads: pd.DataFrame
    pictures: dict[str, list[dict[str, Any]]]


def measure_seeds(options: StoredOrSuppressedOptions, facts: FactSet | None, run: RunDirectory) -> Measured:
    """Diagnose every seed's arms."""
    seeds = [measure_seed(options, facts, run, seed) for seed in options.seeds]
    rows = pd.concat([seed.frame for seed in seeds], ignore_index=True)
    tables = [head_table(grid).assign(arm=arm) for arm, grid in seeds[0].grids.items()]
    heads, seen = pd.concat(tables, ignore_index=True), seeds[0].pictures
    return Measured(
        rows=rows,
        found=Diagnosed(rows=rows, heads=heads, pictures=seen),
        files={
            "heads.parquet": heads,
            "pictures.json": seen,
            "pathway.parquet": pd.concat([seed.grafted for seed in seeds], ignore_index=True),
        },
        details={"setting": describe(options, facts), "subjects_known": subjects_known(facts)},
        left_out=(*(facts.left_out if facts else ()), *(item for seed in seeds for item in seed.left_out)),
    )


def measure_seed(
    options: StoredOrSuppressedOptions, facts: FactSet | None, run: RunDirectory, seed: int
) -> SeedVerdicts:
    """Diagnose one seed's arms; every stage leaves a file in ``seeds/<seed>/`` for a continued run.

    Args:
        options: the experiment's.
        facts: real facts; a world's are made without them.
        run: the run directory, in which the steps are timed.
        seed: of world, splits, training and draws.
    """
    here = run.path / "seeds" / str(seed)
    with run.timed(f"seed {seed}: checkpoints"):
        arms_in = here if options.run is None else options.run / "seeds" / str(seed)
        checkpoints = checkpoints_of(options, facts, arms_in, seed)
        require_enough(checkpoints, str(options.facts or options.checkpoints))
    frames, odd, grids, seen = {}, {}, {}, {}
    known = known_facts(checkpoints, arms_in if (arms_in / KNOWLEDGE).is_file() else here)
    models = OpenCheckpoints(checkpoints)
    for arm in in_order(checkpoints):
        models.keep({BASE, arm, sibling_of(checkpoints, arm) or BASE})
        with run.timed(f"seed {seed}: {arm}, verdicts"):
            frames[arm], odd[arm] = _verdicts(options, models, arm, here / "verdicts", seed, known)
        if options.hidden_facts:
            with run.timed(f"seed {seed}: {arm}, hidden knowledge"):
                frames[arm] = with_hidden_knowledge(options, models, arm, frames[arm], here / "probes", seed)
        with run.timed(f"seed {seed}: {arm}, heads"):
            grids[arm] = transplanted_heads(options, models, arm, frames[arm], here / "heads", seed)
            seen[arm] = pictures(models, arm, frames[arm], here / "pictures")
    models.keep(())
    arms, grafted = checkpoints.arms, {}
    for arm in arms:
        with run.timed(f"seed {seed}: {arm}, pathway"):
            grafted[arm], reasons = _grafted(options, checkpoints, arm, frames[arm], here / "pathway", seed)
        odd[arm] = [*odd[arm], *reasons]
        frames[arm] = frames[arm].join(pathway_columns(grafted[arm]), on="fact_id")
        with run.timed(f"seed {seed}: {arm}, lessons"):
            plan = _lessons(options, checkpoints, arm, here / "lessons" / arm, seed)
            frames[arm], reasons = _taught(plan, arm, frames[arm])
        odd[arm] = [*odd[arm], *reasons]
    frame = pd.concat([frames[arm] for arm in arms], ignore_index=True)
    if overlap := options.overlap(checkpoints.sizes):
        frame[TEST_OVER_TRAIN] = overlap
    return SeedVerdicts(
        frame=frame,
        grafted=pd.concat([rows.assign(seed=seed, arm=arm) for arm, rows in grafted.items()]),
        grids={arm: grids[arm] for arm in arms},
        pictures={arm: seen[arm] for arm in arms},
        left_out=(*checkpoints.left_out, *(item for arm in arms for item in odd[arm])),
    )


def require_enough(checkpoints: Checkpoints, source: str) -> None:
    """Refuse at once so few facts, or so few that can be compared, that no verdict could come of them.

    Raises:
        InputError: says how many it takes.
    """
    asked, shown = len(checkpoints.test), len(checkpoints.examples or ())
    if asked < FEWEST_FACTS:
        aside = f" beside {shown} that serve as solved examples" if shown else ""
        raise InputError(
            f"{source}: {asked} facts can be asked{aside}, and a verdict needs at least {FEWEST_FACTS}; give "
            "more, or --facts geonames@even"
        )
    require_comparable_facts(checkpoints.prompts)


def _verdicts(
    options: StoredOrSuppressedOptions,
    models: OpenCheckpoints,
    arm: str,
    directory: Path,
    seed: int,
    known: KnownFacts | None,
) -> tuple[pd.DataFrame, list[LeftOut]]:
    path, notes = directory / f"{arm}.parquet", directory / f"{arm}.json"

    def asked(frame: pd.DataFrame) -> None:
        write_frame(directory / "asked" / f"{arm}.parquet", frame)  # should the verdict come to nothing
        say_if_few_controls(int(frame["control_never"].sum()))
        if known:  # where statements say what a world's base knows, the asked form is its training's alone
            n = sum(known.known[fact_id] for fact_id in frame["fact_id"])
            for name, right, said in ((BASE, "base_right", "base_said"), (arm, "right", "said")):
                say_if_form_fails(models.checkpoints, name, n, frame[right], frame[said])

    def measure(path: Path, notes: Path) -> None:
        checkpoints = models.checkpoints
        found = diagnose(
            models.pair(arm),
            checkpoints.test,
            phrasebook=checkpoints.phrasebook,
            prompts=checkpoints.prompts,
            answer_sets=checkpoints.answer_sets,
            shots=options.form_shots,
            known=known,
            on_asked=asked,
            batch_tokens=options.batch_tokens,
            seed=seed,
        )
        notes.write_text(as_json({"left_out": found.left_out}), encoding="utf-8")
        by_id = {fact.id: fact.popularity for fact in checkpoints.test}
        frame = found.to_frame().assign(seed=seed, arm=arm)
        frame["popularity"] = frame["fact_id"].map(by_id).astype("Float64")
        other = sibling_of(checkpoints, arm) or BASE
        for column, name in (("attention", arm), ("attention_other", other)):
            with models.opened(name, beside=arm) as seen:
                masses = mean_masses(seen, options.batch_tokens)
            frame[column] = frame["fact_id"].map(masses)
        frame["other"] = other
        frame.to_parquet(path)

    frame, held = cached_files([path, notes], measure, lambda: (pd.read_parquet(path), read_json(notes)))
    return frame, [LeftOut(where=where, reason=reason) for where, reason in held["left_out"]]


def _lessons(
    options: StoredOrSuppressedOptions, checkpoints: Checkpoints, arm: str, home: Path, seed: int
) -> LessonPlan:
    """Say what an arm is taught."""
    source = source_of(checkpoints, arm)
    return LessonPlan(
        source=source,
        base=checkpoints.base,
        prompts=checkpoints.prompts,
        judge=AnswerJudge(checkpoints.answer_sets),
        config=lesson_config(source, checkpoints.dtype),
        steps=options.steps_of_lessons,
        seed=seed,
        home=home,
        deals=options.lesson_deals,
    )


def _taught(plan: LessonPlan, arm: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Give lessons to an arm; where that cannot be done, the reason goes to the report."""
    if not plan.steps:
        return frame, []
    try:
        return frame.join(after_lessons(plan, frame), on="fact_id"), []
    except InputError as error:
        return frame, [LeftOut(where=f"lessons of {arm}", reason=str(error))]


def _grafted(
    options: StoredOrSuppressedOptions,
    checkpoints: Checkpoints,
    arm: str,
    frame: pd.DataFrame,
    directory: Path,
    seed: int,
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Graft weights into an arm; where that cannot be done, the reason goes to the report."""
    try:
        return grafted_answers(options, checkpoints, arm, frame, directory, seed), []
    except InputError as error:
        nothing = grafted_answers(options, checkpoints, arm, frame.iloc[:0], directory, seed)
        return nothing, [LeftOut(where=f"pathway of {arm}", reason=str(error))]
