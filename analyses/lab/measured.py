"""Asking and reading what a cell trained: one row per held-out fact and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.arms import answers, compared, known_facts
from analyses.bench import Bench
from analyses.checkpoints import Checkpoints
from finetune.facts import FactSet

if TYPE_CHECKING:
    import pandas as pd


def held_out(
    bench: Bench,
    arms: Mapping[str, Path],
    home: Path,
    *,
    test: FactSet | None = None,
    names: Sequence[str] | None = None,
    layers: bool = False,
    batch_tokens: int = 8192,
) -> tuple[Checkpoints, pd.DataFrame]:
    """Ask arms (and the base, if ``names`` says so) every held-out fact and read their subject attention.

    Returns:
        The models side by side, and a row per fact and model: what is known, said and attended to, averaged
        over layers and heads, and with ``layers`` also over the heads of each layer (``attention_0`` ...).
    """
    import pandas as pd

    from analyses.measurements import read_mass

    checkpoints = compared(bench, {name: str(path) for name, path in arms.items()}, test=test)
    # Cells that share a base and its held-out facts ask it once for what it states.
    stated = f"{bench.base.name}-{checkpoints.test.digest[:12]}.json"
    known = known_facts(checkpoints, home.parents[1] / "stated" / stated)
    frames = []
    for name in arms if names is None else names:
        frame = answers(checkpoints, name, home / "answers" / f"{name}.parquet", known=known, seed=bench.seed)
        mass = read_mass(checkpoints, name, batch_tokens)
        if tuple(frame["fact_id"]) != mass.fact_ids:
            raise RuntimeError("other facts were read than were asked; remove the run directory")
        frame["subject_attention"] = mass.values.mean((1, 2)).numpy()
        if layers:
            by_layer = mass.values.mean(2).numpy().T
            frame = frame.assign(**{f"attention_{i}": part for i, part in enumerate(by_layer)})
        frames.append(frame)
    return checkpoints, bench.told(pd.concat(frames, ignore_index=True))
