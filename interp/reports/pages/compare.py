"""Several runs on one page: numbers, claims and figures side by side, and what was set differently.

    python -m interp.report runs/one runs/other --compare --out compare.html

Numbers of two runs are subtracted only where both asked the same facts; else the page says that they are not
comparable, and shows them all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.output_files import begins_with, require_own_output
from interp.reports.figures.svg import inline_file
from interp.reports.pages import sentences as wording
from interp.reports.pages.render import render_template, write_page
from interp.reports.pages.run_differences import run_difference, shared_facts
from interp.reports.pages.study import CLAIMS, STUDY, load_study
from interp.reports.pages.tables import KINDS, TITLES
from interp.reports.read.run import RULE, MeasuredEstimate, NotMeasured, Run, read_object
from interp.stats import Estimate

PATTERN_ROWS = ("pattern_only", "placebo", "difference")


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run of a comparison; ``run`` is None where it is a study's."""

    name: str
    path: Path
    question: str
    finding: str
    outcome: str
    manifest: dict[str, Any]
    claims: tuple[dict[str, Any], ...]
    run: Run | None


@dataclass(frozen=True, kw_only=True)
class ComparedNumber:
    """A number as the page shows it: value and interval, or in ``missing`` why there is none."""

    value: str = ""
    bounds: str = ""
    n: int = 0
    missing: str = ""
    settled: bool = False


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """One number of every run, and how far each further run lies from the first."""

    name: str
    values: tuple[ComparedNumber, ...]
    apart: tuple[ComparedNumber, ...]


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
    return write_page(
        Path(out),
        render_comparison(
            [read_compared_run(path, name) for path, name in zip(paths, _names(paths), strict=True)]
        ),
    )


def read_compared_run(path: Path, name: str) -> ComparedRun:
    """Read what a comparison needs of one run directory.

    Raises:
        InputError: it is no finished run.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is no directory; name a run directory, such as runs/demo")
    manifest = read_object(path / "manifest.json")
    claims = _claims(path / CLAIMS)
    words: dict[str, Any]
    common: dict[str, Any] = {"name": name, "path": path, "manifest": manifest, "claims": claims}
    if (path / STUDY).is_file():
        study = load_study(path)
        words = {"question": study.question, "finding": study.finding, "outcome": study.outcome}
        return ComparedRun(**common, **words, run=None)
    try:
        run = Run.load(path)
    except InputError:
        if not claims:
            raise
        # A study of an earlier version: its claims can be compared all the same.
        return ComparedRun(**common, question="", finding=str(claims[0]["claim"]), outcome="", run=None)
    answer = wording.answer(run)
    words = {"question": wording.question(run), "finding": answer.sentences[0], "outcome": answer.verdict}
    return ComparedRun(**common, **words, run=run)


def render_comparison(sides: Sequence[ComparedRun]) -> str:
    """Render the comparison as one HTML text."""
    runs = [side.run for side in sides if side.run]
    whole = len(runs) == len(sides)
    return render_template(
        "compare.html.j2",
        sides=sides,
        facts=_facts(sides),
        numbers=number_tables(runs) if whole else [],
        claims=claim_rows(sides),
        settings=setting_differences(sides),
        figures=shared_figures(sides),
    )


def number_tables(runs: Sequence[Run]) -> list[tuple[str, str, list[NumberRow]]]:
    """Arrange the runs' headline numbers: for each kind a title, a unit, and a row an arm and contrast."""
    tables = []
    for kind, title in zip(KINDS, TITLES, strict=True):
        arms = [_row(runs, ("arms", name), kind, name) for name in _union(run.arms for run in runs)]
        contrasts = [
            _row(runs, ("contrasts", name), kind, " − ".join(name.rsplit("_minus_", 1)))
            for name in _union(run.contrasts for run in runs)
        ]
        unit = "0 to 1" if kind == "subject_attention" else "%, differences in points"
        tables.append((title, unit, arms + contrasts))
    recovery = [
        NumberRow(
            name=title,
            values=tuple(_entry(run.number("recovery", key), "accuracy") for run in runs),
            apart=(),
        )
        for key, title in zip(PATTERN_ROWS, ("right attention", "placebo", "difference"), strict=True)
        if any(run.number("recovery", key) for run in runs)
    ]
    return [*tables, *([("Brought back by a transplant of attention", "%", recovery)] if recovery else [])]


