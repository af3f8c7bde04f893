"""The stages of stored_or_suppressed: arms diagnosed, suppression located head by head, numbers summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analyses.common.checkpoints import BASE
from analyses.common.elicited_knowledge import known_facts
from analyses.common.estimate_trees import pool_trees, tree_to_json
from analyses.common.measurements import mean_masses
from analyses.common.visits import OpenCheckpoints
from analyses.experiments.attention_imbalance.checkpoints import checkpoints_of
from analyses.experiments.attention_imbalance.options import describe
from analyses.experiments.stored_or_suppressed.head_transplants import (
    head_table,
    in_order,
    pictures,
    sibling_of,
    siblings_of,
    transplanted_heads,
)
from analyses.experiments.stored_or_suppressed.page import load_study
from finetune.common.checksums import cached_together
from finetune.common.errors import LeftOut
from finetune.common.files import as_json, atomic_file, read_json, write_json
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from interp.reports.pages.study_page import write_study
from interp.stats import TEST_OVER_TRAIN, Estimate, estimate, overlap_of
from interp.verdicts.diagnose import ERASED, SUPPRESSED, UNDETERMINED, diagnose
from interp.verdicts.known import KnownFacts

if TYPE_CHECKING:
    from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions

LOST = (SUPPRESSED, ERASED, UNDETERMINED)
_TOLD = ("threshold", "false_positives", "controls", "left_out")  # kept beside the verdicts


@dataclass(frozen=True, kw_only=True)
class SeedVerdicts:
    """One seed's verdicts, a row per fact and arm; by arm, transplants head by head and what is looked at."""

    frame: pd.DataFrame
    grids: dict[str, pd.DataFrame]
    pictures: dict[str, list[dict[str, Any]]]
    left_out: tuple[LeftOut, ...]


def measure_seed(
    options: StoredOrSuppressedOptions, facts: FactSet | None, run: RunDirectory, seed: int
) -> SeedVerdicts:
    """Diagnose one seed's arms; every stage leaves a file in ``seeds/<seed>/`` for a continued run."""
    here = run.path / "seeds" / str(seed)
    with run.timed(f"seed {seed}: checkpoints"):
        arms_in = here if options.run is None else options.run / "seeds" / str(seed)
        checkpoints = checkpoints_of(options, facts, arms_in, seed)
    frames, odd, grids, seen = {}, {}, {}, {}
    known = known_facts(checkpoints, here)
    models = OpenCheckpoints(checkpoints)
    for arm in in_order(checkpoints):
        models.keep({BASE, arm, sibling_of(checkpoints, arm) or BASE})
        with run.timed(f"seed {seed}: {arm}, verdicts"):
            frames[arm], odd[arm] = _verdicts(options, models, arm, here / "verdicts", seed, known)
        with run.timed(f"seed {seed}: {arm}, heads"):
            grids[arm] = transplanted_heads(options, models, arm, frames[arm], here / "heads", seed)
            seen[arm] = pictures(models, arm, frames[arm], here / "pictures")
    models.keep(())
    arms = checkpoints.arms
    frame = pd.concat([frames[arm] for arm in arms], ignore_index=True)
    if overlap := options.overlap(checkpoints.sizes):
        frame[TEST_OVER_TRAIN] = overlap
    return SeedVerdicts(
        frame=frame,
        grids={arm: grids[arm] for arm in arms},
        pictures={arm: seen[arm] for arm in arms},
        left_out=(*checkpoints.left_out, *(item for arm in arms for item in odd[arm])),
    )


def _verdicts(
    options: StoredOrSuppressedOptions,
    models: OpenCheckpoints,
    arm: str,
    directory: Path,
    seed: int,
    known: KnownFacts | None,
) -> tuple[pd.DataFrame, list[LeftOut]]:
    path, notes = directory / f"{arm}.parquet", directory / f"{arm}.json"

    def measure(path: Path, notes: Path) -> None:
        checkpoints = models.checkpoints
        found = diagnose(
            models.pair(arm),
            checkpoints.test,
            phrasebook=checkpoints.phrasebook,
            prompts=checkpoints.prompts,
            answer_sets=checkpoints.answer_sets,
            siblings=siblings_of(models, arm),
            alpha=options.alpha,
            shots=options.form_shots,
            known=known,
            on_asked=lambda frame: keep_asked(frame, directory / "asked" / f"{arm}.parquet"),
            batch_tokens=options.batch_tokens,
            seed=seed,
        )
        told = {name: getattr(found, name) for name in _TOLD}
        notes.write_text(as_json(told), encoding="utf-8")
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

    frame, held = cached_together([path, notes], measure, lambda: (pd.read_parquet(path), read_json(notes)))
    frame = frame.assign(threshold=held["threshold"], controls=held["controls"])
    return frame, [LeftOut(where=where, reason=reason) for where, reason in held["left_out"]]


