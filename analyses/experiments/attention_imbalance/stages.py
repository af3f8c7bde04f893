"""The stages of the main job: one seed measured, then all seeds summed up in the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.claims import claims_on_arms
from analyses.common.measurements import with_recovery
from analyses.common.summary import head_means, summarise
from analyses.experiments.attention_imbalance.checkpoints import checkpoints_of
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions, describe
from analyses.experiments.attention_imbalance.seed_stages import SeedStages
from finetune.common.distributed import Processes
from finetune.common.errors import LeftOut
from finetune.common.files import atomic_file, content_hash, write_json
from finetune.common.progress import progress_bar
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.data.load_facts import split_json_pointer
from interp.measures.attention import AttentionMass
from interp.measures.head_changes import imbalance, rank_heads
from interp.reports.pages.report import draw, report, write_figures
from interp.reports.pages.study import write_claims
from interp.stats import TEST_OVER_TRAIN


@dataclass(frozen=True, kw_only=True)
class SeedResults:
    """What one seed left: a row per fact and arm, and what is told about it.

    ``mass`` maps an arm to its subject-attention mass.
    """

    seed: int
    frame: pd.DataFrame
    mass: dict[str, AttentionMass]
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
        example=stages.example.read(),
        examples=stages.examples.read(),
        sizes=checkpoints.sizes,
        left_out=checkpoints.left_out,
    )


def write_results(
    options: AttentionImbalanceOptions, facts: FactSet | None, run: RunDirectory, seeds: Sequence[SeedResults]
) -> None:
    """Write the tables, the numbers, the figures and the report; the manifest last, marked finished."""
    frame = pd.concat([seed.frame for seed in seeds], ignore_index=True)
    with run.timed("summary"):
        with atomic_file(run.path / "facts.parquet") as path:
            frame.to_parquet(path)
        results = summarise(frame)
        write_json(run.path / "results.json", results)
        write_claims(run.path, claims_on_arms(results))
        mass = {name: m.values.numpy() for name, m in seeds[0].mass.items()}
        write_json(run.path / "attention.json", head_means(seeds[0].frame, mass))
        write_json(run.path / "heads.json", _moved_heads(seeds[0]))
        write_json(run.path / "example.json", seeds[0].example)
        write_json(run.path / "examples.json", seeds[0].examples)
    left_out = [*(facts.left_out if facts else ()), *(item for seed in seeds for item in seed.left_out)]
    details: dict[str, Any] = {
        "seeds": options.seeds,
        "inputs": _inputs(options),
        "left_out": list(dict.fromkeys(left_out)),
        "facts": seeds[0].sizes,
        "setting": describe(options, facts),
    }
    run.write(**details)  # the report prints the manifest, so it must be there before it is finished
    with run.timed("report"), progress_bar("Drawing the figures and the report", total=2) as advance:
        drawn = draw(run.path)
        write_figures(run.path, drawn=drawn)
        advance(1)
        report(run.path, drawn=drawn)
    run.write(finished=True, **details)


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
