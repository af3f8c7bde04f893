"""One self-contained HTML page from a run directory, its figures as files, and the headline for a terminal.

    python -m interp.report runs/demo

The page makes no network request: style, scripts, figures and data are inside it, and its own content
security policy forbids the browser to fetch anything else.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.facts import InputError
from finetune.files import atomic_file
from interp import tables, wording
from interp.run import BASE, NotMeasured, Run, as_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    Drawn = Mapping[str, Figure | NotMeasured]

MOST_EXAMPLES = 3  # of each reason for leaving something out
MOST_REASONS = 25


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure of the page: its file name, its title, and the function that draws it from a run."""

    name: str
    title: str
    draw: Callable[[Run], Figure]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A figure as the page shows it, or in ``missing`` the sentence that says why it does not."""

    name: str
    title: str
    svg: str = ""
    caption: str = ""
    alternative: str = ""
    missing: str = ""


def charts() -> tuple[Chart, ...]:
    """List the figures in the order of the page."""
    from interp import evidence, figures, heatmaps

    return (
        Chart(name="accuracy_by_quartile", title="Accuracy by popularity", draw=figures.accuracy_by_quartile),
        Chart(name="contrasts", title="Contrasts between arms", draw=figures.contrasts),
        Chart(name="recovery", title="What the right attention brings back", draw=figures.recovery),
        Chart(
            name="attention_by_head",
            title="Where attention left the subject",
            draw=heatmaps.attention_by_head,
        ),
        Chart(name="hidden", title="What the last token needs to see", draw=evidence.hidden),
        Chart(name="readout", title="What the subject's values say", draw=evidence.readout),
        Chart(name="trajectory", title="Along the training", draw=evidence.trajectory),
        Chart(name="fact_attention", title="One fact, before and after", draw=heatmaps.fact_attention),
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


def figures(run: Run | Path | str, *, drawn: Drawn | None = None) -> list[Path]:
    """Write every figure that the run has numbers for as figures/NAME.svg and .png; return the files.

    Raises:
        InputError: the directory is no finished run.
    """
    from interp.style import save

    run = as_run(run)
    return [
        path
        for name, figure in (draw(run) if drawn is None else drawn).items()
        if not isinstance(figure, NotMeasured)
        for path in save(figure, run.path / "figures" / name)
    ]


def report(run: Run | Path | str, *, drawn: Drawn | None = None) -> Path:
    """Write report.html into the run directory and return its path.

    Raises:
        InputError: the directory is no finished run.
    """
    run = as_run(run)
    path = run.path / "report.html"
    with atomic_file(path) as temporary:
        # A lone surrogate, from a token that is half a character, cannot be encoded.
        temporary.write_text(page(run, drawn=drawn), encoding="utf-8", errors="replace")
    return path


def page(run: Run, *, drawn: Drawn | None = None) -> str:
    """Render the page of a run as one HTML text."""
    from interp.viz import bundle, example_views, script_json

    views = example_views(run.example) if run.example else {}
    drawn = draw(run) if drawn is None else drawn
    shown = {chart.name: _shown(run, chart, drawn[chart.name]) for chart in charts()}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            manifest=run.manifest,
            question=wording.question(run),
            answer=wording.answer(run),
            headline=tables.headline(run),
            contrasts=tables.contrasts(run),
            moved=tables.moved_heads(run),
            charts=shown,
            table=tables.fact_table(run),
            left_out=reasons(run.manifest.get("left_out", ())),
            meanings=wording.meanings(run),
            views=list(views),
            before=next((i for i, arm in enumerate(views) if arm == BASE), 0),
            after=_after(list(views)),
            circuit_data=script_json(list(views.values())),
            bundle=bundle() if views else "",
            configuration=json.dumps(run.manifest.get("config"), indent=2, ensure_ascii=False),
        )
    )


def headline_table(run: Run | Path | str) -> Table:
    """Build the headline for a terminal: one row an arm, then the contrasts, each with its interval."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    run = as_run(run)
    headline, contrasts = tables.headline(run), tables.contrasts(run)
    table = Table(
        title=Text(wording.answer(run).verdict.capitalize(), "bold"), title_justify="left", box=SIMPLE_HEAD
    )
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
    )
    return table


def reasons(left_out: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Group what was left out by reason, numbers and quoted names aside, the most frequent first."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for item in left_out:
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", str(item["reason"]))
        groups.setdefault(kind, []).append(item)
    ordered = sorted(groups.values(), key=len, reverse=True)
    rows = [
        {"reason": g[0]["reason"], "count": len(g), "examples": g[:MOST_EXAMPLES]}
        for g in ordered[:MOST_REASONS]
    ]
    if rest := ordered[MOST_REASONS:]:
        rows.append({"reason": f"{len(rest)} other reasons", "count": sum(map(len, rest)), "examples": []})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures and the page of the run directories named on the command line."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m interp.report", description="Write figures and report.html."
    )
    parser.add_argument("run", nargs="+", type=Path, help="a run directory, such as runs/demo")
    options = parser.parse_args(arguments)
    from rich.console import Console

    try:
        for path in options.run:
            run = Run.load(path)
            drawn = draw(run)
            figures(run, drawn=drawn)
            written = report(run, drawn=drawn)
            Console().print(headline_table(run))
            Console().print(str(written), markup=False, highlight=False, soft_wrap=True)
    except InputError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0


def environment() -> Any:
    """Return the templates, with everything escaped that is put into them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("interp", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = wording.number
    environment.filters["popularity"] = lambda views: f"{views:,.0f}" if views >= 100 else f"{views:.3g}"
    return environment


def _shown(run: Run, chart: Chart, drawn: Figure | NotMeasured) -> Shown:
    from interp.style import inline_svg

    if isinstance(drawn, NotMeasured):
        return Shown(name=chart.name, title=chart.title, missing=str(drawn))
    return Shown(
        name=chart.name,
        title=chart.title,
        svg=inline_svg(drawn, chart.name),
        caption=wording.caption(run, chart.name),
        alternative=wording.alternative(run, chart.name),
    )


def _brief(cell: tables.Cell) -> str:
    return f" ({cell.bounds.replace('+', '').replace(' to ', ', ')})" if cell.bounds else ""


def _over(run: Run) -> str:
    return "training seeds" if run.unit == "seeds" else "subjects"


def _after(arms: Sequence[str]) -> int:
    """Choose the arm to show beside the base at first: bottom, where attention left, or the first other."""
    if "bottom" in arms:
        return arms.index("bottom")
    return next((i for i, arm in enumerate(arms) if arm != BASE), 0)


if __name__ == "__main__":
    sys.exit(main())
