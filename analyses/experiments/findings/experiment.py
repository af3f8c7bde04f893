"""The experiment findings: what runs decide as a page, and what studies found as a part of another."""

from __future__ import annotations

from analyses.experiments.findings.options import FindingsOptions
from analyses.experiments.findings.page import HEAD, RunFindings, claims_page, with_studies
from analyses.experiments.findings.study_section import write_study
from finetune.common.files import atomic_file
from finetune.common.output_files import begins_with, require_own_output


def write(options: FindingsOptions) -> None:
    """Write the page of what runs decide, and the part of the findings that studies make."""
    options.check()
    texts = {}
    if options.runs:
        require_own_output("--out", options.out, begins_with(HEAD))
        texts[options.out] = claims_page([RunFindings.load(run) for run in options.runs])
    if options.studies:
        made = [write_study(folder, options.findings) for folder in options.studies]
        texts[options.findings] = with_studies(options.findings, made)
    for page, text in texts.items():
        with atomic_file(page) as path:
            path.write_text(text, encoding="utf-8")
