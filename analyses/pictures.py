"""Some facts' attention in full, for the pages: which facts, and of each the heads that changed most.

The first is typical: the median change of attention among the known facts that one arm gets right and the
other wrong. The others are picked to show what there is: those of the largest change, half of them lost ones,
the rest of those that both get right, that were gained, and that both get wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.checkpoints import Checkpoints
from analyses.measurements import opened, typical
from finetune.prompts import Prompt
from interp.attention import full_patterns
from interp.circuits.coding import Head, pack_most
from interp.circuits.facts import MOST_HEADS

if TYPE_CHECKING:
    import pandas as pd

MOST_FACTS = 20
BASE = "base"


def several_facts(
    checkpoints: Checkpoints, frame: pd.DataFrame, before: str, after: str, *, most: int = MOST_FACTS
) -> list[dict[str, Any]]:
    """Record the attention that some facts get under the base, ``before`` and ``after``.

    Of every head the last token's row is kept, and of the heads that changed most the whole pattern. One
    prompt's patterns are in memory at a time.
    """
    names = list(dict.fromkeys((BASE, before, after)))
    chosen = chosen_facts(frame, before, after, most)
    by_id = {prompt.fact_id: prompt for prompt in checkpoints.prompts}
    prompts = [by_id[fact_id] for fact_id in chosen]
    rows = {name: frame[frame["arm"] == name].set_index("fact_id").loc[chosen] for name in names}
    heads = [
        _changed([np.asarray(rows[name]["mass"].iloc[i], dtype=float) for name in names])
        for i in range(len(chosen))
    ]
    made: list[dict[str, Any]] = [{} for _ in chosen]
    for name in names:
        for i, seen in enumerate(_recorded(checkpoints, name, prompts, heads)):
            arm = {"prediction": rows[name]["prediction"].iloc[i], "patterns": seen.pop("patterns")}
            made[i] = {**made[i], **seen, "arms": {**made[i].get("arms", {}), name: arm}}
    return made


def chosen_facts(frame: pd.DataFrame, before: str, after: str, most: int) -> list[str]:
    """Choose the typical fact, then those of the largest change: half of them lost, then others.

    The others take turns. Where there are too few of all these, any of the largest change follow.
    """
    a, b = (frame[frame["arm"] == name].set_index("fact_id") for name in (before, after))
    size = (a["subject_attention"] - b["subject_attention"]).abs().sort_values(ascending=False, kind="stable")
    right, still, known = (
        column.astype(bool)[size.index] for column in (a["correct"], b["correct"], a["known"])
    )
    lost = size.index[known & right & ~still]
    fates = (right & still, ~right & still, ~right & ~still)
    others = [size.index[fate].tolist() for fate in fates]
    room = most - 1 - min(len(lost), most // 2)
    mixed = [fact for some in zip(*(_padded(o, room) for o in others), strict=True) for fact in some if fact]
    order = [typical(frame, before, after), *lost[: most // 2], *mixed[:room], *size.index]
    return [str(fact) for fact in dict.fromkeys(order)][:most]


def _padded(facts: Sequence[str], length: int) -> list[str | None]:
    return [*facts[:length], *[None] * (length - len(facts[:length]))]


def _changed(masses: Sequence[np.ndarray]) -> list[int]:
    """Return the heads (layer-major) of the largest change of subject mass against the first model's."""
    change = np.max([np.abs(mass - masses[0]) for mass in masses], axis=0)
    return [int(i) for i in np.argsort(-change.round(6), kind="stable")[:MOST_HEADS]]


def _recorded(
    checkpoints: Checkpoints, name: str, prompts: Sequence[Prompt], heads: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    made = []
    with opened(checkpoints, name, prompts) as (model, batch, tokenizer):
        tokens = batch.tokens(tokenizer)
        for i, prompt in enumerate(batch.prompts):
            pattern = full_patterns(model, batch[[i]])[0].double().numpy()
            width = pattern.shape[1]
            whole: Mapping[Head, np.ndarray] = {
                (at // width, at % width): pattern[at // width, at % width] for at in heads[i]
            }
            made.append(
                {
                    "fact_id": prompt.fact_id,
                    "prompt": prompt.text,
                    "subject": list(prompt.subject),
                    "tokens": tokens[i],
                    "subject_tokens": batch.subject_mask[i, : len(tokens[i])].tolist(),
                    "answers": list(prompt.answers),
                    "patterns": pack_most(pattern[:, :, -1], whole),
                }
            )
    return made
