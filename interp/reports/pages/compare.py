"""A comparison of several runs as a study: numbers, claims and figures side by side, and differing settings.

    python -m interp.report runs/one runs/other --compare --out compare.html

Numbers of two runs are subtracted only where both asked the same facts; else the page says that they are not
comparable, and shows them all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.output_files import begins_with, require_own_output
from interp.reports.figures.svg import inline_file
from interp.reports.pages import sentences as wording
from interp.reports.pages.render import render_study
from interp.reports.pages.run_differences import run_difference, shared_facts
from interp.reports.pages.run_study import KINDS, write_number
from interp.reports.pages.study import CLAIMS, NOT_MEASURED, STUDY, Study, StudyFigure, StudyTable
from interp.reports.pages.study_files import load_study
from interp.reports.read.files import expected_layout, read_object, read_optional, row_files
from interp.reports.read.run import MeasuredEstimate, NotMeasured, Run
from interp.reports.views.view import write_page

PATTERN_ROWS = {"pattern_only": "right attention", "placebo": "placebo", "difference": "difference, points"}


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run of a comparison; ``run`` is None where it is a study's."""

    name: str
    path: Path
    question: str
    finding: str
    outcome: str
    manifest: dict[str, Any]
    claims: tuple[dict[str, str], ...]
    run: Run | None


