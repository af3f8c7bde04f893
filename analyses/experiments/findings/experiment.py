"""The experiment findings: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.experiments.findings.options import FindingsOptions
from analyses.experiments.findings.page import HEAD, RunFindings, findings_page, runs_part, runs_part_of
from analyses.experiments.findings.study_section import write_study
from finetune.common.files import atomic_file
from finetune.common.output_files import begins_with, require_own_output


def write(options: FindingsOptions) -> None:
    """Write the page of what runs decide."""
    options.check()
    require_own_output("--out", options.out, begins_with(HEAD))
    of_runs = runs_part([RunFindings.load(run) for run in options.runs])
    if not options.runs:
        of_runs = runs_part_of(options.out)
    text = findings_page([write_study(folder, options.out) for folder in options.studies], of_runs)
    with atomic_file(options.out) as path:
        path.write_text(text, encoding="utf-8")
