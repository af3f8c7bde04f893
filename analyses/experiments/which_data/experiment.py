"""The experiment which_data: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analyses.common.cli import show_study
from analyses.experiments.which_data import output_rows as rows_out
from analyses.experiments.which_data.numbers import results
from analyses.experiments.which_data.page import page
from analyses.experiments.which_data.steps import choose_facts, prepare_candidates
from finetune.checkpoints.paths import resolve_all
from finetune.common.errors import InputError
from finetune.common.files import write_json
from finetune.common.output_files import require_apart, require_ours
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study_page import write_study

if TYPE_CHECKING:
    from analyses.experiments.which_data.steps import ChosenFacts
from analyses.experiments.which_data.options import WhichDataOptions


def run(options: WhichDataOptions) -> Path:
    """Choose, write the chosen rows and the report, and return the report's directory.

    The same command given again takes the scores from there.

    Raises:
        InputError: an option or an input file is wrong; nothing has been written.
    """

    options.check()
    ready = prepare_candidates(options)
    directory = RunDirectory(
        options.home,
        {**options.config(), "facts_digest": ready.candidates.facts.digest},
        analysis="which_data",
        inputs=resolve_all({"base": options.base}),
    )
    require_places(options, directory)
    try:
        directory.write(seeds=(options.seed,))
        with directory.timed("scoring"):
            made = choose_facts(options, ready, directory.path)
    except InputError:
        directory.discard()
        raise
    _write(options, made, directory)
    return directory.path


def require_places(options: WhichDataOptions, directory: RunDirectory) -> None:
    """Refuse to write over what this very command has not written, or over one of its inputs.

    Raises:
        InputError: names the option and the remedy.
    """
    outputs = {"--out": options.out, "--dropped": options.dropped}
    inputs = {"--facts": options.facts, "--reference": options.reference, "--base": options.base}
    require_apart({**outputs, "--report": options.home}, {**inputs, "--phrasebook": options.phrasebook})
    for option, out in outputs.items():
        if out is not None:
            require_ours(option, out, directory.wrote)


def _write(options: WhichDataOptions, made: ChosenFacts, directory: RunDirectory) -> None:

    left_out = made.left_out
    numbers = results(made)
    directory.write(seeds=(options.seed,), left_out=left_out, setting=made.setting)
    write_json(directory.path / "results.json", numbers)
    write_study(directory.path, page(made, numbers))
    require_places(options, directory)  # again: scoring takes a while
    for out, indices in ((options.out, made.kept), (options.dropped, made.others)):
        if out is not None:
            rows_out.write_rows(made.traced, options.facts, out, indices, made.columns, directory.note_output)
    directory.write(seeds=(options.seed,), left_out=left_out, setting=made.setting, finished=True)


show = show_study
