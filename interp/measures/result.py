"""Results that remember which model they were measured on; saved to and loaded from safetensors.

The estimators of :mod:`interp.stats` can be imported from here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import pandas as pd
import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.common.files import atomic_file
from finetune.common.short_repr import ShortRepr
from interp.models.identity import Fingerprint, model_fingerprint
from interp.stats import Estimate, estimate, over_seeds

__all__ = ["Estimate", "Result", "estimate", "long_frame", "over_seeds"]


@dataclass(frozen=True, kw_only=True)
class Result(ShortRepr):
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
        if not self.model.matches(model_fingerprint(model)):
            raise InputError(
                f"this {kind} was measured on another model; measure it again on the one at hand, "
                "or open the checkpoint that it was made with"
            )

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, whole or not at all."""

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
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: cannot be read as a saved {cls.__name__} ({error}); name a file that save() wrote, "
                "or measure it again"
            ) from error
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
    index = pd.MultiIndex.from_product(list(axes.values()), names=list(axes))
    return pd.DataFrame({n: v.flatten().numpy() for n, v in columns.items()}, index=index).reset_index()
