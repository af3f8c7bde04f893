"""Numbers with an interval, and results that remember which model they were measured on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float, Int, Shaped

from finetune.facts import InputError
from interp.identity import Fingerprint, fingerprint

if TYPE_CHECKING:
    import pandas as pd
    from numpy import ndarray
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

RESAMPLES = 2000


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
            InputError: the file is not a saved result of this kind, or lacks part of one.
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
        rest = {name: _restored(value) for name, value in json.loads(header.get("fields", "{}")).items()}
        if odd := sorted({field.name for field in fields(cls)} ^ {*tensors, *rest}):
            raise InputError(
                f"{path}: is another version's {cls.__name__} ({', '.join(odd)}); measure it again"
            )
        return cls(**tensors, **rest)


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: _restored(part) for name, part in value.items()}
        return Fingerprint(**parts) if "probe" in parts else parts
    return tuple(map(_restored, value)) if isinstance(value, list) else value


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

    Examples:
        >>> import numpy as np
        >>> right = np.array([1.0, 1.0, 0.0, 1.0])  # two facts about each of two people
        >>> found = estimate(right, groups=np.array(["Ada", "Ada", "Emmy", "Emmy"]))
        >>> found.value, found.low, found.high, found.n
        (0.75, 0.5, 1.0, 4)
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
    if np.ptp(values) == 0:
        low, high = _constant(mean, len(sums), difference, confidence)
    else:
        low, high = _interval(sums, counts, confidence, seed)
    return Estimate(value=mean, low=low, high=high, n=len(values))


def auroc(
    values: Float[ndarray, " fact"],
    positive: Shaped[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Measure the area under the ROC curve, with a percentile bootstrap over ``groups``.

    It is the probability that a positive has the larger value (half of it where they tie). None where one of
    the two kinds is missing.
    """
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    return bootstrapped(
        roc_area, (values, positive), labels, confidence=confidence, resamples=resamples, seed=seed
    )


def bootstrapped(
    statistic: Callable[..., float | None],
    values: Sequence[Shaped[ndarray, " row"]],
    groups: Shaped[ndarray, " row"],
    *,
    confidence: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Compute a statistic of some columns, with a percentile bootstrap over ``groups``.

    ``statistic`` takes the columns and may return None, where it is not defined; draws for which it is not
    are left out.
    """
    n, value = len(groups), statistic(*values)
    if value is None:
        return Estimate(value=None, low=None, high=None, n=n)
    drawn = []
    for some in redrawn(groups, resamples=resamples, seed=seed):
        again = statistic(*(column[some] for column in values))
        drawn += [] if again is None else [again]
    if not drawn:
        return Estimate(value=value, low=None, high=None, n=n)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def redrawn(
    groups: Shaped[ndarray, " row"], *, resamples: int, seed: int = 0
) -> Iterator[Int[ndarray, " drawn"]]:
    """Yield the row numbers of each bootstrap draw of whole groups; none where there is but one group."""
    _, member = np.unique(groups, return_inverse=True)
    order, ends = np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))
    parts = np.split(order, ends[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(resamples if len(parts) > 1 else 0):
        yield np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))])


def roc_area(values: Float[ndarray, " fact"], positive: Shaped[ndarray, " fact"]) -> float | None:
    """Return the area under the ROC curve, or None where one of the two kinds is missing."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    if not 0 < n < len(positive):
        return None
    above = rankdata(values)[positive.astype(bool)].sum() - n * (n + 1) / 2
    return float(above / (n * (len(positive) - n)))


def over_seeds(
    estimates: Sequence[Estimate],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> Estimate:
    """Average the values that several seeds gave; a t-interval over seeds, ``n`` is how many.

    The interval is cut to ``bounds``, beyond which the quantity cannot lie (0 and 1 for a share). Where all
    seeds gave the same value a t-interval would collapse, so the widest of the seeds' own is given.

    Examples:
        >>> seeds = [Estimate(value=v, low=None, high=None, n=200) for v in (0.3, 0.4, 0.5)]
        >>> pooled = over_seeds(seeds, bounds=(0, 1))
        >>> round(pooled.value, 3), round(pooled.low, 3), round(pooled.high, 3), pooled.n
        (0.4, 0.152, 0.648, 3)
    """
    from scipy.stats import t

    values = np.array([e.value for e in estimates if e.value is not None], dtype=np.float64)
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    if not bounds[0] - 1e-9 <= mean <= bounds[1] + 1e-9:
        raise ValueError(f"a mean of {mean} does not lie between {bounds[0]} and {bounds[1]}, as it should")
    if np.ptp(values) == 0:
        own = [(e.low, e.high) for e in estimates if e.low is not None and e.high is not None]
        low, high = min((e[0] for e in own), default=mean), max((e[1] for e in own), default=mean)
        return Estimate(value=mean, low=low, high=high, n=len(values))
    half = float(values.std(ddof=1) / np.sqrt(len(values)) * t.ppf(0.5 + confidence / 2, len(values) - 1))
    return Estimate(
        value=mean, low=max(mean - half, bounds[0]), high=min(mean + half, bounds[1]), n=len(values)
    )


def _constant(
    value: float, groups: int, difference: bool, confidence: float
) -> tuple[float | None, float | None]:
    """Return the interval of values that are all equal: exact if binary, else a point."""
    from scipy.stats import binomtest

    if groups < 2:
        return None, None
    if value not in ((-1.0, 0.0, 1.0) if difference else (0.0, 1.0)):
        return value, value
    exact = binomtest(int(groups * abs(value)), groups).proportion_ci(confidence, method="exact")
    low, high = float(exact.low), float(exact.high)
    if not difference or value == 1:
        return low, high
    return -high, (high if value == 0 else -low)


def _interval(
    sums: Float[ndarray, " group"], counts: Float[ndarray, " group"], confidence: float, seed: int
) -> tuple[float | None, float | None]:
    from scipy.stats import bootstrap

    if len(sums) < 2:
        return None, None
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
