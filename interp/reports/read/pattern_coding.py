"""Attention patterns as text: a byte a weight, ``round(255 p)``, exact to 0.002, in base64.

Of a whole pattern the cells on and below the diagonal are kept, row after row: 8 heads of a prompt of 30
tokens take 5 kB a model. Of the other heads only the last token's row is kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

LEVELS = 255

Head = tuple[int, int]


def pack(patterns: Float[ndarray, "head query key"]) -> str:
    """Write patterns as base64, a byte per cell on and below the diagonal.

    Raises:
        ValueError: a weight is not between 0 and 1.
    """
    return _coded(patterns[:, *np.tril_indices(patterns.shape[-1])])


def unpack(text: str, heads: int, length: int) -> Float[ndarray, "head query key"]:
    """Read what :func:`pack` wrote.

    Raises:
        ValueError: the text holds another number of cells.
    """
    patterns = np.zeros((heads, length, length), np.float32)
    patterns[:, *np.tril_indices(length)] = _decoded(text, (heads, length * (length + 1) // 2))
    return patterns


def pack_most(
    rows: Float[ndarray, "layer head key"], whole: Mapping[Head, Float[ndarray, "query key"]]
) -> dict[str, Any]:
    """Write every head's last row, and the whole patterns of some heads, as JSON.

    Raises:
        ValueError: a weight is not between 0 and 1.
    """
    length = rows.shape[-1]
    some = np.stack(list(whole.values())) if whole else np.zeros((0, length, length))
    return {
        "layers": rows.shape[0],
        "rows": _coded(rows),
        "heads": [list(map(int, head)) for head in whole],
        "whole": pack(some),
    }


def unpack_most(held: Mapping[str, Any], length: int) -> Float[ndarray, "layer head query key"]:
    """Read what :func:`pack_most` wrote; what was not kept is NaN.

    Raises:
        KeyError, TypeError, ValueError: the layout is another.
    """
    layers, heads = int(held["layers"]), [(int(layer), int(head)) for layer, head in held["heads"]]
    rows = _decoded(held["rows"], (layers, -1, length))
    patterns = np.full((*rows.shape, length), np.nan, np.float32).swapaxes(2, 3).copy()
    patterns[:, :, -1] = rows
    for (layer, head), pattern in zip(heads, unpack(held["whole"], len(heads), length), strict=True):
        if not (0 <= layer < layers and 0 <= head < rows.shape[1]):
            raise ValueError(f"head {layer}.{head} of {layers} layers and {rows.shape[1]} heads")
        patterns[layer, head] = pattern
    return patterns


def _coded(weights: Float[ndarray, ...]) -> str:
    if not ((weights > -1e-3) & (weights < 1 + 1e-3)).all():
        raise ValueError("patterns hold weights that are not between 0 and 1; give the softmax's output")
    levels: UInt8[ndarray, ...] = (weights * LEVELS).round().clip(0, LEVELS).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()


def _decoded(text: str, shape: Sequence[int]) -> Float[ndarray, ...]:
    try:
        cells = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(f"patterns are not base64 ({error})") from None
    return (cells / np.float32(LEVELS)).reshape(shape)
