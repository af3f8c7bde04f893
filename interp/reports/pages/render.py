"""What every page shares: its templates with everything escaped, how it is written, what was left out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from finetune.common.files import atomic_file
from interp.reports.pages import sentences as wording

MOST_EXAMPLES = 3  # of each reason for leaving something out
MOST_REASONS = 25
ENLARGED = 1.1  # figures are drawn for print, in 8 pt type


def render_template(template: str, **values: Any) -> str:
    """Fill a template; whatever is put into it is escaped."""
    return page_environment().get_template(template).render(**values)


def page_environment() -> Any:
    """Return the templates, with everything escaped that is put into them."""
    environment = Environment(
        loader=PackageLoader("interp", "reports/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = wording.format_number
    environment.filters["figure"] = _figure
    return environment


def write_page(path: Path, html: str) -> Path:
    """Write a page, whole or not at all, and return its path."""
    with atomic_file(path) as temporary:
        # A lone surrogate, from a token that is half a character, cannot be encoded.
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return path


def origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what a page says of where its numbers come from: the manifest's part of a template's values."""
    return {
        "manifest": manifest,
        "left_out": group_reasons(manifest.get("left_out") or ()),
        "configuration": json.dumps(manifest.get("config"), indent=2, ensure_ascii=False),
    }


def group_reasons(left_out: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
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


def _figure(svg: str) -> Markup:
    """Let a figure keep its own width, a little enlarged, so that type is of one size in all figures."""
    own = re.compile(r'(<svg\b[^>]*?) width="([\d.]+)pt" height="[\d.]+pt"')

    def sized(tag: re.Match[str]) -> str:
        return f'{tag[1]} style="--own: {ENLARGED * float(tag[2]):.0f}pt"'

    return Markup(own.sub(sized, svg, count=1))
