"""The facts that a run shows in full, and the data from which a page draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from interp.reports.figures.style import drawable_label
from interp.reports.read.fact_attention import DIGITS, MOST_HEADS, FactAttention
from interp.reports.read.run import Example, Run, as_run

MOST_FACTS = 20
LONGEST_TOKEN = 12  # a longer one would leave its axis no room for the map
COLOUR = "#0072B2"


def read_examples(run: Run | Path | str) -> tuple[FactAttention, ...]:
    """Return the facts that a run shows in full; there may be none.

    Raises:
        InputError: the directory is no finished run.
    """
    return tuple(FactAttention.of(example) for example in as_run(run).examples)


def fact_views(
    examples: Iterable[FactAttention | Example], *, facts: int = MOST_FACTS, heads: int = MOST_HEADS
) -> list[dict[str, Any]]:
    """Make the data of one script element from some facts: what ``Circuits.mount`` of circuits.js draws.

    Facts beyond the first ``facts`` and heads beyond each one's first ``heads`` are left out, and so is a
    fact whose prompt is too long for a page.
    """
    made = (FactAttention.of(e, heads=heads) if isinstance(e, Example) else e.first(heads) for e in examples)
    shown = [fact for fact in made if fact.heads][:facts]
    return [
        {**fact.to_json(), "tokens": [drawable_label(token, LONGEST_TOKEN) for token in fact.tokens]}
        for fact in shown
    ]


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
    rounded = [[[round(float(v), DIGITS) or 0 for v in row] for row in head] for head in patterns]
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
    fact = FactAttention.of(example, heads=heads)
    if not fact.heads:
        return {}
    tokens = [drawable_label(token, LONGEST_TOKEN) for token in fact.tokens]
    return {
        arm: attention_heads(patterns, tokens, fact.head_names) for arm, patterns in fact.patterns.items()
    }
