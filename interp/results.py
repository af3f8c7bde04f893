"""Numbers with an interval, and results that remember which model they were measured on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float, Shaped

from finetune.facts import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy import ndarray
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

RESAMPLES = 2000
PROBES, PROBE_LENGTH = 2, 8
SAME = {"float32": 1e-4, "float64": 1e-4}  # nats; what rounding alone may move a probe's log-prob by
SAME_IN_HALF_PRECISION = 5e-2


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What identifies a model: a hash of its shape, and its log-probs (nats) on a few fixed tokens.

    The probe is of what the model computes, not of its bytes: merging an adapter and taking it out again
    changes every weight's last bits and leaves the model what it was, while the same bytes under an active
    adapter are another model.
    """

    shape: str
    probe: tuple[float, ...]
    dtype: str

    def matches(self, other: Fingerprint) -> bool:
        """Tell whether the two are of one model, up to rounding."""
        if (self.shape, self.dtype) != (other.shape, other.dtype) or len(self.probe) != len(other.probe):
            return False
        tolerance = SAME.get(self.dtype, SAME_IN_HALF_PRECISION)
        return bool(np.max(np.abs(np.subtract(self.probe, other.probe)), initial=0.0) <= tolerance)


def fingerprint(model: TransformerBridge) -> Fingerprint:
    """Identify a model, with one forward pass over a handful of tokens."""
    import torch

    cfg = model.cfg
    names = (
        "n_layers",
        "n_heads",
        "d_model",
        "d_head",
        "d_mlp",
        "d_vocab",
        "n_key_value_heads",
        "architecture",
    )
    shape = json.dumps([str(getattr(cfg, name, None)) for name in names])
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(int(cfg.d_vocab), (PROBES, PROBE_LENGTH), generator=generator).to(parameter.device)
    with torch.inference_mode():
        logits = model(ids, attention_mask=torch.ones_like(ids), use_cache=False).float()
    chosen = logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])
    return Fingerprint(
        shape=hashlib.sha256(shape.encode()).hexdigest()[:16],
        probe=tuple(round(value, 7) for value in chosen.flatten().tolist()),
        dtype=str(parameter.dtype).removeprefix("torch."),
    )


@dataclass(frozen=True, kw_only=True)
class Result:
    """A measurement of some facts that remembers which model it was made on.

    Subclasses add fields: tensors, strings, numbers, tuples of these, and fingerprints of further models.
    """

    fact_ids: tuple[str, ...]
    model: Fingerprint | None = None

    def require(self, model: TransformerBridge) -> None:
        """Refuse a model that this was not measured on.

        Raises:
            InputError: the model differs, or the result does not say what it was measured on.
        """
        kind = type(self).__name__
        if self.model is None:
            raise InputError(f"this {kind} does not say which model it was measured on; measure it again")
        if not self.model.matches(fingerprint(model)):
            raise InputError(
                f"this {kind} was measured on another model; measure it again on the one at hand, "
                "or open the checkpoint that it was made with"
            )

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, whole or not at all."""
        import torch
        from safetensors.torch import save_file

        from finetune.files import atomic_file

        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {n: v.contiguous() for n, v in values.items() if isinstance(v, torch.Tensor)}
        rest = {
            n: asdict(v) if isinstance(v, Fingerprint) else v for n, v in values.items() if n not in tensors
        }
        header = {"kind": type(self).__name__, "fields": json.dumps(rest, ensure_ascii=False)}
        with atomic_file(Path(path)) as temporary:
            save_file(tensors, temporary, metadata=header)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is not a saved result of this kind.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read as a saved {cls.__name__} ({error})") from error
        if header.get("kind") != cls.__name__:
            found = header.get("kind", "file of another program")
            raise InputError(f"{path}: holds a {found}, not a {cls.__name__}; load it as what it is")
        rest = {name: _restored(value) for name, value in json.loads(header["fields"]).items()}
        return cls(**tensors, **rest)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return Fingerprint(**{name: _restored(part) for name, part in value.items()})
    return tuple(value) if isinstance(value, list) else value


def long_frame(axes: Mapping[str, Sequence[Any]], columns: Mapping[str, Shaped[Tensor, ...]]) -> pd.DataFrame:
    """Lay tensors out with one row per cell; ``axes`` names each dimension and its labels, in order."""
    import pandas as pd

    index = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
    return pd.DataFrame({n: v.flatten().numpy() for n, v in columns.items()}, index=index).reset_index()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval. ``value`` and the bounds are None where ``n`` allows none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def estimate(
    values: Float[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    difference: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Average values, with a percentile bootstrap over ``groups`` (facts of one subject vary together).

    Missing values (NaN) are dropped and do not count in ``n``. Where all values are equal and binary, a
    bootstrap would collapse to a point, so the exact Clopper-Pearson interval over groups is given. With
    ``difference`` the values are paired differences between -1 and 1, for which that interval is two-sided.
    """
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    values = values[present]
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)[present]
    _, member = np.unique(labels, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    sums = np.bincount(member, weights=values)
    mean = float(values.mean())
    low, high = _interval(sums, counts, values, confidence, seed)
    if difference and mean == 0 and low == 0 and high is not None:
        low = -high
    return Estimate(value=mean, low=low, high=high, n=len(values))


def over_seeds(
    estimates: Sequence[Estimate],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> Estimate:
    """Average the values that several seeds gave; a t-interval over seeds, ``n`` is how many.

    The interval is cut to ``bounds``, beyond which the quantity cannot lie (0 and 1 for a share).
    """
    from scipy.stats import t

    values = np.array([e.value for e in estimates if e.value is not None], dtype=np.float64)
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    half = float(values.std(ddof=1) / np.sqrt(len(values)) * t.ppf(0.5 + confidence / 2, len(values) - 1))
    return Estimate(
        value=mean, low=max(mean - half, bounds[0]), high=min(mean + half, bounds[1]), n=len(values)
    )


def _interval(
    sums: Float[ndarray, " group"],
    counts: Float[ndarray, " group"],
    values: Float[ndarray, " fact"],
    confidence: float,
    seed: int,
) -> tuple[float | None, float | None]:
    from scipy.stats import binomtest, bootstrap

    if len(sums) < 2:
        return None, None
    if np.ptp(values) == 0:
        if values[0] not in (0.0, 1.0):
            return float(values[0]), float(values[0])
        exact = binomtest(int(len(sums) * values[0]), len(sums)).proportion_ci(confidence, method="exact")
        return float(exact.low), float(exact.high)
    result = bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        batch=250,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
