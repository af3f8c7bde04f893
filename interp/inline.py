"""Figures that lie in a run directory as SVG files, made fit to stand inside a page.

A run directory may come from anywhere, so a file's markup is not trusted: it is parsed, and only what a
matplotlib drawing consists of is written again. Nothing that runs, and no address outside the page, is left.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from finetune.facts import InputError
from interp.style import INK, MUTED, RULE

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ELEMENTS = frozenset(
    "svg g path defs use text tspan clipPath rect circle ellipse line polyline polygon image pattern "
    "linearGradient radialGradient stop title desc style".split()
)
STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"  # the one sheet that matplotlib writes
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]*")


def inline_file(path: Path, prefix: str) -> str:
    """Read a figure's SVG file as an element for a page: transparent, in the page's ink, ids made unique.

    Raises:
        InputError: the file is missing or no SVG.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: cannot be read as an SVG figure ({error}); draw it again") from None
    if root.tag != f"{SVG}svg":
        raise InputError(f"{path}: is no SVG figure; draw it again")
    _clean(root, re.sub(r"[^\w-]", "_", prefix))
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", XLINK[1:-1])
    svg = ElementTree.tostring(root, encoding="unicode")
    for ink, variable in ((INK, "currentColor"), (MUTED, "var(--muted)"), (RULE, "var(--rule)")):
        svg = re.sub(rf"((?:fill|stroke): ?){ink}", rf"\g<1>{variable}", svg)
    return svg


def _clean(element: ElementTree.Element, prefix: str, parent: str = "") -> None:
    """Drop what does not belong in a drawing, make ids unique, and take the white paper away."""
    for name, value in list(element.attrib.items()):
        kept = _attribute(name, value, prefix)
        if kept is None:
            del element.attrib[name]
        else:
            element.set(name, kept)
    # The first patch of a figure and of each of its axes is its paper.
    if parent.startswith("patch_") and "stroke" not in element.get("style", ""):
        element.set("style", re.sub(r"fill: ?#fff(fff)?\b", "fill: none", element.get("style", "")))
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(SVG) not in ELEMENTS:
            element.remove(child)
            continue
        if child.tag == f"{SVG}style":
            child.text = STYLE
        _clean(child, prefix, element.get("id", "").removeprefix(f"{prefix}-"))


def _attribute(name: str, value: str, prefix: str) -> str | None:
    plain = name.removeprefix(XLINK)
    if plain.startswith(("on", "{")):
        return None
    if plain == "id":
        return f"{prefix}-{value}"
    if plain == "href":
        inside = value.startswith("#")
        return f"#{prefix}-{value[1:]}" if inside else value if PICTURE.fullmatch(value) else None
    if "url(" in value.replace(" ", "").lower():
        return re.sub(r"url\(#", f"url(#{prefix}-", value) if _local(value) else None
    return value


def _local(value: str) -> bool:
    """Say whether every address of a style points into the drawing itself."""
    return len(re.findall(r"url\s*\(", value, re.I)) == len(re.findall(r"url\(#[\w.-]+\)", value))
