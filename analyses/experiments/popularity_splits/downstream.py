"""Handing a grid's chosen checkpoints to the analyses that look inside: attention and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.common.checkpoints import Checkpoints, export_checkpoints
from analyses.common.grid_cells import GridCell
from analyses.experiments.attention_imbalance import experiment as attention_imbalance
from analyses.experiments.popularity_splits.cells import checkpoint_of
from analyses.experiments.popularity_splits.numbers import iterate_settings, select_rates_by_validation
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.preparation import PARTS, PreparedFacts, read
from analyses.experiments.stored_or_suppressed import experiment as stored_or_suppressed
from finetune.checkpoints.loading import load_tokenizer
from finetune.common.seeds import generator
from finetune.data.prompts import Prompt

if TYPE_CHECKING:
    import pandas as pd

HANDED = "handed_on"


def export_all(options: PopularitySplitsOptions, frame: pd.DataFrame, run: Path) -> dict[str, Path]:
    """Write a directory for each data set, model, method, share and seed; return them by name."""
    picked, made = select_rates_by_validation(frame), {}
    for seed in sorted(picked["seed"].unique().tolist()):
        for (dataset, model, method, fraction), some in iterate_settings(picked[picked["seed"] == seed]):
            data = read(options, run, dataset, model, seed)
            name = f"{dataset},{model},{method},{fraction:g},{seed}"
            made[name] = export_checkpoints(run / HANDED / name, _checkpoints(options, data, some, run))
    return made


def analyse(options: PopularitySplitsOptions, handed: dict[str, Path], run: Path) -> dict[str, str]:
    """Run the analyses that the options name on every directory; return where each one's report is."""
    reports = {}
    for name, directory in handed.items():
        seed = int(name.rsplit(",", 1)[1])
        shared: dict[str, Any] = {
            "seeds": (seed,),
            "batch_tokens": options.batch_tokens,
            "quiet": options.quiet,
        }
        attention = run / "analyses" / name / "attention"
        if "attention" in options.analyse:
            attention_imbalance.run(
                attention_imbalance.AttentionImbalanceOptions(out=attention, checkpoints=directory, **shared)
            )
            reports[f"{name}: attention"] = f"analyses/{name}/attention/report.html"
        if "verdicts" in options.analyse:
            verdicts = run / "analyses" / name / "verdicts"
            stored_or_suppressed.run(
                stored_or_suppressed.StoredOrSuppressedOptions(out=verdicts, checkpoints=directory, **shared)
            )
            reports[f"{name}: verdicts"] = f"analyses/{name}/verdicts/report.html"
    return reports


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
        arms={arm: str(checkpoint_of(run, cell)) for arm, cell in _cells(rows).items()},
        test=some,
        prompts=tuple(prompts),
        phrasebook=data.phrasebook,
        answer_sets=_answer_sets(data, prompts),
        sizes={"total": sum(counts.values()), **counts},
        known=tuple(data.known[i] for i in index),
    )


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
