"""Circuit visualizations with circuitsvis, offline: checked, rounded, escaped, and one bundle a page.

circuitsvis' own display asks the network which copy of its bundle to use, repeats 1.3 MB of it in every
figure, and writes tokens unescaped into a script. So this module takes from it what is good, the bundle and
its components, and writes the page's part itself: ``view`` makes the data of one component, ``script_json``
makes data safe inside a script element, and ``bundle`` gives the code to inline once.

Only components that draw tokens on a canvas or as React text are used here. ``ColoredTokens`` sets its
tokens as raw HTML: escaping the JSON is not enough there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.facts import InputError
from interp.run import Example
from interp.style import label

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

COLOUR = "#0072B2"
MOST_HEADS = 8
MOST_NUMBERS = 300_000  # over all arms of one fact: about 1.5 MB of JSON
DECIMALS = 3
LONGEST_TOKEN = 12  # a longer one would leave its axis no room for the map


def attention_heads(
    patterns: Float[np.ndarray, "head query key"], tokens: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Make the properties of circuitsvis' ``AttentionHeads`` for one model's heads.

    Raises:
        ValueError: the shapes of patterns, tokens and names do not belong together.
    """
    expected = (len(names), len(tokens), len(tokens))
    if patterns.shape != expected:
        raise ValueError(f"patterns have shape {patterns.shape}, but names and tokens ask for {expected}")
    # Cells above the diagonal are masked on screen; a bare 0 keeps them short.
    rounded = [[[round(float(v), DECIMALS) or 0 for v in row] for row in head] for head in patterns]
    return {
        "attention": rounded,
        "attentionHeadNames": list(names),
        "tokens": list(tokens),
        "positiveColor": COLOUR,
        "maskUpperTri": True,
    }


def example_views(example: Example, *, heads: int = MOST_HEADS) -> Mapping[str, dict[str, Any]]:
    """Make one view an arm of a fact's attention, heads in order of change; fewer heads for a long prompt.

    The mapping is empty where even one head would be too large for a page.
    """
    import numpy as np

    arms = list(example.patterns)
    room = MOST_NUMBERS // (len(arms) * len(example.tokens) ** 2)
    chosen = example.heads_by_change(arms)[: min(heads, room)]
    if not chosen:
        return {}
    names = [f"L{layer}H{head}" for layer, head in chosen]
    tokens = [label(token, LONGEST_TOKEN) for token in example.tokens]
    return {
        arm: attention_heads(np.stack([patterns[at] for at in chosen]), tokens, names)
        for arm, patterns in example.patterns.items()
    }


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
