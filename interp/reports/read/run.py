"""A run directory, read once: headline numbers, a row per fact and arm, attention maps, one fact in full."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.reports.read.pattern_coding import unpack_most
from interp.reports.read.results import SEEDS, Results
from interp.stats import Estimate

if TYPE_CHECKING:
    from jaxtyping import Float

BASE = "base"
RULE = "run the analysis again, or name a directory that it finished"


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
class Example:
    """One fact's attention in every arm.

    ``patterns`` maps an arm to Float [layer head query key]; ``tokens`` and ``subject_tokens`` are [key].
    A large model's patterns are whole for the heads that changed most; of the others all but the last row
    is NaN.
    """

    fact_id: str
    prompt: str
    tokens: tuple[str, ...]
    subject_tokens: tuple[bool, ...]
    answers: tuple[str, ...]
    predictions: Mapping[str, str]
    patterns: Mapping[str, Float[np.ndarray, "layer head query key"]]

    @property
    def reference(self) -> str:
        """The arm that the others are compared with: the base, or the first one."""
        return BASE if BASE in self.patterns else next(iter(self.patterns))

    def last_rows(self, arm: str) -> Float[np.ndarray, "layer head key"]:
        """Return the attention that the last token pays to every token."""
        return self.patterns[arm][:, :, -1, :]

    def subject_mass(self, arm: str) -> Float[np.ndarray, "layer head"]:
        """Return how much of the last token's attention falls on the subject."""
        return self.last_rows(arm)[:, :, np.array(self.subject_tokens, bool)].sum(-1)

    def heads_by_change(self, arms: Sequence[str]) -> list[tuple[int, int]]:
        """Order (layer, head) by the largest change of subject mass in any of ``arms``, largest first."""
        before = self.subject_mass(self.reference)
        change = np.zeros_like(before)
        for arm in arms:
            change = np.maximum(change, np.abs(self.subject_mass(arm) - before))
        # Rounding makes heads with equal change keep their natural order whatever the last bit says.
        order = np.argsort(-change.round(6), axis=None, kind="stable")
        return [(int(i) // change.shape[1], int(i) % change.shape[1]) for i in order]


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
        results, manifest = (read_object(path / name) for name in ("results.json", "manifest.json"))
        if not isinstance(results.get("arms"), dict) or not results["arms"]:
            raise InputError(f'{path / "results.json"}: holds no "arms"; {RULE}')
        return cls(
            path=path,
            results=results,
            manifest=manifest,
            facts=_read_facts(path / "facts.parquet"),
            attention=_read_attention(path / "attention.json"),
            examples=_read_examples(path),
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


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run directory.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing, so {path.parent} is no finished run; {RULE}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not readable JSON ({error}); {RULE}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object; {RULE}")
    return value


def _read_optional(path: Path) -> dict[str, Any] | None:
    """Read a file that a run may lack; one that holds null says so in its own way."""
    if not path.is_file() or path.read_bytes().strip() == b"null":
        return None
    return read_object(path)


def _read_facts(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: is missing, so {path.parent} is no finished run; {RULE}")
    try:
        facts = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not a readable Parquet file ({error}); {RULE}") from None
    needed = ("seed", "arm", "fact_id", "subject", "relation", "answer", "prediction", "correct")
    if missing := [name for name in needed if name not in facts]:
        raise InputError(f"{path}: lacks the column {missing[0]!r}; {RULE}")
    return facts


def _read_attention(path: Path) -> AttentionMaps | None:
    held = _read_optional(path)
    if held is None:
        return None
    try:
        shape = (held["n_layers"], held["n_heads"])
        maps = {
            kind: {arm: _array(path, arm, rows, shape) for arm, rows in (held.get(key) or {}).items()}
            for kind, key in (("mean", "arms"), ("low", "low"), ("high", "high"))
        }
        n = held["n"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None
    return AttentionMaps(**maps, n=min(n.values()) if isinstance(n, dict) else n) if maps["mean"] else None


def _read_examples(path: Path) -> tuple[Example, ...]:
    """Read the facts whose attention was kept: several in examples.json, or one in example.json."""
    several = path / "examples.json"
    if not several.is_file():
        held = _read_optional(path / "example.json")
        return tuple(e for e in [_example(path / "example.json", held)] if e) if held else ()
    try:
        items = read_json(several)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{several}: is not readable JSON ({error}); {RULE}") from None
    if not isinstance(items, list):
        raise InputError(f"{several}: holds no JSON list; {RULE}")
    return tuple(e for item in items if (e := _example(several, item)))


def _example(path: Path, held: Any) -> Example | None:
    try:
        length = len(held["tokens"])
        if len(held["subject_tokens"]) != length:
            raise InputError(
                f"{path}: {len(held['subject_tokens'])} subject flags for {length} tokens; {RULE}"
            )
        patterns = {
            arm: unpack_most(packed, length)
            if isinstance(packed := part["patterns"], dict)
            else _array(path, arm, packed, (None, None, length, length))
            for arm, part in held["arms"].items()
        }
        example = Example(
            fact_id=str(held["fact_id"]),
            prompt=held["prompt"],
            tokens=tuple(held["tokens"]),
            subject_tokens=tuple(map(bool, held["subject_tokens"])),
            answers=tuple(held["answers"]),
            predictions={arm: str(part.get("prediction", "")) for arm, part in held["arms"].items()},
            patterns=patterns,
        )
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None
    if len({p.shape for p in patterns.values()}) > 1:
        raise InputError(f"{path}: the arms' patterns differ in shape; {RULE}")
    return example if patterns else None


def _array(path: Path, arm: str, rows: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    try:
        array = np.array(rows, dtype=float)
    except ValueError:
        raise InputError(f"{path}: the numbers of {arm!r} do not form a full table; {RULE}") from None
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{path}: {arm!r} has shape {array.shape}, expected {shape}; {RULE}")
    return array
