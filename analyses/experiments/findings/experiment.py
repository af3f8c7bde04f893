"""The experiment findings: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.experiments.findings.options import FindingsOptions
from analyses.experiments.findings.page import HEAD, RunFindings, findings_page
from finetune.common.files import atomic_file
from finetune.common.output_files import begins_with, require_own_output


def write(options: FindingsOptions) -> None:
    """Write the page of what runs decide."""
    options.check()
    require_own_output("--out", options.out, begins_with(HEAD))
    text = findings_page([RunFindings.load(run) for run in options.runs])
    with atomic_file(options.out) as path:
        path.write_text(text, encoding="utf-8")
