"""bfloat16 is taken for wide models alone, on CPUs that compute in it, and said."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from finetune.checkpoints.precision import WIDE, default_dtype, note_slow_dtype
from finetune.common.progress import Notice


def base_of_width(width: int, folder: Path) -> Path:
    folder.mkdir()
    shape = {"model_type": "llama", "hidden_size": width, "num_attention_heads": 4, "vocab_size": 8}
    (folder / "config.json").write_text(json.dumps(shape))
    return folder


@pytest.mark.parametrize(
    ("width", "units", "dtype"),
    [
        (WIDE, {"avx512_bf16": True}, "bfloat16"),
        (WIDE, {"amx_bf16": True}, "bfloat16"),
        (WIDE, {"avx512_f": True}, "float32"),
        (64, {"avx512_bf16": True}, "float32"),
    ],
)
def test_a_wide_model_on_a_fitting_cpu(
    width: int, units: dict[str, bool], dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    base = base_of_width(width, tmp_path / "base")
    if dtype == "bfloat16":
        with pytest.warns(Notice, match="--dtype float32 rounds less"):
            assert default_dtype(base) == dtype
    else:
        assert default_dtype(base) == dtype
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_dtype(base) == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_dtype(tmp_path / "nothing") == "float32", "that is told where it is loaded"


@pytest.mark.parametrize(
    ("dtype", "units", "said"),
    [
        ("bfloat16", {"architecture": "x86_64", "avx2": True}, True),
        ("bfloat16", {"architecture": "x86_64", "amx_bf16": True}, False),
        ("bfloat16", {"architecture": "aarch64"}, False),
        ("float32", {"architecture": "x86_64"}, False),
        (None, {"architecture": "x86_64"}, False),
    ],
)
def test_a_slow_dtype_is_said(
    dtype: str | None, units: dict[str, object], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        note_slow_dtype(dtype)
    assert [item.category for item in caught] == [Notice] * said
