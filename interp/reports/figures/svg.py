"""Sanitising SVG figures for a page: a figure's file comes from anywhere, and only its drawing is kept.

The markup is parsed and written again from lists of what a matplotlib drawing consists of: its elements,
their attributes, the properties of its styles, and values of plain characters with few functions. Whatever is
on no list is left out, however it is written (escaped in CSS, as an entity, in another namespace). So nothing
runs, and no address but the drawing's own parts and pictures inside it is left.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from finetune.common.errors import InputError
from finetune.common.text_files import MIB, read_text

INK, MUTED, RULE = "#1c1d21", "#6a6e75", "#d9dade"  # unlike any data colour: the page maps them to its theme
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
ELEMENTS = frozenset(
    "svg g path defs use text tspan clipPath rect circle ellipse line polyline polygon image pattern "
    "linearGradient radialGradient stop title desc style".split()
)
PROPERTIES = frozenset(
    "clip-path clip-rule color display dominant-baseline fill fill-opacity fill-rule font font-family "
    "font-size font-stretch font-style font-variant font-weight image-rendering letter-spacing opacity "
    "paint-order shape-rendering stop-color stop-opacity stroke stroke-dasharray stroke-dashoffset "
    "stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width text-anchor "
    "text-decoration text-rendering visibility white-space".split()
)
ATTRIBUTES = PROPERTIES | frozenset(
    "clipPathUnits cx cy d dx dy fx fy gradientTransform gradientUnits height offset patternContentUnits "
    "patternTransform patternUnits points preserveAspectRatio r rotate rx ry spreadMethod textLength "
    "transform version viewBox width x x1 x2 y y1 y2".split()
)
STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"  # the one sheet that matplotlib writes
PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]*")
FUNCTIONS = frozenset("rgb rgba hsl hsla matrix translate scale rotate skewx skewy".split())
_PLAIN = re.compile(r"[\w\s#.,%'\"()+-]*")
_PART = re.compile(r"url\(\s*(['\"]?)#([\w.-]+)\1\s*\)")
_CALL = re.compile(r"([\w-]*)\s*\(")
_NAME = re.compile(r"[\w.:-]{1,200}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not even as an entity
_LARGEST, _DEEPEST = 64 * MIB, 100


def inline_file(path: Path, prefix: str) -> str:
    """Read a figure's SVG file as an element for a page; see :func:`inline_markup`.

    Raises:
        InputError: the file is missing, no regular file, or no SVG.
    """
    return inline_markup(read_text(path, most=_LARGEST), prefix, label=str(path))


def inline_markup(text: str, prefix: str, *, label: str) -> str:
    """Make a figure's markup fit to stand inside a page: transparent, in the page's ink, ids made unique.

    Raises:
        InputError: it is no SVG; ``label`` names it.
    """
    # matplotlib declares no entities; those of others can stand for billions of characters.
    if "<!ENTITY" in text:
        raise InputError(f"{label}: declares entities, which no figure of ours does; draw it again")
    try:
        root = ElementTree.fromstring(_NO_XML.sub("\ufffd", text))
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{label}: cannot be read as an SVG figure ({error}); draw it again") from None
    if root.tag != f"{SVG}svg":
        raise InputError(f"{label}: is no SVG figure; draw it again")
    if _depth(root) > _DEEPEST:
        raise InputError(f"{label}: is nested more than {_DEEPEST} deep; draw it again")
    _clean(root, re.sub(r"[^\w-]", "_", prefix))
    _drop_nested_uses(root)
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", XLINK[1:-1])
    svg = ElementTree.tostring(root, encoding="unicode")
    for ink, variable in ((INK, "currentColor"), (MUTED, "var(--muted)"), (RULE, "var(--rule)")):
        svg = re.sub(rf"((?:fill|stroke): ?){ink}", rf"\g<1>{variable}", svg)
    return svg


def _clean(element: ElementTree.Element, prefix: str, parent: str = "") -> None:
    """Keep what belongs in a drawing, make ids unique, and take the white paper away."""
    kept = {name: _attribute(name, value, prefix) for name, value in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update({name: value for name, value in kept.items() if value is not None})
    # The first patch of a figure and of each of its axes is its paper.
    if parent.startswith("patch_") and "stroke" not in element.get("style", ""):
        element.set("style", re.sub(r"fill: ?#fff(fff)?\b", "fill: none", element.get("style", "")))
    if element.tag in (f"{SVG}title", f"{SVG}desc", f"{SVG}style"):
        # A browser reads elements inside these as those of the page.
        element[:] = []
        if element.tag == f"{SVG}style":
            element.text = STYLE
    for child in list(element):
        if isinstance(child.tag, str) and child.tag.startswith(SVG) and child.tag[len(SVG) :] in ELEMENTS:
            _clean(child, prefix, element.get("id", "").removeprefix(f"{prefix}-"))
        else:
            element.remove(child)


def _attribute(name: str, value: str, prefix: str) -> str | None:
    """Return an attribute's value as it is kept, or None."""
    plain = name.removeprefix(XLINK)
    if plain == "href":
        if value.startswith("#"):
            return f"#{prefix}-{value[1:]}" if _NAME.fullmatch(value[1:]) else None
        return value if PICTURE.fullmatch(value) else None
    if plain != name:
        return None
    if name == "id":
        return f"{prefix}-{value}" if _NAME.fullmatch(value) else None
    if name == "style":
        pairs = (part.partition(":") for part in value.split(";"))
        kept = [
            f"{key.strip()}: {held}"
            for key, _, raw in pairs
            if key.strip() in PROPERTIES and (held := _value(raw.strip(), prefix)) is not None
        ]
        return "; ".join(kept)
    return _value(value, prefix) if name in ATTRIBUTES else None


def _value(value: str, prefix: str) -> str | None:
    """Return a value of plain characters whose functions fetch nothing, or None."""
    rest = _PART.sub("", value)
    if not _PLAIN.fullmatch(rest) or any(name.lower() not in FUNCTIONS for name in _CALL.findall(rest)):
        return None
    return _PART.sub(rf"url(#{prefix}-\2)", value)


def _depth(root: ElementTree.Element) -> int:
    level, deep = [root], 0
    while level and deep <= _DEEPEST:
        level, deep = [child for element in level for child in element], deep + 1
    return deep


def _drop_nested_uses(root: ElementTree.Element) -> None:
    """Drop what repeats something that itself repeats: a few lines of it can stand for billions."""
    uses = f"{SVG}use"
    repeating = {each.get("id") for each in root.iter() if next(each.iter(uses), None) is not None}
    for element in root.iter():
        for child in list(element):
            if child.tag == uses and _target(child) in repeating:
                element.remove(child)


def _target(use: ElementTree.Element) -> str:
    return (use.get(f"{XLINK}href") or use.get("href") or "#")[1:]
