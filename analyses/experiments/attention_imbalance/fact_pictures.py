"""Attention patterns of some facts, for the pages: which facts, and of each the heads that changed most.

The first fact is typical: the median change of attention among the known facts that one arm gets right and
the other wrong. The others are picked to show what there is: those of the largest change, half of them lost
ones, the rest of those that both get right, that were gained, and that both get wrong.

Which facts these are is known only when the last of the models was asked, and by then the others are closed.
So the whole patterns of some hundred candidates are written to a file while each is open; where there are
more test facts than that, candidates are drawn from them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from analyses.common.checkpoints import BASE
from analyses.common.visits import OpenCheckpoint, Stage
from finetune.common.seeds import generator
from interp.measures.attention import full_patterns
from interp.reports.read.fact_attention import MOST_HEADS
from interp.reports.read.pattern_coding import Head, pack_most

MOST_FACTS = 20
MOST_CANDIDATES = 200
MOST_BYTES = 1 << 30  # of one model's candidates on disk

Pattern = Float[ndarray, "layer head query key"]
Patterns = Callable[[str], Pattern]  # of a fact, by its id


@dataclass(frozen=True, kw_only=True)
class Pictured:
    """The models to picture and what is known of their facts: the last of them is open, the others recorded.

    ``frame`` has a row per fact and model; ``recorded`` are the patterns of the base and of ``before``.
    """

    frame: pd.DataFrame
    before: str
    after: str
    recorded: Mapping[str, Stage[Patterns]]
    seed: int

    @property
    def names(self) -> list[str]:
        """The base and the two that are compared, of which one may be the base."""
        return list(dict.fromkeys((BASE, self.before, self.after)))

    def patterns(self, found: OpenCheckpoint) -> dict[str, Patterns]:
        """Return what every model attends to, the open one being ``after``."""
        seen = {name: stage.read() for name, stage in self.recorded.items()}
        return {name: seen.get(name) or patterns_of(found) for name in self.names}

    def of_candidates(self, found: OpenCheckpoint) -> pd.DataFrame:
        """Return the rows of those facts that may be pictured."""
        return self.frame[self.frame["fact_id"].isin(set(candidates(found, self.seed)))]


def candidates(found: OpenCheckpoint, seed: int) -> list[str]:
    """Name the facts that may be pictured: all, or as many as are drawn where they are too many."""
    cells = max(map(int, found.batch.last + 1)) ** 2 // 2 * found.model.cfg.n_layers * found.model.cfg.n_heads
    most = max(MOST_FACTS, min(MOST_CANDIDATES, MOST_BYTES // (4 * max(cells, 1))))
    ids = found.batch.fact_ids
    drawn = generator(seed, "pictured facts").permutation(len(ids))[:most]
    return [ids[i] for i in sorted(drawn)]


def patterns_stage(path: Path, facts: Sequence[str], *, seed: int) -> Stage[Patterns]:
    """Record the whole patterns of all candidates, one prompt at a time.

    Args:
        path: an ``.npz`` of the cells on and below the diagonal, by the fact's number in ``facts``.
        facts: the ids of all test facts, in order.
        seed: draws the candidates.
    """
    place = {fact_id: str(i) for i, fact_id in enumerate(facts)}

    def make(found: OpenCheckpoint, to: Path) -> None:
        seen = patterns_of(found)
        with zipfile.ZipFile(to, "w") as file:  # np.savez would hold all of them in memory
            for fact_id in candidates(found, seed):
                pattern = seen(fact_id)
                with file.open(f"{place[fact_id]}.npy", "w", force_zip64=True) as member:
                    lower = pattern[:, :, *np.tril_indices(pattern.shape[-1])]
                    np.lib.format.write_array(member, lower, allow_pickle=False)

    def read() -> Patterns:
        held = np.load(path, allow_pickle=False)

        def pattern(fact_id: str) -> Pattern:
            lower = held[place[fact_id]]
            length = int((2 * lower.shape[-1]) ** 0.5)
            whole = np.zeros((*lower.shape[:2], length, length), lower.dtype)
            whole[:, :, *np.tril_indices(length)] = lower
            return whole

        return pattern

    return Stage(paths=(path,), make=make, read=read)


def patterns_of(found: OpenCheckpoint) -> Patterns:
    """Return what runs one test prompt through an open checkpoint and returns its patterns."""
    place = {fact_id: i for i, fact_id in enumerate(found.batch.fact_ids)}
    return lambda fact_id: full_patterns(found.model, found.batch[[place[fact_id]]])[0].numpy()


def one_fact(found: OpenCheckpoint, pictured: Pictured) -> dict[str, Any]:
    """Lay out one fact's whole attention under the base, ``before`` and ``after``.

    It is the fact with the median change of attention among the known ones that ``before`` gets right and
    ``after`` wrong (among all facts, if there is none): typical, not picked.
    """
    chosen = typical(pictured.of_candidates(found), pictured.before, pictured.after)
    frame = pictured.frame[pictured.frame["fact_id"] == chosen].set_index("arm")
    arms = {
        name: {
            "prediction": frame.loc[name, "prediction"],
            "patterns": patterns(chosen).astype(float).round(4).tolist(),
        }
        for name, patterns in pictured.patterns(found).items()
    }
    return {**_laid_out(found, chosen), "arms": arms}


def record_facts(
    found: OpenCheckpoint, pictured: Pictured, *, most: int = MOST_FACTS
) -> list[dict[str, Any]]:
    """Lay out the attention that some facts get under the base, ``before`` and ``after``.

    Of every head the last token's row is kept, and of the heads that changed most the whole pattern. One
    prompt's patterns are in memory at a time.
    """
    chosen = choose_facts(pictured.of_candidates(found), pictured.before, pictured.after, most)
    frame = pictured.frame
    rows = {name: frame[frame["arm"] == name].set_index("fact_id") for name in pictured.names}
    seen = pictured.patterns(found)
    made = []
    for fact_id in chosen:
        heads = _changed(
            [np.asarray(rows[name].loc[fact_id, "mass"], dtype=float) for name in pictured.names]
        )
        arms = {
            name: {
                "prediction": rows[name].loc[fact_id, "prediction"],
                "patterns": _packed(patterns(fact_id).astype(float), heads),
            }
            for name, patterns in seen.items()
        }
        made.append({**_laid_out(found, fact_id), "arms": arms})
    return made


def _laid_out(found: OpenCheckpoint, fact_id: str) -> dict[str, Any]:
    """Say of a test fact what its prompt is and which tokens are the subject's."""
    row = found.batch.fact_ids.index(fact_id)
    batch = found.batch[[row]]
    prompt = batch.prompts[0]
    return {
        "fact_id": prompt.fact_id,
        "prompt": prompt.text,
        "subject": list(prompt.subject),
        "tokens": batch.tokens(found.tokenizer)[0],
        "subject_tokens": batch.subject_mask[0].tolist(),
        "answers": list(prompt.answers),
    }


