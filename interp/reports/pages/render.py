"""Rendering a study as one self-contained HTML page, everything escaped that is put into it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from interp.reports.pages.fact_section import FactSection
from interp.reports.pages.sentences import run_words, scope
from interp.reports.pages.study import (
    NOT_MEASURED,
    OUTCOMES,
    Cell,
    Study,
    StudyFigure,
    StudyTable,
    format_cell,
)
from interp.reports.views.view import template_environment

PAPER = (
    " The paper: Ghosal, Hashimoto & Raghunathan, Understanding Finetuning for Factual Knowledge Extraction, "
    "ICML 2024, arXiv 2406.14785; its claims: 1, popular facts are the better ones to fine-tune on; 2, facts "
    "that were seen more often are more salient; 3, unpopular facts draw attention off the subject; 4, what "
    "is lost is still stored."
)
MOST_EXAMPLES = 3  # of each reason for leaving something out
MOST_REASONS = 25
YES_NO = {"supported": "yes", "not supported": "no", "inconclusive": "cannot tell"}
ASKS_YES_OR_NO = ("Does", "Do", "Is", "Are", "Was", "Can", "Should")
ENLARGED = 1.1  # figures are drawn for print, in 8 pt type
# Letters of Hebrew, Arabic and other scripts that are read from right to left, and what stands between them.
_TURNED = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff](?:[^<>&;]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff])?"
)
_OWN_SIZE = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"')


def render_study(
    name: str,
    study: Study,
    manifest: Mapping[str, Any],
    *,
    drawn: Mapping[str, str],
    facts: FactSection | None = None,
    row_files: Sequence[str] = (),
) -> str:
    """Render a study as one HTML text.

    Args:
        name: what the page calls its run.
        study: what is shown.
        manifest: where the numbers come from; without one the page says nothing of that.
        drawn: the SVG element of each figure by name.
        facts: the table of facts, where there is one.
        row_files: the run's files of rows, from which its numbers can be computed again.
    """
    environment, terms = template_environment(), Terms()
    environment.filters |= {
        "figure": own_size,
        "cell": write_cell,
        "terms": terms.opened,
        "isolated": isolated,
    }
    # Figures of one title stand beside each other: the first of them does not leave the others.
    shared = Counter(each.title for each in study.figures if each.title)
    lead = next((each for each in study.figures if not each.missing and shared[each.title] < 2), None)
    return environment.get_template("page.html.j2").render(
        name=name,
        study=study,
        outcome=answered(study, manifest),
        terms=terms,
        lead=lead,
        tables=(*((claims_table(study),) if study.claims else ()), *study.tables),
        figures=list(side_by_side([each for each in study.figures if each is not lead])),
        drawn=drawn,
        row_files=row_files,
        facts=facts or FactSection(),
        manifest=manifest,
        left_out=left_out_table(manifest.get("left_out") or ()),
        origin=origin(manifest),
        configuration=json.dumps(manifest.get("config"), indent=2, ensure_ascii=False),
    )


def answered(study: Study, manifest: Mapping[str, Any]) -> str:
    """Answer a question of yes or no by yes, no or cannot tell, and say of what; another by its outcome."""
    word = YES_NO.get(study.outcome)
    if word is None or study.question.partition(" ")[0] not in ASKS_YES_OR_NO:
        return study.outcome
    return f"{word}, {scope(manifest.get('config') or {})}"


class Terms:
    """Lets the first mention of a term on a page open its definition, without a script."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = run_words()["terms"]
        self.used: dict[str, str] = {}
        self._pattern = re.compile(rf"\b({'|'.join(self.texts)}|knows)(e?s)?\b", re.I)

    def opened(self, text: str) -> Markup:
        """Escape a text and turn each term's first mention into a button; ``used`` has its definition."""

        def button(found: re.Match[str]) -> str:
            term = {"knows": "known"}.get(found[1].lower(), found[1].lower())
            if term in self.used:
                return found[0]
            self.used[term] = self.texts[term]
            return f'<button type="button" class="term" popovertarget="term-{term}">{found[0]}</button>'

        return Markup(self._pattern.sub(button, str(isolated(text))))


