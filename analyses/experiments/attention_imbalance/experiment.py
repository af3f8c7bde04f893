"""The experiment attention_imbalance: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path

from analyses.common.sharding import processes
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions, load_facts
from analyses.experiments.attention_imbalance.stages import measure_seed, write_results
from finetune.checkpoints.paths import resolve_all
from finetune.common.errors import InputError
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.report import headline_table
from interp.reports.read.run import Run


def run(options: AttentionImbalanceOptions) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """

    options.check()
    facts = load_facts(options)
    config = {**options.config(), "facts_digest": facts.digest if facts else None}
    models = resolve_all({"base": options.base, **options.own})
    directory = RunDirectory(options.out, config, analysis="attention_imbalance", inputs=models)
    if directory.finished:
        return options.out

    team = processes()
    if team.count > 1 and not (options.finetuned or options.checkpoints):
        raise InputError(
            "several processes measure checkpoints but do not train; run this once without a launcher"
        )
    team.wait()
    try:
        if team.is_main:
            directory.write(seeds=options.seeds)
        seeds = [measure_seed(options, facts, directory, seed, team=team) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    if team.is_main:
        write_results(options, facts, directory, seeds)
    team.wait()
    return options.out


def show(out: Path) -> object:
    """Make what a terminal shows of a run: its headline."""
    return headline_table(Run.load(out))
