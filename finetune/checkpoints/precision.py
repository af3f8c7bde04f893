"""The dtype of a model where no option names one: bfloat16 where the processor is much faster in it.

On a CPU with AVX512_BF16 SmolLM2 runs 2.7 times as fast as in float32; narrow models gain nothing.
"""

from __future__ import annotations

from typing import Literal

from finetune.checkpoints.inspection import Source, read_configuration
from finetune.checkpoints.loading import adapter_base, is_adapter
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.errors import InputError
from finetune.common.progress import notice

WIDE = 512  # of the residual stream
_UNITS = ("avx512_bf16", "amx_bf16")


def default_dtype(base: Source) -> Literal["float32", "bfloat16"]:
    """Return bfloat16 for a wide model on a CPU that computes in it, with a notice; else float32.

    What is wrong with a base is said where it is loaded.
    """
    import torch

    capable = torch.cpu.get_capabilities()
    if torch.cuda.is_available() or not any(capable.get(unit) for unit in _UNITS):
        return "float32"
    try:
        whole = resolve_checkpoint(adapter_base(base) if is_adapter(base) else base)
        config = read_configuration(whole).get_text_config()
    except InputError:
        return "float32"
    if getattr(config, "hidden_size", 0) < WIDE:
        return "float32"
    notice(
        "computed in bfloat16, in which this processor is two to three times as fast; --dtype float32 rounds "
        "less"
    )
    return "bfloat16"
