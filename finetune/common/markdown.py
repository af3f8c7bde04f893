"""Markdown: text from data escaped so that it stays the text it is, and parts of pages between marks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from finetune.common.messages import without_controls

# What opens code, emphasis, links, pictures, attributes and cells; an underscore inside a word opens nothing.
_MARKS = re.compile(r"[\\`*{}\[\]|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = (
    (re.compile(r"&(?=#|\w+;)"), "&amp;"),
    (re.compile("<"), "&lt;"),
    (re.compile(r"\$"), "&#36;"),
    (re.compile("~~"), "&#126;&#126;"),
)
_LINE_START = re.compile(r"^(?:>|#|[-+=](?=\s|$|[-+=])|:(?=\s)|\d+(?=[.)](?:\s|$)))")
_COUNTED = re.compile(r"^(.*)_(\d+)$")


def escape_inline(text: object) -> str:
    r"""Write ``text`` as one line of Markdown that shows it and does nothing else: no HTML, link or picture.

    Examples:
        >>> escape_inline("a | <img src=x>\n![b](c) `d` e_f")
        'a \\| &lt;img src=x> !\\[b\\](c) \\`d\\` e_f'
    """
    line = " ".join(without_controls(str(text), " ").split())
    for mark, instead in _ENTITIES:
        line = mark.sub(instead, line)
    line = _MARKS.sub(lambda found: "\\" + found[0], line)
    return _LINE_START.sub(_escape_line_start, line)


def code_block(text: str, language: str = "") -> str:
    """Write ``text`` as a block of code, whatever fences it holds itself."""
    lines = without_controls(text.replace("\n", " "))
    longest = max((len(run) for run in re.findall("[`~]+", lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def replace_between(text: str, begin: str, end: str, inside: str) -> str | None:
    """Replace what stands between two marks, which stay; None where the text lacks them in this order.

    Args:
        text: a page.
        begin: the mark in front.
        end: the mark behind.
        inside: what is put between them.
    """
    start = text.find(begin)
    stop = text.find(end, start + len(begin))
    return text[: start + len(begin)] + inside + text[stop:] if start >= 0 and stop >= 0 else None


def anchors(headings: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Return the anchors that MkDocs gives to headings, of a page where ``taken`` are given already."""
    used, made = set(taken), []
    for heading in headings:
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        name = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        while not name or name in used:
            counted = _COUNTED.match(name)
            name = f"{counted[1]}_{int(counted[2]) + 1}" if counted else f"{name}_1"
        used.add(name)
        made.append(name)
    return made


def _escape_line_start(found: re.Match[str]) -> str:
    """Keep what begins a heading, a list, a quotation or a rule from doing so; a number becomes an entity."""
    first = found[0][0]
    return f"&#{ord(first)};{found[0][1:]}"