def compare(runs: Sequence[Path | str], out: Path | str = "compare.html") -> Path:
    """Write one page about several run directories, of one analysis or of several, and return its path.

    Raises:
        InputError: fewer than two directories, one twice, or one that is no finished run.
    """
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise InputError("--compare: name two run directories or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("--compare: a directory is named twice; name each run once")
    require_own_output("--out", Path(out), begins_with('<meta name="generator" content="factscope">'))
    sides = [read_compared_run(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    study = comparison(sides)
    drawn = {
        figure.name: inline_file(side.path / "figures" / f"{figure.name.partition('-')[2]}.svg", figure.name)
        for figure in study.figures
        for side in sides
        if figure.caption == side.name and not figure.missing
    }
    html = render_study("comparison", study, {}, drawn=drawn, row_files=row_files(*paths))
    return write_page(Path(out), html)


def read_compared_run(path: Path, name: str) -> ComparedRun:
    """Read what a comparison needs of one run directory.

    Raises:
        InputError: it is no finished run.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is no directory; name a run directory, such as runs/demo")
    keys, run = ("claim", "source", "measured", "outcome"), None
    with expected_layout(path / CLAIMS):
        claims = [{key: str(claim[key]) for key in keys} for claim in read_optional(path / CLAIMS, [])]
    manifest = read_object(path / "manifest.json")
    if (path / STUDY).is_file():
        study = load_study(path)
        words = study.question, study.finding, study.outcome
    else:
        try:
            run = Run.load(path)
        except InputError:
            if not claims:
                raise
            # A study of an earlier version: its claims can be compared all the same.
            words = "", claims[0]["claim"], ""
        else:
            answer = wording.answer(run)
            words = wording.question(run), answer.sentences[0], answer.verdict
    said = dict(zip(("question", "finding", "outcome"), words, strict=True))
    return ComparedRun(name=name, path=path, manifest=manifest, claims=tuple(claims), run=run, **said)


def comparison(sides: Sequence[ComparedRun]) -> Study:
    """Lay runs out beside each other as a study; a figure's caption names its run."""
    runs = [side.run for side in sides if side.run]
    numbers = number_tables(runs, [side.name for side in sides]) if len(runs) == len(sides) else []
    claims = claim_table(sides)
    told = [
        (each.name, each.outcome, each.question, each.finding, str(each.manifest.get("setting") or ""))
        for each in sides
    ]
    columns = ("Run", "Outcome", "Question", "Finding", "Setting")
    return Study(
        title="Compared",
        question=f"{len(sides)} runs compared",
        finding=", ".join(side.name for side in sides),
        outcome="side by side",
        answer=tuple(_same_facts(sides)),
        tables=(
            StudyTable(title="Runs", columns=columns, rows=tuple(told)),
            *numbers,
            *([claims] if claims.rows else []),
            setting_differences(sides),
        ),
        figures=tuple(shared_figures(sides)),
    )


def number_tables(runs: Sequence[Run], names: Sequence[str]) -> list[StudyTable]:
    """Arrange the runs' headline numbers: for each kind a row an arm and a row a contrast."""
    arms, contrasts = _union(run.arms for run in runs), _union(run.contrasts for run in runs)
    tables = []
    for kind, (title, unit) in KINDS.items():
        rows, bold = [], []
        for i, name in enumerate((*arms, *contrasts)):
            paired = name in contrasts
            group = "contrasts" if paired else "arms"
            values = [run.number(group, name, kind) for run in runs]
            apart = [_difference(runs[0], other, name, kind) for other in runs[1:]]
            rows.append(
                (
                    wording.contrast_name(name) if paired else name,
                    *(write_number(number, kind, signed=paired) for number in values),
                    *(
                        each if isinstance(each, str) else write_number(each, kind, signed=True)
                        for each in apart
                    ),
                )
            )
            settled = [number if paired else None for number in values] + apart
            bold += [
                (i, k + 1)
                for k, number in enumerate(settled)
                if isinstance(number, MeasuredEstimate) and number.direction
            ]
        columns = (f"{title}, {unit}", *names, *(f"{other} − {names[0]}" for other in names[1:]))
        points = "; differences are in points" if unit == "%" else ""
        note = (
            f"95% intervals. A difference is the further run's number minus that of {names[0]}, paired by "
            f"fact{points}, in bold where their interval excludes zero."
        )
        tables.append(StudyTable(title=title, columns=columns, rows=tuple(rows), note=note, bold=tuple(bold)))
    found = {key: [run.number("recovery", key) for run in runs] for key in PATTERN_ROWS}
    back = tuple(
        (PATTERN_ROWS[key], *(write_number(each, "accuracy", signed=key == "difference") for each in some))
        for key, some in found.items()
        if any(some)
    )
    title = "Brought back by a transplant of attention"
    return [*tables, *([StudyTable(title=title, columns=("%", *names), rows=back)] if back else [])]


def claim_table(sides: Sequence[ComparedRun]) -> StudyTable:
    """Put each claim beside what every run measured of it."""
    by_side = [{(c["claim"], c["source"]): _decided(**c) for c in side.claims} for side in sides]
    rows = tuple(
        (*claim, *(held.get(claim, "does not speak to it") for held in by_side)) for claim in _union(by_side)
    )
    columns = ("Claim", "Source", *(side.name for side in sides))
    return StudyTable(title="Claims by run", columns=columns, rows=rows)


def _decided(outcome: str, measured: str, **claim: str) -> str:
    return measured if measured == NOT_MEASURED else f"{outcome}: {measured}"


def setting_differences(sides: Sequence[ComparedRun]) -> StudyTable:
    """List what was set differently, and count what is the same: settings, versions, commit."""
    flat = []
    for side in sides:
        config, versions = (side.manifest.get(key) or {} for key in ("config", "versions"))
        rest = {"commit": side.manifest.get("git_commit"), "command": side.manifest.get("command")}
        flat.append({**config, **{f"{name} (version)": v for name, v in versions.items()}, **rest})
    rows = [(name, *(_written(held.get(name)) for held in flat)) for name in _union(flat)]
    differing = tuple(row for row in rows if len(set(row[1:])) > 1)
    note = f"{len(rows) - len(differing)} other settings and versions are the same."
    columns = ("Setting", *(side.name for side in sides))
    return StudyTable(title="What was set differently", columns=columns, rows=differing, note=note)


def shared_figures(sides: Sequence[ComparedRun]) -> list[StudyFigure]:
    """List the figures that any run has, the same one of every run beside each other."""
    held = [sorted(path.stem for path in (side.path / "figures").glob("*.svg")) for side in sides]
    return [
        StudyFigure(
            name=f"r{i}-{name}",
            figure=None,
            caption=side.name,
            title=(title := name.replace("_", " ").capitalize()),
            alternative=f"{title} of {side.name}",
            missing="" if name in held[i] else f"{side.name}: has no such figure",
        )
        for name in _union(held)
        for i, side in enumerate(sides)
    ]


def _difference(first: Run, other: Run, name: str, kind: str) -> MeasuredEstimate | str:
    try:
        return run_difference(first, other, name, kind)
    except NotMeasured as reason:
        return str(reason)


def _same_facts(sides: Sequence[ComparedRun]) -> list[str]:
    """Say of every further run whether it asked the facts of the first."""
    first, *others = sides
    said = []
    for other in others:
        if first.run is None or other.run is None:
            continue
        common, n, m = shared_facts(first.run, other.run)
        if common == n == m:
            said.append(
                f"{other.name} asks the same {n:,} facts as {first.name}: differences are paired by fact."
            )
        else:
            said.append(
                f"{other.name} asks other facts than {first.name} ({common:,} in common, of {m:,} and "
                f"{n:,}): their numbers stand side by side and are not comparable."
            )
    return said


def _written(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _union(parts: Iterable[Iterable[Any]]) -> list[Any]:
    """List what any of the parts holds, in the order of first appearance."""
    return list(dict.fromkeys(item for part in parts for item in part))


def _names(paths: Sequence[Path]) -> list[str]:
    """Name directories by their last parts, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