def keep_asked(frame: pd.DataFrame, path: Path) -> None:
    """Keep what both models answered, should the verdict come to nothing."""
    with atomic_file(path) as temporary:
        frame.to_parquet(temporary)


def summarise(seeds: Sequence[SeedVerdicts]) -> dict[str, Any]:
    """Return by arm: shares of verdicts, recovery with placebo, attention and popularity; and each seed's."""
    names = [str(seed.frame["seed"].iloc[0]) for seed in seeds]
    trees = [_one_seed(seed.frame) for seed in seeds]
    overlap = max((overlap_of(seed.frame) for seed in seeds), default=0.0)
    tree = pool_trees(trees, _bounds, lambda path: overlap)
    return tree_to_json({**tree, "seeds": dict(zip(names, trees, strict=True))})


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    return (-1, 1) if path[-1].startswith("difference") or "attention_lost" in path else (0, 1)


def _one_seed(frame: pd.DataFrame) -> dict[str, Any]:
    return {"arms": {str(arm): _arm(rows) for arm, rows in frame.groupby("arm", sort=False)}}


def _arm(rows: pd.DataFrame) -> dict[str, Any]:
    known = rows[rows["base_knew"] == 1]
    kept, lost = known[known["right"]], known[~known["right"]]
    suppressed, erased = lost[lost["verdict"] == SUPPRESSED], lost[lost["verdict"] == ERASED]
    tree: dict[str, Any] = {
        "known": _share(known["right"], known),
        "lost": _share(~known["right"], known),
        "suppressed_of_lost": _share(lost["verdict"] == SUPPRESSED, lost),
        "erased_of_lost": _share(lost["verdict"] == ERASED, lost),
        "undetermined_of_lost": _share(lost["verdict"] == UNDETERMINED, lost),
        "recovery": _recovery(lost),
        "attention_lost": {
            name: _share(some["attention_other"] - some["attention"], some, difference=True)
            for name, some in {"suppressed": suppressed, "erased": erased, "retained": kept}.items()
        },
    }
    if rows["popularity"].notna().all():
        quartile = pd.qcut(rows["popularity"].rank(method="first", ascending=False), 4, labels=False) + 1
        tree["suppressed_of_known_by_quartile"] = {
            f"q{q}": _share(some["verdict"] == SUPPRESSED, some)
            for q in range(1, 5)
            if len(some := known[quartile[known.index] == q])
        }
    return tree


def _recovery(lost: pd.DataFrame) -> dict[str, Estimate]:
    """Average how many lost facts are answered right under other attention, and under the placebo."""
    # Arms have siblings of other names, so that of several siblings' columns one is an arm's own.
    lost = lost.dropna(axis=1, how="all") if len(lost) else lost
    columns = [str(column) for column in lost if str(column).startswith("recovered_")]
    named = {column.removeprefix("recovered_").split(":")[0]: lost[column] for column in columns}
    tree = {name: _share(values, lost) for name, values in named.items()}
    for name, placebo in (("patterns", "placebo"), ("sibling", "sibling_placebo")):
        if {name, placebo} <= set(named):
            change = named[name] - named[placebo]
            tree[f"difference_{name}"] = _share(change, lost, difference=True)
    return tree


def _share(values: pd.Series, rows: pd.DataFrame, *, difference: bool = False) -> Estimate:
    numbers = values.to_numpy(dtype=np.float64)
    return estimate(numbers, groups=rows["subject"].to_numpy(), difference=difference)


def write_results(
    options: StoredOrSuppressedOptions,
    facts: FactSet | None,
    run: RunDirectory,
    seeds: Sequence[SeedVerdicts],
) -> None:
    """Write the tables, the numbers, the figures and the report; the manifest last, marked finished."""

    frame = pd.concat([seed.frame for seed in seeds], ignore_index=True)
    with atomic_file(run.path / "facts.parquet") as path:
        frame.to_parquet(path)
    heads = _by_arm({arm: head_table(grid) for arm, grid in seeds[0].grids.items()})
    with atomic_file(run.path / "heads.parquet") as path:
        heads.to_parquet(path)
    write_json(run.path / "pictures.json", seeds[0].pictures)
    write_json(run.path / "results.json", summarise(seeds))
    left_out = [*(facts.left_out if facts else ()), *(item for seed in seeds for item in seed.left_out)]
    details: dict[str, Any] = {
        "seeds": options.seeds,
        "left_out": list(dict.fromkeys(left_out)),
        "setting": describe(options, facts),
    }
    run.write(**details)
    write_study(run.path, load_study(run.path))
    run.write(finished=True, **details)


def _by_arm(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table.assign(arm=arm) for arm, table in tables.items()], ignore_index=True)
