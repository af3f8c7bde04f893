"""Circuit visualizations, offline: one fact's attention, coloured text, grids of heads, and data for pages.

circuitsvis' own display asks the network which copy of its bundle to use, repeats 1.3 MB of it in every
figure, and writes tokens unescaped into a script. So this takes from it what is good, the bundle and its
``AttentionHeads``, and writes the page's part itself. ``ColoredTokens`` sets its tokens as raw HTML, where
escaping the JSON is not enough: text is coloured by a renderer of our own, which sets them as text.

Every view shows itself in a notebook (``_repr_mimebundle_``), is a picture (``.static``) and a file
(``.save(path)``). Functions that take a pair open its models; all others take arrays.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from interp.reports.read.fact_attention import MOST_HEADS, FactAttention
from interp.reports.views.attention import AttentionView, attention_view_of, attention_view_of_fact
from interp.reports.views.circuits import (
    attention_heads,
    bundle,
    fact_views,
    packed_bundle,
    script_json,
)
from interp.reports.views.head_grids import HeadGrid, fact_grid, head_grid
from interp.reports.views.text import TextView, text_view
from interp.reports.views.view import View

if TYPE_CHECKING:
    from interp.measures.token_readout import token_readout
    from interp.reports.views.pairs import attention_text, attention_view, readout_text

_OF_PAIRS = ("attention_text", "attention_view", "readout_text", "token_readout")  # these need torch

__all__ = [
    "MOST_HEADS",
    "AttentionView",
    "FactAttention",
    "HeadGrid",
    "TextView",
    "View",
    "attention_heads",
    "attention_text",
    "attention_view",
    "attention_view_of",
    "attention_view_of_fact",
    "bundle",
    "fact_grid",
    "fact_views",
    "head_grid",
    "packed_bundle",
    "readout_text",
    "script_json",
    "text_view",
    "token_readout",
]


def __getattr__(name: str) -> Any:
    if name not in _OF_PAIRS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("interp.reports.views.pairs"), name)
