"""A run directory, read once: headline numbers, a row per fact and arm, attention maps, one fact in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from finetune.common.errors import InputError
from interp.reports.read.fact_attention import BASE, Example, full_table, read_kept_examples
from interp.reports.read.files import RULE, expected_layout, read_object, read_optional
from interp.reports.read.results import SEEDS, Results
from interp.stats import Estimate

_NEEDED = ("seed", "arm", "fact_id", "subject", "relation", "answer", "prediction", "correct")


class NotMeasured(LookupError):
    """A run lacks what a figure or a sentence needs; the message says so in one sentence."""


@dataclass(frozen=True, kw_only=True)
class MeasuredEstimate(Estimate):
    """An estimate that has a value; its bounds may still be missing."""

    value: float

    @property
    def direction(self) -> int:
        """1 or -1 where the interval lies above or below zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Mean subject-attention mass per arm, Float [layer head], with 95% intervals where they were written."""

    mean: Mapping[str, Float[np.ndarray, "layer head"]]
    low: Mapping[str, Float[np.ndarray, "layer head"]]
    high: Mapping[str, Float[np.ndarray, "layer head"]]
    n: int

    def moved(self, arm: str, reference: str) -> np.ndarray:
        """Mark the heads whose interval does not overlap the reference's, Bool [layer head]."""
        if arm not in self.low or reference not in self.low:
            return np.zeros(self.mean[arm].shape, bool)
        return (self.low[arm] > self.high[reference]) | (self.high[arm] < self.low[reference])


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an analysis left: every number here comes from the files, none is computed from a model."""

    path: Path
    results: Mapping[str, Any]
    manifest: Mapping[str, Any]
    facts: pd.DataFrame
    attention: AttentionMaps | None = None
    examples: tuple[Example, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Run:
        """Read a run directory.

        Raises:
            InputError: the directory or one of its three main files is missing or malformed.
        """
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"{path}: is no directory; name a run directory, such as runs/demo")
        if (path / "partition.json").is_file() and not (path / "results.json").is_file():
            raise InputError(
                f"{path}: is a training, which has no page; measure it: factscope diagnose --finetuned {path}"
            )
        results, manifest = (read_object(path / name) for name in ("results.json", "manifest.json"))
        if not isinstance(results.get("arms"), dict) or not results["arms"]:
            raise InputError(f'{path / "results.json"}: holds no "arms"; {RULE}')
        return cls(
            path=path,
            results=results,
            manifest=manifest,
            facts=require_columns(path, _NEEDED),
            attention=_read_attention(path / "attention.json"),
            examples=read_kept_examples(path),
        )

    @property
    def example(self) -> Example | None:
        """The fact that figures show: the first whose attention was kept."""
        return self.examples[0] if self.examples else None

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, the base first."""
        return tuple(sorted(self.results["arms"], key=lambda arm: arm != BASE))

    @property
    def seeds(self) -> tuple[str, ...]:
        """The seeds that were run."""
        return tuple(self.results.get("seeds") or map(str, self.manifest.get("seeds", ())))

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The names of the paired contrasts, such as ``top_minus_bottom``."""
        return tuple(self.results.get("contrasts") or ())

    @property
    def halves(self) -> bool:
        """Whether the arms are the popular and unpopular halves, rather than a user's own checkpoints."""
        return "top_minus_bottom" in self.contrasts

    def number(self, *keys: str, seed: str | None = None) -> MeasuredEstimate | None:
        """Look up one number of results.json by its keys; None where it is absent or was not measured."""
        found = self.numbers.at(keys if seed is None else (SEEDS, seed, *keys))
        if found["value"] is None:
            return None
        return MeasuredEstimate(value=found["value"], low=found["low"], high=found["high"], n=int(found["n"]))

    @cached_property
    def numbers(self) -> Results:
        """All numbers of results.json."""
        return Results.of(self.results)

    @property
    def unit(self) -> str:
        """What the ``n`` of a headline number counts: seeds where there are several, else facts."""
        return "seeds" if len(self.seeds) > 1 else "facts"


def as_run(run: Run | Path | str) -> Run:
    """Return ``run``, reading it first if it is a path."""
    return run if isinstance(run, Run) else Run.load(run)


def require_columns(source: Any, needed: Sequence[str], arms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table of facts with the columns needed, and ``arm`` and ``seed``.

    Args:
        source: a table, something with ``to_frame()``, a run, or the directory of one.
        needed: columns that must be there.
        arms: which arms to keep, in this order; all without it.

    Raises:
        InputError: a column or an arm is missing, or the directory holds no table of facts.
    """
    where = "the table"
    if isinstance(source, Run):
        where, frame = str(source.path), source.facts
    elif isinstance(source, Path | str):
        where = str(Path(source) / "facts.parquet")
        frame = read_parquet(Path(where))
    else:
        frame = source if isinstance(source, pd.DataFrame) else source.to_frame()
    if missing := [name for name in needed if name not in frame]:
        raise InputError(f"{where}: lacks the column {missing[0]!r}; {RULE}")
    frame = frame.assign(**{name: value for name, value in (("arm", ""), ("seed", 0)) if name not in frame})
    if arms is None:
        return frame
    if odd := [arm for arm in arms if arm not in set(frame["arm"])]:
        raise InputError(f"{where}: holds no arm {odd[0]!r}; choose from {', '.join(frame['arm'].unique())}")
    return pd.concat([frame[frame["arm"] == arm] for arm in arms])


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file of a run directory.

    Raises:
        InputError: it is missing or unreadable.
    """
    if not path.is_file():
        raise InputError(f"{path}: is missing, so {path.parent} is no finished run of that kind; {RULE}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not a readable Parquet file ({error}); {RULE}") from None


def _read_attention(path: Path) -> AttentionMaps | None:
    held = read_optional(path)
    if held is None:
        return None
    with expected_layout(path):
        shape = (held["n_layers"], held["n_heads"])
        maps = {
            kind: {arm: full_table(path, arm, rows, shape) for arm, rows in (held.get(key) or {}).items()}
            for kind, key in (("mean", "arms"), ("low", "low"), ("high", "high"))
        }
        n = min(held["n"].values()) if isinstance(held["n"], dict) else held["n"]
    return AttentionMaps(**maps, n=n) if maps["mean"] else None
