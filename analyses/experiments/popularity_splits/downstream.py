"""Handing a grid's chosen checkpoints to the analyses that look inside: attention and verdicts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.checkpoints import Checkpoints, export_checkpoints
from analyses.common.experiment import Experiment
from analyses.common.grid_cells import GridCell
from analyses.experiments.attention_imbalance.experiment import EXPERIMENT as ATTENTION_IMBALANCE
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.popularity_splits.archive import export_verdicts
from analyses.experiments.popularity_splits.cells import checkpoint_of
from analyses.experiments.popularity_splits.numbers import iterate_settings, select_rates_by_validation
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import PARTS, PreparedFacts, read
from analyses.experiments.stored_or_suppressed.experiment import EXPERIMENT as STORED_OR_SUPPRESSED
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.checkpoints.loading import load_tokenizer
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import content_hash, read_json
from finetune.common.run_directory import RunDirectory
from finetune.common.seeds import generator
from finetune.data.prompts import Prompt

HANDED = "handed_on"
SETTING = ("dataset", "model", "method", "fraction", "seed")  # of which a directory's name is made
ANALYSES: dict[str, tuple[Experiment, type[AttentionImbalanceOptions]]] = {
    "attention": (ATTENTION_IMBALANCE, AttentionImbalanceOptions),
    "verdicts": (STORED_OR_SUPPRESSED, StoredOrSuppressedOptions),
}


def export_all(options: PopularitySplitsOptions, frame: pd.DataFrame, run: Path) -> dict[str, Path]:
    """Write a directory for each data set, model, method, share and seed; return them by name.

    Where checkpoints are not here, as those of archived cells are not, there is nothing to hand on.
    """
    picked, made = select_rates_by_validation(frame), {}
    for seed in sorted(picked["seed"].unique().tolist()):
        for (dataset, model, method, fraction), some in iterate_settings(picked[picked["seed"] == seed]):
            if not all(checkpoint_of(run, cell).is_dir() for cell in _cells(some).values()):
                continue
            data = read(options, run, dataset, model, seed)
            name = f"{dataset},{model},{method},{fraction:g},{seed}"
            made[name] = export_checkpoints(run / HANDED / name, _checkpoints(options, data, some, run))
    return made


def finish(options: PopularitySplitsOptions, frame: pd.DataFrame, run: RunDirectory) -> dict[str, Any]:
    """Hand the chosen checkpoints on, look inside them, and return what the manifest tells of that."""
    handed = export_all(options, frame, run.path)
    reports, left_out = analyse(options, handed, run.path)
    return {"handed_on": sorted(handed), "reports": reports, "left_out": left_out}


def analyse(
    options: PopularitySplitsOptions, handed: dict[str, Path], run: Path
) -> tuple[dict[str, str], list[LeftOut]]:
    """Run the analyses that the options name on every directory; return their reports, and what has none."""
    chosen = {name: each for name, each in ANALYSES.items() if name in options.analyse}
    reports, left_out = {}, []
    for name, directory in handed.items():
        setting = dict(zip(SETTING, name.rsplit(",", len(SETTING) - 1), strict=True))
        seed = int(setting["seed"])
        for analysis, (experiment, kind) in chosen.items():
            _discard_stale(run / "analyses" / name / analysis, directory)
            asked = kind(
                out=run / "analyses" / name / analysis,
                checkpoints=directory,
                seeds=(seed,),
                batch_tokens=options.batch_tokens,
                quiet=options.quiet,
            )
            try:
                out = experiment.run(asked)
            except InputError as error:  # too few facts, say: the grid's own numbers do not hang on it
                left_out.append(LeftOut(where=f"{name}: {analysis}", reason=str(error)))
                continue
            if analysis == "verdicts" and options.archive:
                export_verdicts(options.archive, setting, pd.read_parquet(out / "facts.parquet"))
            reports[f"{name}: {analysis}"] = f"analyses/{name}/{analysis}/report.html"
    return reports, left_out


def _discard_stale(analysis: Path, handed: Path) -> None:
    """Remove an analysis of other checkpoints than are handed on: a failed cell may have been run since."""
    manifest, found = analysis / "manifest.json", content_hash(handed)
    held = read_json(manifest).get("inputs", {}) if manifest.is_file() else {}
    if held.get("checkpoints", found) != found:
        shutil.rmtree(analysis)


def _checkpoints(
    options: PopularitySplitsOptions, data: PreparedFacts, rows: pd.DataFrame, run: Path
) -> Checkpoints:
    """Lay the chosen arms side by side, on held-out facts that are drawn if there are more than wanted."""
    test = data.parts.test
    drawn = generator(data.seed, "facts analysed").permutation(len(test))[: options.analysed]
    index = sorted(drawn.tolist())
    some = test.subset(index)
    prompts = data.asked(options, some, load_tokenizer(data.base), examples=data.parts.train)
    counts = {part: len(getattr(data.parts, part)) for part in PARTS}
    return Checkpoints(
        base=data.base,
        arms={arm: str(_handed(options, run, cell)) for arm, cell in _cells(rows).items()},
        test=some,
        prompts=tuple(prompts),
        phrasebook=data.phrasebook,
        answer_sets=_answer_sets(data, prompts),
        sizes={"total": sum(counts.values()), **counts},
        known=tuple(data.known[i] for i in index),
        examples=data.parts.train if dict(options.models)[data.model] is not None else None,
        dtype=options.dtype or "float32",
    )


def _handed(options: PopularitySplitsOptions, run: Path, cell: GridCell) -> Path:
    """Return the checkpoint that is handed on: the kept one, or with --last that after equal steps."""
    kept = checkpoint_of(run, cell)
    return next(kept.glob("checkpoint-*")) if options.last else kept


def _answer_sets(data: PreparedFacts, prompts: Sequence[Prompt]) -> dict[str, tuple[str, ...]]:
    """Collect each relation's answers, in training facts too; of multiple choice, the options as asked."""
    sets: dict[str, set[str]] = {}
    for prompt in prompts:
        sets.setdefault(prompt.relation, set()).update((prompt.answers[0], *prompt.choices))
    for part in PARTS:
        for fact in getattr(data.parts, part):
            if not fact.choices and fact.relation in sets:
                sets[fact.relation].add(fact.answer)
    return {relation: tuple(sorted(answers)) for relation, answers in sets.items()}


def _cells(rows: pd.DataFrame) -> dict[str, GridCell]:
    """Name the cell of every trained arm, from its rows."""
    names = ["dataset", "model", "method", "arm", "fraction", "learning_rate"]
    trained = rows[rows["arm"] != "base"].drop_duplicates("arm")
    return {
        str(row["arm"]): GridCell.of(int(row["seed"]), **{name: row[name] for name in names})
        for row in trained[[*names, "seed"]].to_dict("records")
    }
