"""The dtype of a model where no option names one: bfloat16 where the processor is much faster in it.

On a CPU with AVX512_BF16 SmolLM2 runs 2.7 times as fast as in float32; narrow models gain nothing. On one
that has AVX2 alone it takes 5.5 times as long as in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from finetune.common.errors import InputError
from finetune.common.progress import notice

WIDE = 512  # of the residual stream
_UNITS = ("avx512_bf16", "amx_bf16")


def note_slow_dtype(dtype: str | None) -> None:
    """Say that a chosen dtype is one which this processor computes slowly."""
    import torch

    if dtype != "bfloat16" or torch.cuda.is_available():
        return
    capable = torch.cpu.get_capabilities()
    if capable.get("architecture") == "x86_64" and not any(capable.get(unit) for unit in _UNITS):
        notice(
            "this processor has no unit for bfloat16, in which it takes several times as long as in float32: "
            "leave --dtype out unless memory is short"
        )


def default_dtype(base: str | Path) -> Literal["float32", "bfloat16"]:
    """Return bfloat16 for a wide model on a CPU that computes in it, with a notice; else float32.

    What is wrong with a base is said where it is loaded.
    """
    import torch

    from finetune.checkpoints.loading import adapter_base, configuration_of, is_adapter

    capable = torch.cpu.get_capabilities()
    if torch.cuda.is_available() or not any(capable.get(unit) for unit in _UNITS):
        return "float32"
    try:
        config = configuration_of(adapter_base(base) if is_adapter(base) else base).get_text_config()
    except InputError:
        return "float32"
    if getattr(config, "hidden_size", 0) < WIDE:
        return "float32"
    notice(
        "computed in bfloat16, in which this processor is two to three times as fast; --dtype float32 rounds "
        "less"
    )
    return "bfloat16"
