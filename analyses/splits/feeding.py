"""Handing a grid's chosen checkpoints to the analyses that look inside: attention and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.checkpoints import Checkpoints, hand_on
from analyses.lab.grid import Cell
from analyses.splits.cell import checkpoint_of
from analyses.splits.numbers import chosen, settings
from analyses.splits.options import Options
from analyses.splits.prepared import PARTS, Prepared, read
from finetune.prompts import Prompt

if TYPE_CHECKING:
    import pandas as pd

HANDED = "handed_on"


def hand_all_on(options: Options, frame: pd.DataFrame, run: Path) -> dict[str, Path]:
    """Write a directory for each data set, model, method, share and seed; return them by name."""
    picked, made = chosen(frame), {}
    for seed in sorted(picked["seed"].unique().tolist()):
        for (dataset, model, method, fraction), some in settings(picked[picked["seed"] == seed]):
            data = read(options, run, dataset, model, seed)
            name = f"{dataset},{model},{method},{fraction:g},{seed}"
            made[name] = hand_on(run / HANDED / name, _checkpoints(options, data, some, run))
    return made


def analyse(options: Options, handed: dict[str, Path], run: Path) -> dict[str, str]:
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
            from analyses import attention_imbalance

            attention_imbalance.run(
                attention_imbalance.Options(out=attention, checkpoints=directory, **shared)
            )
            reports[f"{name}: attention"] = f"analyses/{name}/attention/report.html"
        if "verdicts" in options.analyse:
            from analyses import stored_or_suppressed

            verdicts = run / "analyses" / name / "verdicts"
            stored_or_suppressed.run(
                stored_or_suppressed.Options(out=verdicts, checkpoints=directory, **shared)
            )
            reports[f"{name}: verdicts"] = f"analyses/{name}/verdicts/report.html"
    return reports


def _checkpoints(options: Options, data: Prepared, rows: pd.DataFrame, run: Path) -> Checkpoints:
    """Lay the chosen arms side by side, on held-out facts that are drawn if there are more than wanted."""
    import numpy as np

    from finetune.models import load_tokenizer

    test = data.parts.test
    drawn = np.random.default_rng([data.seed, 40]).permutation(len(test))[: options.analysed]
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


def _answer_sets(data: Prepared, prompts: Sequence[Prompt]) -> dict[str, tuple[str, ...]]:
    """Collect each relation's answers, in training facts too; of multiple choice, the options as asked."""
    sets: dict[str, set[str]] = {}
    for prompt in prompts:
        sets.setdefault(prompt.relation, set()).update((prompt.answers[0], *prompt.choices))
    for part in PARTS:
        for fact in getattr(data.parts, part):
            if not fact.choices and fact.relation in sets:
                sets[fact.relation].add(fact.answer)
    return {relation: tuple(sorted(answers)) for relation, answers in sets.items()}


def _cells(rows: pd.DataFrame) -> dict[str, Cell]:
    """Name the cell of every trained arm, from its rows."""
    names = ["dataset", "model", "method", "arm", "fraction", "learning_rate"]
    trained = rows[rows["arm"] != "base"].drop_duplicates("arm")
    return {
        str(row["arm"]): Cell.of(int(row["seed"]), **{name: row[name] for name in names})
        for row in trained[[*names, "seed"]].to_dict("records")
    }