def _packed(pattern: Pattern, heads: Sequence[int]) -> dict[str, Any]:
    width = pattern.shape[1]
    whole: Mapping[Head, np.ndarray] = {
        (at // width, at % width): pattern[at // width, at % width] for at in heads
    }
    return pack_most(pattern[:, :, -1], whole)


def choose_facts(frame: pd.DataFrame, before: str, after: str, most: int) -> list[str]:
    """Choose the typical fact, then those of the largest change: half of them lost, then others.

    The others take turns. Where there are too few of all these, any of the largest change follow.

    Args:
        frame: a row a fact and arm.
        before: the arm or base that is compared with.
        after: the arm in which facts are lost.
        most: how many facts to choose.
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
    mixed = [fact for some in zip_longest(*(each[:room] for each in others)) for fact in some if fact]
    order = [typical(frame, before, after), *lost[: most // 2], *mixed[:room], *size.index]
    return [str(fact) for fact in dict.fromkeys(order)][:most]


def _changed(masses: Sequence[np.ndarray]) -> list[int]:
    """Return the heads (layer-major) of the largest change of subject mass against the first model's."""
    change = np.max([np.abs(mass - masses[0]) for mass in masses], axis=0)
    return [int(i) for i in np.argsort(-change.round(6), kind="stable")[:MOST_HEADS]]


def typical(frame: pd.DataFrame, before: str, after: str) -> str:
    """Name the fact with the median change among the known ones that only ``before`` gets right, if any."""
    a, b = (frame[frame["arm"] == name].set_index("fact_id") for name in (before, after))
    change = a["subject_attention"] - b["subject_attention"]
    telling = change[a["correct"] & ~b["correct"] & a["known"]]
    ranked = (telling if len(telling) else change).sort_values(kind="stable")
    return str(ranked.index[len(ranked) // 2])