def claim_rows(sides: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Put each claim beside what every run measured of it; None where a run does not speak to it."""
    by_side = [{(str(c["claim"]), str(c["source"])): c for c in side.claims} for side in sides]
    return [
        {"claim": claim, "source": source, "cells": [held.get((claim, source)) for held in by_side]}
        for claim, source in _union(by_side)
    ]


def setting_differences(sides: Sequence[ComparedRun]) -> dict[str, Any]:
    """List what was set differently, and count what is the same: settings, versions, commit."""
    flat = []
    for side in sides:
        config, versions = (side.manifest.get(key) or {} for key in ("config", "versions"))
        rest = {"commit": side.manifest.get("git_commit"), "command": side.manifest.get("command")}
        flat.append({**config, **{f"{name} (version)": v for name, v in versions.items()}, **rest})
    names = _union(flat)
    rows = [(name, [_written(held, name) for held in flat]) for name in names]
    differing = [(name, cells) for name, cells in rows if len(set(cells)) > 1]
    return {"rows": differing, "same": len(rows) - len(differing)}


def shared_figures(sides: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Take the figures that any run has, the same one of every run beside each other."""
    names = _union(sorted(p.stem for p in (side.path / "figures").glob("*.svg")) for side in sides)
    return [
        {
            "name": name,
            "title": name.replace("_", " ").capitalize(),
            "drawn": [_figure(side, i, name) for i, side in enumerate(sides)],
        }
        for name in names
    ]


def _figure(side: ComparedRun, i: int, name: str) -> str:
    path = side.path / "figures" / f"{name}.svg"
    return inline_file(path, f"r{i}-{name}") if path.is_file() else ""


def _row(runs: Sequence[Run], keys: tuple[str, str], kind: wording.Kind, title: str) -> NumberRow:
    contrast = keys[0] == "contrasts"
    values = tuple(_entry(run.number(*keys, kind), kind, signed=contrast) for run in runs)
    return NumberRow(
        name=title, values=values, apart=tuple(_apart(runs[0], other, keys[1], kind) for other in runs[1:])
    )


def _apart(first: Run, other: Run, name: str, kind: wording.Kind) -> ComparedNumber:
    try:
        found = run_difference(first, other, name, kind)
    except NotMeasured as reason:
        return ComparedNumber(missing=str(reason))
    return _entry(found, kind, signed=True)


def _entry(number: Estimate | None, kind: wording.Kind, *, signed: bool = False) -> ComparedNumber:
    if number is None or number.value is None:
        return ComparedNumber(missing="not measured")
    measured = MeasuredEstimate(value=number.value, low=number.low, high=number.high, n=number.n)
    return ComparedNumber(
        value=wording.format_number(measured.value, kind, signed=signed),
        bounds=wording.format_interval(measured, kind, signed=signed),
        n=measured.n,
        settled=signed and bool(measured.direction),
    )


def _facts(sides: Sequence[ComparedRun]) -> list[str]:
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
                f"{other.name} asks other facts than {first.name} ({common:,} in common, of {m:,} "
                f"and {n:,}): their numbers stand side by side and are not comparable."
            )
    return said


def _claims(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(
            {key: str(claim[key]) for key in ("claim", "source", "measured", "outcome")}
            for claim in read_json(path)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None


def _written(held: dict[str, Any], name: str) -> str:
    value = held.get(name)
    if value is None or value == []:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _union(parts: Any) -> list[Any]:
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
