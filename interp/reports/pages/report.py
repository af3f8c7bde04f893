"""The report of a run directory: one self-contained HTML page, its figures as files, a terminal's headline.

    python -m interp.report runs/demo
    python -m interp.report runs/demo --verdicts runs/verdicts
    python -m interp.report runs/one runs/other --compare --out compare.html

The page makes no network request: style, scripts, figures and data are inside it, and its own content
security policy forbids the browser to fetch anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.common.errors import InputError
from finetune.common.run_files import record_rewritten
from interp.reports.figures.evidence import hidden, readout, stored_and_used, trajectory
from interp.reports.figures.experiments import training_curves
from interp.reports.figures.headlines import accuracy_by_quartile, contrasts, recovery
from interp.reports.figures.heatmaps import attention_by_head, fact_attention
from interp.reports.figures.style import inline_svg, save
from interp.reports.pages.fact_section import run_fact_section
from interp.reports.pages.render import render_study
from interp.reports.pages.run_study import run_study
from interp.reports.pages.sentences import recovery_sentence
from interp.reports.pages.study import STUDY, StudyFigure, headline
from interp.reports.pages.study_page import rebuild
from interp.reports.read.run import NotMeasured, Run, as_run
from interp.reports.views.view import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    Drawn = Mapping[str, Figure | NotMeasured]


@dataclass(frozen=True)
class Chart:
    """A figure of the page: its title, how it is drawn from a run, its kind for ears, and its caption."""

    title: str
    draw: Callable[[Run], Figure]
    alternative: str
    caption: str

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.draw.__name__


CHARTS = (  # in the order of the page; what stands in braces is the run's
    Chart(
        "Accuracy by popularity",
        accuracy_by_quartile,
        "Line chart of accuracy by popularity quartile for each arm.",
        "Accuracy on held-out facts, from the most to the least popular quarter. Look for arms that part "
        "on the right, where facts are rare. Bars are 95% intervals, {over}; n stands below each quarter.",
    ),
    Chart(
        "Contrasts between arms",
        contrasts,
        "Forest plot of the paired contrasts; the same numbers stand in the table of arms.",
        "Paired differences between arms. An interval that does not touch zero settles the sign. Bars are "
        "95% intervals, {over}{singles}.",
    ),
    Chart(
        "What the right attention brings back",
        recovery,
        "Bar chart. {recovery}",
        "Attention rows carry no answer: what they bring back was stored in the bottom arm all along. Look "
        "at the difference, since another subject's rows, asked in the same way, bring some facts back "
        "too. Bars are 95% intervals, {over}.",
    ),
    Chart(
        "Where attention left the subject",
        attention_by_head,
        "Heat maps of subject-attention mass by layer and head for each arm.",
        "Attention mass that the last prompt token puts on the subject, by layer and head, mean over test "
        "facts{n}, and the change against the base. Look for the few heads that carry the change. A dot, "
        "where cells are large enough, marks a head whose 95% interval does not overlap the base's.",
    ),
    Chart(
        "What the last token needs to see",
        hidden,
        "Point chart of the log-probability lost when a part of the prompt is hidden, by arm.",
        "What hiding a part of the prompt from the last token, in all layers, takes from the "
        "log-probability of the answer, mean over known facts. An arm that lost attention to the subject "
        "has little left to lose when the subject is hidden. Bars are 95% intervals, {over}.",
    ),
    Chart(
        "What the subject's values say",
        readout,
        "Point chart of how often the gold answer is read first from the values, by arm.",
        "Share of known facts whose gold answer, of all its relation's answers, is the one that the "
        "subject's value vectors favour most, summed over heads and read straight into the logits. Look "
        "from arm to arm: where stored stays and used falls, values still hold what attention no longer "
        "fetches. Direct paths only: what later layers make of the values is not counted. Bars are 95% "
        "intervals, {over}.",
    ),
    Chart(
        "What is stored and what is used",
        stored_and_used,
        "Point chart of the answer's readout from the values, by arm, right and wrong.",
        "The gold answer's readout from the subject's value vectors, in logits over the mean of the "
        "relation's answers: unweighted (stored) and weighted by attention (used). Filled points are facts "
        "answered right, open ones facts answered wrong, of those that the base knows. Look for wrong "
        "answers to facts whose stored readout is as high as that of right ones. Bars are 95% intervals.",
    ),
    Chart(
        "Along the training",
        trajectory,
        "Line charts of accuracy and of subject-attention mass by training step.",
        "Accuracy and subject-attention mass of the checkpoints along the training, the base at step 0. "
        "Look for accuracy that falls, and whether attention leaves the subject by the same step. Bars are "
        "95% intervals, {over}.",
    ),
    Chart(
        "How the arms were trained",
        training_curves,
        "Line charts of validation accuracy and of training loss by training step.",
        "Validation accuracy and training loss of every arm along its training, at the learning rate that "
        "validation chose{trainings}. Look for arms that still climb at the end, or fall after their best "
        "step.",
    ),
    Chart(
        "One fact, head by head",
        fact_attention,
        "Heat map of one fact's attention, for the heads that changed most.",
        "One fact (n = 1, an illustration): what the last prompt token attends to, head by head, the arms "
        "of a head under each other and the subject's tokens framed. Heads stand in order of how much the "
        "subject's share changed. Look for colour that leaves the frame.",
    ),
)


def draw(run: Run | Path | str) -> Drawn:
    """Draw every figure of a run once, to hand to both ``write_figures`` and ``report``.

    Returns:
        For each chart's name its figure, or the ``NotMeasured`` that says why there is none.

    Raises:
        InputError: the directory is no finished run.
    """
    run = as_run(run)
    drawn: dict[str, Figure | NotMeasured] = {}
    for chart in CHARTS:
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
    """Render the page of a run, a study with the table of its facts, as one HTML text."""
    drawn = draw(run) if drawn is None else drawn
    study = run_study(run, [_shown(run, chart, drawn[chart.name]) for chart in CHARTS])
    svgs = {each.name: inline_svg(each.figure, each.name) for each in study.figures if each.figure}
    name, facts = run.path.resolve().name, run_fact_section(run, verdicts)
    return render_study(name, study, run.manifest, drawn=svgs, facts=facts)


def headline_table(run: Run | Path | str) -> Table:
    """Build the headline for a terminal: one row an arm, then the contrasts, each with its interval."""
    study = run_study(as_run(run))
    return headline(replace(study, finding=f"{study.outcome.capitalize()}. {study.finding}"))


def _shown(run: Run, chart: Chart, drawn: Figure | NotMeasured) -> StudyFigure:
    """Word a chart for a run: over what its intervals are, and of how many facts or trainings it is."""
    if isinstance(drawn, NotMeasured):
        return StudyFigure(name=chart.name, figure=None, caption="", title=chart.title, missing=str(drawn))
    several = run.unit == "seeds"
    words = {
        "over": f"over {len(run.seeds)} training seeds" if several else "bootstrapped over subjects",
        "singles": "; grey rows are single seeds, with intervals over subjects" if several else "",
        "trainings": f", mean of {len(run.seeds)} trainings" if several else "",
        "n": "",
        "recovery": recovery_sentence(run),
    }
    if run.attention:
        words["n"] = f" (n = {run.attention.n:,}{f', seed {run.seeds[0]}' if several else ''})"
    texts = {key: getattr(chart, key).format(**words) for key in ("caption", "alternative")}
    return StudyFigure(name=chart.name, figure=drawn, title=chart.title, **texts)
