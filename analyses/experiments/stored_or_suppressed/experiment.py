"""The experiment stored_or_suppressed: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path

from analyses.experiments.attention_imbalance.options import load_facts
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from analyses.experiments.stored_or_suppressed.page import load_study
from analyses.experiments.stored_or_suppressed.stages import measure_seed, write_results
from finetune.checkpoints.paths import resolve_all
from finetune.common.errors import InputError
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study import headline


def run(options: StoredOrSuppressedOptions) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """

    options = options.resolved()
    options.check()
    facts = load_facts(options)
    directory = RunDirectory(
        options.out,
        {**options.config(), "facts_digest": facts.digest if facts else None},
        analysis="stored_or_suppressed",
        inputs=resolve_all({"base": options.base, **options.own}),
    )
    if directory.finished:
        return options.out

    try:
        directory.write(seeds=options.seeds)
        seeds = [measure_seed(options, facts, directory, seed) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    write_results(options, facts, directory, seeds)
    return options.out


def show(out: Path) -> object:
    """Make what a terminal shows of a run: its headline."""
    return headline(load_study(out))