def claims_table(study: Study) -> StudyTable:
    """Lay a study's claims out, a row each."""
    return StudyTable(
        title="Claims",
        columns=("Claim", "Source", "Measured", "Outcome"),
        rows=tuple((c.claim, c.source, c.measured, c.outcome) for c in study.claims),
        note="Worded before the measurement. Supported: the whole 95% interval lies on the claimed side; "
        "not supported: on the other; inconclusive: on both, or there is no interval; not measured: no "
        f"number speaks to it.{PAPER if any(c.source.startswith('paper') for c in study.claims) else ''}",
    )


def side_by_side(figures: Sequence[StudyFigure]) -> Iterator[tuple[str, list[StudyFigure]]]:
    """Put figures that follow each other under one title together; each without a title stands alone."""
    for _, group in groupby(enumerate(figures), lambda each: each[1].title or each[0]):
        together = [figure for _, figure in group]
        yield together[0].title, together


def left_out_table(left_out: Sequence[Mapping[str, str]]) -> StudyTable:
    """Group what was left out by reason, numbers and quoted names aside, the most frequent first."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for item in left_out:
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", str(item["reason"]))
        groups.setdefault(kind, []).append(item)
    ordered = sorted(groups.values(), key=len, reverse=True)
    rows: list[tuple[Cell, ...]] = [
        (group[0]["reason"], len(group), "; ".join(item["where"] for item in group[:MOST_EXAMPLES]))
        for group in ordered[:MOST_REASONS]
    ]
    if rest := ordered[MOST_REASONS:]:
        rows.append((f"{len(rest)} other reasons", sum(map(len, rest)), ""))
    return StudyTable(title="By reason", columns=("Reason", "Count", "First of them"), rows=tuple(rows))


def origin(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List where a page's numbers come from, as terms and what the manifest says of each."""

    def told(key: str) -> str:
        return " · ".join(f"{name} {value}" for name, value in (manifest.get(key) or {}).items())

    terms = [
        ("Seeds", ", ".join(map(str, manifest.get("seeds") or []))),
        ("Facts", told("facts")),
        ("Commit", manifest.get("git_commit") or "not in a repository"),
        ("Versions", told("versions")),
        *(manifest.get("origins") or {}).items(),
        *((name, f"sha256 {digest}") for name, digest in (manifest.get("inputs") or {}).items()),
        ("Seconds", told("timings")),
    ]
    return [(term, text) for term, text in terms if text]


def write_cell(cell: Cell) -> Markup:
    """Write a cell: what stands behind a number in smaller type, an outcome with its sign."""
    text = format_cell(cell)
    outcome, _, rest = text.partition(": ")
    if outcome in OUTCOMES and outcome != NOT_MEASURED:
        sign = f'<span class="verdict {outcome.replace(" ", "-")}">{outcome}</span>'
        return Markup(sign) + (Markup(' <span class="aside">{}</span>').format(rest) if rest else "")
    number, _, behind = text.partition(" (")
    if behind and number[:1] in "+−0123456789" and " " not in number:
        return Markup('{} <span class="aside">({}</span>').format(number, behind)
    return isolated(text)


def isolated(text: str) -> Markup:
    """Escape a text, and isolate what is read from right to left, which would turn its neighbours round."""
    return Markup(_TURNED.sub(r"<bdi>\g<0></bdi>", str(escape(text))))


def own_size(svg: str) -> Markup:
    """Let a figure keep its own width, a little enlarged, so that type is of one size in all figures."""
    return Markup(
        _OWN_SIZE.sub(lambda tag: f'{tag[1]} style="--own: {ENLARGED * float(tag[2]):.0f}pt"', svg, count=1)
    )
