"""Text coloured by a number a token: attention, or what the token's value vectors say of the answer."""

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
from interp.reports.figures.labels import drawable_label
from interp.reports.figures.token_rows import token_rows
from interp.reports.read.fact_attention import DIGITS
from interp.reports.views.circuits import script_json
from interp.reports.views.view import View

MOST_PICTURED = 8  # choices of the picture; the page has them all
LONGEST_TOKEN = 30


@dataclass(frozen=True)
class TextView(View):
    """A prompt's tokens, a line a model, coloured by the values of one of several choices (such as heads).

    ``values`` are [choice token] by model.
    """

    tokens: tuple[str, ...]
    values: Mapping[str, Float[ndarray, "choice token"]]
    choices: tuple[str, ...]
    subject: tuple[bool, ...]
    what: str
    title: str = ""
    template: ClassVar[str] = "view_text.html.j2"

    @property
    def most(self) -> float:
        """The value of the strongest colour, the same for all choices."""
        return max(float(np.abs(table).max()) for table in self.values.values()) or 1.0

    @property
    def signed(self) -> bool:
        """Whether some value is below zero."""
        return any(bool((table < 0).any()) for table in self.values.values())

    @property
    def static(self) -> Figure:
        """The first choices below one another."""
        panels = {
            drawable_label(choice, 16): {name: table[i] for name, table in self.values.items()}
            for i, choice in enumerate(self.choices[:MOST_PICTURED])
        }
        return token_rows(panels, self.tokens, self.subject, what=self.what)

    @property
    def alternative(self) -> str:
        """What the picture shows, in a sentence."""
        return f"{self.what} of {len(self.tokens)} tokens, in {' and '.join(self.values)}."

    @property
    def height(self) -> int:
        """How many pixels the frame is high."""
        lines = 1 + sum(len(token) + 2 for token in self.tokens) // 80
        return 90 + (36 if self.title else 0) + 30 * lines * len(self.values)

    def fill(self) -> Mapping[str, Any]:
        """Return the template's values; without scripts the tokens stand there uncoloured."""
        data = {
            "most": self.most,
            "signed": self.signed,
            "values": [np.round(table, DIGITS).tolist() for table in self.values.values()],
        }
        shown = [drawable_label(token, LONGEST_TOKEN) for token in self.tokens]
        return {"data": Markup(script_json(data)), "tokens": shown}


def text_view(
    tokens: Sequence[str],
    values: Mapping[str, Float[ndarray, "*choice token"]] | Float[ndarray, "*choice token"],
    *,
    choices: Sequence[str] = (),
    subject: Sequence[bool] | None = None,
    what: str = "value",
    title: str = "",
) -> TextView:
    """Colour a prompt's tokens by values, which a reader may choose among.

    Args:
        tokens: the prompt's tokens, as text; they stay text whatever they hold.
        values: a number a token, or a row of them for each choice; by model, where there are several.
        choices: what the rows are, such as names of heads; numbers without it.
        subject: which tokens are the subject's.
        what: what the values are.
        title: a heading.

    Raises:
        InputError: the shapes do not belong together, or a value is not finite.
    """
    given = values if isinstance(values, Mapping) else {"": values}
    tables = {name: np.atleast_2d(np.asarray(table, dtype=float)) for name, table in given.items()}
    rows = len(next(iter(tables.values()))) if tables else 0
    names = tuple(choices) or tuple(str(i) for i in range(rows))
    for name, table in tables.items():
        if table.shape != (len(names), len(tokens)):
            raise InputError(
                f"{name or 'values'}: shape {table.shape}, but choices and tokens ask for "
                f"{(len(names), len(tokens))}; give a number a token, in a row for each choice"
            )
        if not np.isfinite(table).all():
            raise InputError(
                f"{name or 'values'}: some are not finite, so they have no colour; give a number a token"
            )
    flags = tuple(map(bool, subject)) if subject is not None else (False,) * len(tokens)
    if not rows or len(flags) != len(tokens):
        raise InputError(
            f"{rows} rows of values and {len(flags)} subject flags for {len(tokens)} tokens; give one row or "
            "more, and a flag a token"
        )
    return TextView(tokens=tuple(tokens), values=tables, choices=names, subject=flags, what=what, title=title)
