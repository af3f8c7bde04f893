"""The steps of the main job: each seed's checkpoints made or taken, asked, and their attention read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.evaluate import with_recovery
from analyses.common.experiment import Measured
from analyses.common.summary import head_means
from analyses.experiments.attention_imbalance.checkpoints import checkpoints_of
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions, describe
from analyses.experiments.attention_imbalance.seed_stages import SeedStages
from finetune.common.distributed import Processes, processes
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import content_hash, write_json
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.data.load_facts import split_json_pointer
from interp.measures.attention import AttentionMass
from interp.measures.head_changes import imbalance, rank_heads
from interp.patching.recall_heads import RecallHeads
from interp.stats import TEST_OVER_TRAIN


@dataclass(frozen=True, kw_only=True)
class SeedResults:
    """What one seed left: a row per fact and arm, and what is told about it.

    ``mass`` maps an arm to its subject-attention mass, ``recall`` are the heads that recall needs.
    """

    seed: int
    frame: pd.DataFrame
    mass: dict[str, AttentionMass]
    recall: RecallHeads
    example: dict[str, Any]
    examples: list[dict[str, Any]]
    sizes: dict[str, int]
    left_out: tuple[LeftOut, ...]


def measure_seed(
    options: AttentionImbalanceOptions,
    facts: FactSet | None,
    run: RunDirectory,
    seed: int,
    *,
    team: Processes,
) -> SeedResults:
    """Train or take the checkpoints of one seed, ask them, and read their attention.

    Every stage leaves a file in ``seeds/<seed>/``, which a continued run reads instead of repeating it.

    Args:
        options: the experiment's.
        facts: real facts; a world's are made without them.
        run: the run directory, in which the steps are timed.
        seed: of world, splits and training.
        team: the processes that share the checkpoints.
    """
    here = run.path / "seeds" / str(seed)
    with run.timed(f"seed {seed}: checkpoints"):
        checkpoints = checkpoints_of(options, facts, here, seed)
    stages = SeedStages(checkpoints, here, seed, options.batch_tokens)
    with run.timed(f"seed {seed}: measuring"):
        if team.is_main:
            write_json(here / "checkpoints.json", {"base": checkpoints.base, **checkpoints.arms})
        for name in team.mine(stages.alone):
            stages.visit(name)
        team.wait()
        if team.is_main:
            stages.visit(stages.last)
            stages.tidy()
        team.wait()
    frame = pd.concat([stages.frame(name) for name in stages.names], ignore_index=True)
    if stages.paired:
        frame = with_recovery(frame, stages.transplant.read())
    if overlap := options.overlap(checkpoints.sizes):
        frame[TEST_OVER_TRAIN] = overlap
    return SeedResults(
        seed=seed,
        frame=frame,
        mass={name: stages.readings(name).read()[0] for name in stages.names},
        recall=stages.recall.read(),
        example=stages.example.read(),
        examples=stages.examples.read(),
        sizes=checkpoints.sizes,
        left_out=checkpoints.left_out,
    )


def measure_seeds(options: AttentionImbalanceOptions, facts: FactSet | None, run: RunDirectory) -> Measured:
    """Measure every seed; what is shown of single heads and facts is the first one's."""
    team = processes()
    seeds = [measure_seed(options, facts, run, seed, team=team) for seed in options.seeds]
    recall = seeds[0].recall
    first, mass = seeds[0], {name: m.values.numpy() for name, m in seeds[0].mass.items()}
    return Measured(
        rows=pd.concat([seed.frame for seed in seeds], ignore_index=True),
        files={
            "attention.json": head_means(first.frame, mass),
            "heads.json": _moved_heads(first),
            "recall_heads.json": recall.to_frame().to_dict("records") if recall.fact_ids else [],
            "example.json": first.example,
            "examples.json": first.examples,
        },
        details={"inputs": _inputs(options), "facts": first.sizes, "setting": describe(options, facts)},
        left_out=(*(facts.left_out if facts else ()), *(item for seed in seeds for item in seed.left_out)),
    )


def require_one_process_to_train(
    options: AttentionImbalanceOptions, facts: FactSet | None, run: RunDirectory
) -> FactSet | None:
    """Refuse several processes where arms are to be trained."""
    if processes().count > 1 and not (options.finetuned or options.checkpoints):
        raise InputError(
            "several processes measure checkpoints but do not train; run this once without a launcher"
        )
    return facts


def _moved_heads(seed: SeedResults, most: int = 20) -> list[dict[str, Any]]:
    """List the heads whose subject attention differs most: top against bottom, or base against the first."""
    before, after = ("top", "bottom") if {"top", "bottom"} <= set(seed.mass) else list(seed.mass)[:2]
    subjects = seed.frame.loc[seed.frame["arm"] == before, "subject"].tolist()
    ranking = rank_heads(imbalance(seed.mass[before], seed.mass[after]), groups=subjects)
    rows = ranking.to_frame().head(most).assign(before=before, after=after)
    return [
        {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
        for row in rows.to_dict("records")
    ]


def _inputs(options: AttentionImbalanceOptions) -> dict[str, str]:
    sources = {"facts": options.facts, "base": options.base, **options.own}
    for name in ("checkpoints", "phrasebook"):
        if path := getattr(options, name):
            sources[name] = str(path)
    if options.facts:
        sources["facts"] = str(split_json_pointer(options.facts)[0])
    return {name: content_hash(Path(s)) for name, s in sources.items() if s and Path(s).exists()}
