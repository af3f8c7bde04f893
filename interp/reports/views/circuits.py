"""circuitsvis for a page that asks no network: its code, the facts that it draws, and script-safe JSON."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from finetune.common.errors import InputError
from interp.reports.figures.labels import drawable_label
from interp.reports.read.fact_attention import DIGITS, MOST_HEADS, Example, FactAttention

MOST_FACTS = 20
LONGEST_TOKEN = 12  # a longer one would leave its axis no room for the map
COLOUR = "#0072B2"


def script_json(value: Any) -> str:
    """Write JSON that is safe inside a script element: no ``<`` can close it, no odd line break splits it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    unsafe = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for character, escaped in unsafe.items():
        text = text.replace(character, escaped)
    return text


def bundle() -> str:
    """Return circuitsvis' bundle (it defines ``CircuitsVis``) for one inline script; nothing is imported.

    Raises:
        InputError: the installed circuitsvis does not carry its bundle.
    """
    try:
        located = metadata.distribution("circuitsvis").locate_file("circuitsvis/dist/cdn/iife.js")
        code = Path(str(located)).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, FileNotFoundError):
        raise InputError("circuitsvis: its bundle is not installed; run pip install circuitsvis") from None
    # Developer tools would ask for the source map it names; one of its strings holds "</script>".
    code = code.split("//# sourceMappingURL=")[0]
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def packed_bundle() -> str:
    """Return the bundle as base64 of gzip (0.5 MB instead of 1.3), which ``circuits.js`` unpacks.

    Raises:
        InputError: the installed circuitsvis does not carry its bundle.
    """
    return base64.b64encode(gzip.compress(bundle().encode(), mtime=0)).decode()


def fact_views(
    examples: Iterable[FactAttention | Example], *, facts: int = MOST_FACTS, heads: int = MOST_HEADS
) -> list[dict[str, Any]]:
    """Make the data of one script element from some facts: what ``Circuits.mount`` of circuits.js draws.

    Facts beyond the first ``facts`` and heads beyond each one's first ``heads`` are left out, and so is a
    fact whose prompt is too long for a page.
    """
    made = (FactAttention.of(e, heads=heads) if isinstance(e, Example) else e.first(heads) for e in examples)
    return [{**fact.to_json(), "tokens": _labels(fact)} for fact in made if fact.heads][:facts]


def attention_heads(
    patterns: Float[np.ndarray, "head query key"], tokens: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Make the properties of circuitsvis' ``AttentionHeads`` for one model's heads.

    Raises:
        InputError: the shapes of patterns, tokens and names do not belong together.
    """
    expected = (len(names), len(tokens), len(tokens))
    if patterns.shape != expected:
        raise InputError(
            f"patterns have shape {patterns.shape}, but names and tokens ask for {expected}; give a name a "
            "head, and a query and a key a token"
        )
    # Cells above the diagonal are masked on screen; a bare 0 keeps them short.
    rounded = [[[round(float(v), DIGITS) or 0 for v in row] for row in head] for head in patterns]
    return {
        "attention": rounded,
        "attentionHeadNames": list(names),
        "tokens": list(tokens),
        "positiveColor": COLOUR,
        "maskUpperTri": True,
    }


def _labels(fact: FactAttention) -> list[str]:
    return [drawable_label(token, LONGEST_TOKEN) for token in fact.tokens]
