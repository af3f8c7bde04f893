"""The report of a run directory: one self-contained HTML page, its figures as files, a terminal's headline.

    python -m interp.report runs/demo
    python -m interp.report runs/demo --verdict-run runs/verdicts
    python -m interp.report runs/one runs/other --compare --out compare.html

The page makes no network request: style, scripts, figures and data are inside it, and its own content
security policy forbids the browser to fetch anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.common.errors import InputError
from finetune.common.run_files import record_rewritten
from interp.reports.figures.evidence import hidden, readout, stored_and_used, trajectory
from interp.reports.figures.experiments import training_curves
from interp.reports.figures.headlines import accuracy_by_quartile, contrasts, recovery
from interp.reports.figures.heatmaps import attention_by_head, fact_attention
from interp.reports.figures.style import inline_svg, save
from interp.reports.pages.captions import observed, title_of
from interp.reports.pages.fact_section import run_fact_section
from interp.reports.pages.render import render_study
from interp.reports.pages.run_study import run_study
from interp.reports.pages.sentences import recovery_sentence, run_words
from interp.reports.pages.study import STUDY, StudyFigure
from interp.reports.pages.study_page import headline, rebuild
from interp.reports.read.files import read_object, row_files
from interp.reports.read.run import NotMeasured, Run, as_run
from interp.reports.views.view import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    Drawn = Mapping[str, Figure | NotMeasured]


CHARTS: dict[str, Callable[[Run], Figure]] = {  # in the order of the page
    chart.__name__: chart
    for chart in (
        *(accuracy_by_quartile, contrasts, recovery, attention_by_head, hidden, readout, stored_and_used),
        *(trajectory, training_curves, fact_attention),
    )
}


def draw(run: Run | Path | str) -> Drawn:
    """Draw every figure of a run once, to hand to both ``write_figures`` and ``report``.

    Returns:
        For each chart's name its figure, or the ``NotMeasured`` that says why there is none.

    Raises:
        InputError: the directory is no finished run.
    """
    run = as_run(run)
    drawn: dict[str, Figure | NotMeasured] = {}
    for name, chart in CHARTS.items():
        try:
            drawn[name] = chart(run)
        except NotMeasured as reason:
            drawn[name] = reason
    return drawn


def write_figures(run: Run | Path | str, *, drawn: Drawn | None = None) -> list[Path]:
    """Write every figure that the run has numbers for as figures/NAME.svg and .png; return the files.

    Raises:
        InputError: the directory is no finished run.
    """
    run = as_run(run)
    written = [
        path
        for name, figure in (draw(run) if drawn is None else drawn).items()
        if not isinstance(figure, NotMeasured)
        for path in save(figure, run.path / "figures" / name)
    ]
    record_rewritten(run.path, written)
    return written


def report(run: Run | Path | str, *, drawn: Drawn | None = None, verdicts: Path | str | None = None) -> Path:
    """Write report.html into a run directory and return its path.

    The directory may be any analysis's: a study's page is made again from what the study left.

    Args:
        run: a run of attention_imbalance, or the directory of any run.
        drawn: the figures, where they are drawn already.
        verdicts: a run of stored_or_suppressed on this run's checkpoints, for the table of facts.

    Raises:
        InputError: the directory is no finished run, or ``verdicts`` judges other facts.
    """
    if not isinstance(run, Run) and is_study(Path(run)):
        if verdicts is not None:
            raise InputError(
                f"--verdict-run {verdicts}: {run} is no run of attention_imbalance; leave it out"
            )
        return rebuild(run)
    run = as_run(run)
    judged = None if verdicts is None else Path(verdicts)
    written = write_page(run.path / "report.html", render_report(run, drawn=drawn, verdicts=judged))
    record_rewritten(run.path, [written])
    return written


def is_study(path: Path) -> bool:
    """Say whether a directory holds a study, rather than a run of attention_imbalance.

    Raises:
        InputError: it holds a study that an earlier version left.
    """
    if (path / STUDY).is_file():
        return True
    results = path / "results.json"
    if (path / "report.html").is_file() and "arms" not in (read_object(results) if results.is_file() else {}):
        raise InputError(
            f"{path}: holds no {STUDY}, so its page cannot be made again; give its command with a new --out"
        )
    return False


def render_report(run: Run, *, drawn: Drawn | None = None, verdicts: Path | None = None) -> str:
    """Render the page of a run, a study with the table of its facts, as one HTML text."""
    drawn = draw(run) if drawn is None else drawn
    # Nobody misses the steps of a training where no arm is one.
    idle = set() if any(arm.startswith("checkpoint-") for arm in run.arms) else {"trajectory"}
    study = run_study(run, [_shown(run, name, drawn[name]) for name in CHARTS if name not in idle])
    svgs = {each.name: inline_svg(each.figure, each.name) for each in study.figures if each.figure}
    name, facts = run.path.resolve().name, run_fact_section(run, verdicts)
    return render_study(name, study, run.manifest, drawn=svgs, facts=facts, row_files=row_files(run.path))


def headline_table(run: Run | Path | str) -> Table:
    """Build the headline for a terminal: one row an arm, then the contrasts, each with its interval."""
    study = run_study(as_run(run))
    return headline(replace(study, finding=f"{study.outcome.capitalize()}. {study.finding}"))


def _shown(run: Run, name: str, drawn: Figure | NotMeasured) -> StudyFigure:
    """Word a chart for a run: over what its intervals are, and of how many facts or trainings it is."""
    words = run_words()["charts"][name]
    if isinstance(drawn, NotMeasured):
        return StudyFigure(name=name, figure=None, caption="", title=words["title"], missing=str(drawn))
    several, seed = run.unit == "seeds", f", seed {run.seeds[0]}" if run.unit == "seeds" else ""
    told = {
        "over": f"over {len(run.seeds)} training seeds" if several else "bootstrapped over subjects",
        "singles": "; grey rows are single seeds, with intervals over subjects" if several else "",
        "trainings": f", mean of {len(run.seeds)} trainings" if several else "",
        "n": f" (n = {run.attention.n:,}{seed})" if run.attention else "",
        "recovery": recovery_sentence(run),
        "observed": observed(run, name),
    }
    texts = {key: " ".join(text.format(**told).split()) for key, text in words.items()}
    texts["title"] = title_of(run, name, texts["title"])
    return StudyFigure(name=name, figure=drawn, **texts)
