"""A study in its run directory, as data and figures, and its page, made from these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import write_json
from finetune.common.run_files import record_rewritten
from interp.reports.figures.style import save
from interp.reports.figures.svg import inline_file
from interp.reports.pages.fact_section import FactSection, study_fact_section
from interp.reports.pages.render import origin, render_template, write_page
from interp.reports.pages.study import (
    OUTCOMES,
    STUDY,
    Study,
    StudyTable,
    format_cell,
    load_study,
    study_data,
    write_claims,
)
from interp.reports.read.run import read_object


def write_study(run: Path | str, study: Study) -> Path:
    """Write figures, study.json, claims.json and report.html into a run directory; return the page's path.

    Raises:
        InputError: the directory has no manifest.
    """
    run = Path(run)
    if not (run / "manifest.json").is_file():
        raise InputError(f"{run}: holds no manifest.json; name the directory of a run")
    for each in study.figures:
        if each.figure is not None:
            save(each.figure, run / "figures" / each.name)
    write_claims(run, study.claims)
    write_json(run / STUDY, study_data(study))
    return rebuild(run)


def rebuild(run: Path | str) -> Path:
    """Write report.html again from the run directory of a study, and return its path.

    Raises:
        InputError: a file of the directory is missing or malformed.
    """
    run = Path(run)
    study, manifest = load_study(run), read_object(run / "manifest.json")
    drawn = {
        each.name: inline_file(run / "figures" / f"{each.name}.svg", each.name) for each in study.figures
    }
    html = render_study(run.resolve().name, study, manifest, drawn=drawn, facts=study_fact_section(run))
    written = write_page(run / "report.html", html)
    record_rewritten(run, [written])
    return written


def render_study(
    name: str, study: Study, manifest: dict[str, Any], *, drawn: dict[str, str], facts: FactSection
) -> str:
    """Render a study as one HTML text; ``drawn`` maps a figure's name to its SVG element."""
    claims = (claims_table(study),) if study.claims else ()
    return render_template(
        "study.html.j2",
        name=name,
        study=study,
        tables=(*claims, *study.tables),
        drawn=drawn,
        facts=facts,
        show=format_cell,
        outcomes=OUTCOMES,
        **origin(manifest),
    )


def claims_table(study: Study) -> StudyTable:
    """Lay a study's claims out, a row each."""
    return StudyTable(
        title="Claims",
        columns=("Claim", "Source", "Measured", "Outcome"),
        rows=tuple((c.claim, c.source, c.measured, c.outcome) for c in study.claims),
        note="Worded before the measurement. Supported: the whole 95% interval lies on the claimed side; "
        "not supported: on the other; inconclusive: on both.",
    )
