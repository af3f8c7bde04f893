"""One fact's attention, two models side by side: circuitsvis' heads in order of change, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy import ndarray

from finetune.common.errors import InputError
from interp.reports.figures.token_rows import fact_rows
from interp.reports.read.fact_attention import MOST_HEADS, FactAttention
from interp.reports.read.run import BASE, Example
from interp.reports.views.circuits import fact_views, packed_bundle, script_json
from interp.reports.views.head_grids import HeadGrid, head_grid
from interp.reports.views.view import View

FINETUNED = "fine-tuned"


@dataclass(frozen=True)
class AttentionView(View):
    """One fact's attention in two or more models; ``left`` and ``right`` are shown at first."""

    fact: FactAttention
    left: str
    right: str
    title: str = ""
    template: ClassVar[str] = "view_attention.html.j2"

    @property
    def static(self) -> Figure:
        """The last token's attention, head by head, the models under each other."""
        return fact_rows(self.fact)

    @property
    def grid(self) -> HeadGrid:
        """The share of every head's last row that falls on the subject, and its change."""
        before, after = (self.fact.mass[name] for name in (self.left, self.right))
        change = {f"{self.right} − {self.left}": after - before} if self.left != self.right else {}
        what = "attention of the last token to the subject"
        return head_grid({**self.fact.mass, **change}, what=what, title=self.title)

    @property
    def alternative(self) -> str:
        """What the picture shows, in a sentence."""
        end, models = " ".join(self.fact.tokens[-6:]), " and ".join(self.fact.patterns)
        return f"What the last token of {end!r} attends to in {len(self.fact.heads)} heads, in {models}."

    @property
    def height(self) -> int:
        """How many pixels the frame is high, with two panes side by side."""
        said = 1 + sum(bool(text) for text in self.fact.predictions.values())
        lines = 1 + sum(len(token) + 2 for token in self.fact.tokens) // 55
        return 800 + 22 * said + 27 * lines + 130 * -(-len(self.fact.heads) // 4) + (36 if self.title else 0)

    def fill(self) -> Mapping[str, Any]:
        """Return the template's values."""
        (fact,) = fact_views([self.fact], heads=len(self.fact.heads))
        data = {"fact": fact, "sides": {"left": self.left, "right": self.right}}
        return {"data": Markup(script_json(data)), "bundle": Markup(packed_bundle())}


def attention_view_of(
    before: Float[ndarray, "layer head query key"],
    after: Float[ndarray, "layer head query key"],
    tokens: Sequence[str],
    subject: Sequence[bool],
    *,
    heads: int = MOST_HEADS,
    names: tuple[str, str] = (BASE, FINETUNED),
    prompt: str = "",
    answers: Sequence[str] = (),
    predictions: Sequence[str] = ("", ""),
    title: str = "",
) -> AttentionView:
    """Show one fact's attention before and after, without any model at hand.

    Args:
        before: attention probabilities of the one model; those above the diagonal are not read.
        after: those of the other.
        tokens: the prompt's tokens, as text.
        subject: which of them are the subject's.
        heads: how many heads to show, of largest change first; fewer where the prompt is long.
        names: what the two models are called.
        prompt: the whole prompt, shown above.
        answers: accepted answers.
        predictions: what the two models say.
        title: a heading.

    Raises:
        InputError: the shapes do not belong together, or the prompt is too long for even one head.
    """
    patterns = {name: np.asarray(p, dtype=float) for name, p in zip(names, (before, after), strict=True)}
    _require_one_prompt(patterns, len(tokens), subject)
    example = Example(
        fact_id="",
        prompt=prompt,
        tokens=tuple(tokens),
        subject_tokens=tuple(map(bool, subject)),
        answers=tuple(answers),
        predictions=dict(zip(names, predictions, strict=True)),
        patterns=patterns,
    )
    return attention_view_of_fact(FactAttention.of(example, heads=heads), title=title)


def _require_one_prompt(
    patterns: Mapping[str, Float[ndarray, "layer head query key"]], length: int, subject: Sequence[bool]
) -> None:
    shapes = [pattern.shape for pattern in patterns.values()]
    if odd := [shape for shape in shapes if len(shape) != 4 or shape[2:] != (length, length)]:
        raise InputError(
            f"patterns of shape {odd[0]}; give [layer head query key], {length} queries and keys, one a token"
        )
    if shapes[0] != shapes[1]:
        raise InputError(
            f"patterns of shapes {shapes} have no pairs of heads; give two models of as many layers and heads"
        )
    if len(subject) != length:
        raise InputError(f"{len(subject)} subject flags for {length} tokens; give one a token")


def attention_view_of_fact(fact: FactAttention, *, title: str = "") -> AttentionView:
    """Show a fact that a run directory holds, its reference beside the model where attention changed most.

    Raises:
        InputError: the prompt is too long for even one head.
    """
    if not fact.heads:
        raise InputError(f"a prompt of {len(fact.tokens)} tokens is too long for a page; show a shorter one")
    before = fact.mass[fact.reference]
    others = [name for name in fact.patterns if name != fact.reference] or [fact.reference]
    right = max(others, key=lambda name: float(np.abs(fact.mass[name] - before).max()))
    return AttentionView(fact=fact, left=fact.reference, right=right, title=title)
