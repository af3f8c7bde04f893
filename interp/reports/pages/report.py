"""One self-contained HTML page from a run directory, its figures as files, and the headline for a terminal.

    python -m interp.report runs/demo
    python -m interp.report runs/demo --verdicts runs/verdicts
    python -m interp.report runs/one runs/other --compare --out compare.html

The page makes no network request: style, scripts, figures and data are inside it, and its own content
security policy forbids the browser to fetch anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from finetune.common.errors import InputError
from finetune.common.run_files import record_rewritten
from interp.reports.figures.evidence import hidden as draw_hidden
from interp.reports.figures.evidence import readout as draw_readout
from interp.reports.figures.evidence import trajectory as draw_trajectory
from interp.reports.figures.headlines import accuracy_by_quartile as draw_accuracy_by_quartile
from interp.reports.figures.headlines import contrasts as draw_contrasts
from interp.reports.figures.headlines import recovery as draw_recovery
from interp.reports.figures.heatmaps import attention_by_head as draw_attention_by_head
from interp.reports.figures.heatmaps import fact_attention as draw_fact_attention
from interp.reports.figures.stored_and_used import stored_and_used as draw_stored_and_used
from interp.reports.figures.style import inline_svg, save
from interp.reports.figures.training_curves import training_curves as draw_training_curves
from interp.reports.pages import sentences as wording
from interp.reports.pages import tables
from interp.reports.pages.fact_section import run_fact_section
from interp.reports.pages.render import origin, render_template, write_page
from interp.reports.pages.study import STUDY
from interp.reports.pages.study_page import rebuild
from interp.reports.read.run import NotMeasured, Run, as_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Drawn = Mapping[str, Figure | NotMeasured]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure of the page: its file name, its title, and the function that draws it from a run."""

    name: str
    title: str
    draw: Callable[[Run], Figure]


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure as the page shows it, or in ``missing`` the sentence that says why it does not."""

    name: str
    title: str
    svg: str = ""
    caption: str = ""
    alternative: str = ""
    missing: str = ""


def charts() -> tuple[Chart, ...]:
    """List the figures in the order of the page."""
    return (
        Chart(
            name="accuracy_by_quartile",
            title="Accuracy by popularity",
            draw=draw_accuracy_by_quartile,
        ),
        Chart(name="contrasts", title="Contrasts between arms", draw=draw_contrasts),
        Chart(name="recovery", title="What the right attention brings back", draw=draw_recovery),
        Chart(
            name="attention_by_head",
            title="Where attention left the subject",
            draw=draw_attention_by_head,
        ),
        Chart(name="hidden", title="What the last token needs to see", draw=draw_hidden),
        Chart(name="readout", title="What the subject's values say", draw=draw_readout),
        Chart(
            name="stored_and_used",
            title="What is stored and what is used",
            draw=draw_stored_and_used,
        ),
        Chart(name="training_curves", title="How the arms were trained", draw=draw_training_curves),
        Chart(name="trajectory", title="Along the training", draw=draw_trajectory),
        Chart(name="fact_attention", title="One fact, before and after", draw=draw_fact_attention),
    )


def draw(run: Run | Path | str) -> Drawn:
    """Draw every figure of a run once, to hand to both ``figures`` and ``report``.

    Returns:
        For each chart's name its figure, or the ``NotMeasured`` that says why there is none.

    Raises:
        InputError: the directory is no finished run.
    """
    run = as_run(run)
    drawn: dict[str, Figure | NotMeasured] = {}
    for chart in charts():
        try:
            drawn[chart.name] = chart.draw(run)
        except NotMeasured as reason:
            drawn[chart.name] = reason
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
            raise InputError(f"--verdicts {verdicts}: {run} is no run of attention_imbalance; leave it out")
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
    kept = ("example.json", "examples.json", "attention.json")
    if (path / "report.html").is_file() and not any((path / name).is_file() for name in kept):
        raise InputError(
            f"{path}: holds no {STUDY}, so its page cannot be made again; give its command with a new --out"
        )
    return False


def render_report(run: Run, *, drawn: Drawn | None = None, verdicts: Path | None = None) -> str:
    """Render the page of a run as one HTML text."""
    drawn = draw(run) if drawn is None else drawn
    return render_template(
        "report.html.j2",
        run=run,
        question=wording.question(run),
        answer=wording.answer(run),
        headline=tables.headline_numbers(run),
        contrasts=tables.contrast_numbers(run),
        specific=tables.specific_numbers(run),
        moved=tables.moved_heads(run),
        charts={chart.name: _shown(run, chart, drawn[chart.name]) for chart in charts()},
        facts=run_fact_section(run, verdicts),
        kept=[_title(run, example.fact_id) for example in run.examples],
        meanings=wording.arm_descriptions(run),
        **origin(run.manifest),
    )


def headline_table(run: Run | Path | str) -> Table:
    """Build the headline for a terminal: one row an arm, then the contrasts, each with its interval."""

    run = as_run(run)
    headline, contrasts = tables.headline_numbers(run), tables.contrast_numbers(run)
    answer = wording.answer(run)
    title = f"{answer.verdict.capitalize()}. {answer.sentences[0]}"
    table = Table(title=Text(title, "bold"), title_justify="left", box=SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False  # with these it fits into 80 columns
    table.add_column("", no_wrap=True)
    for title, unit in zip(
        ("All test facts", "Known to the base", "Subject attention"), headline.units, strict=True
    ):
        table.add_column(f"{title}\n{unit}", justify="right", no_wrap=True)
    for part in (headline, contrasts):
        for name, cells in part.rows:
            table.add_row(Text(name), *(Text(cell.value).append(_brief(cell), "dim") for cell in cells))
        table.add_section()
    counts = ", ".join(f"{n:,}" if n else "varying" for n in headline.shared_n)
    table.caption = (
        f"Accuracy in %, differences in points; 95% intervals over {_over(run)}; n = {counts} {run.unit}"
        f"{_specific(run)}"
    )
    return table


def _title(run: Run, fact_id: str) -> dict[str, str]:
    """Name a fact whose attention was kept, as the page lists it."""
    rows = run.facts[run.facts["fact_id"].astype(str) == fact_id]
    name = f"{rows['subject'].iloc[0]}, {rows['relation'].iloc[0]}" if len(rows) else fact_id
    return {"id": fact_id, "name": name}


def _shown(run: Run, chart: Chart, drawn: Figure | NotMeasured) -> PageFigure:
    if isinstance(drawn, NotMeasured):
        return PageFigure(name=chart.name, title=chart.title, missing=str(drawn))
    return PageFigure(
        name=chart.name,
        title=chart.title,
        svg=inline_svg(drawn, chart.name),
        caption=wording.caption(run, chart.name),
        alternative=wording.alternative(run, chart.name),
    )


def _brief(cell: tables.TableCell) -> str:
    return f" ({cell.bounds.replace('+', '').replace(' to ', ', ')})" if cell.bounds else ""


def _specific(run: Run) -> str:
    """Add to the headline what the commonest answers cannot explain."""
    found = tables.specific_numbers(run)
    if found is None:
        return ""
    told = "; ".join(f"{name} {cells[0].value}, {cells[1].value}" for name, cells in found.rows)
    return f". Known and not the commonest answer, and share of the modal answer (%): {told}"


def _over(run: Run) -> str:
    return "training seeds" if run.unit == "seeds" else "subjects"
