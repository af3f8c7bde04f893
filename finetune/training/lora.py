"""LoRA: a base made ready to be trained, in its precision and with the adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_torch_bf16_gpu_available

from finetune.checkpoints.loading import load_tokenizer, load_weights
from finetune.common.errors import InputError
from finetune.training.config import ALL_LINEAR, TuneConfig
from finetune.training.projections import freeze_all_but


def trainable_model(base: Path | str, config: TuneConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the base and, for LoRA, put a fresh adapter on it.

    What learns is float32, so that small updates are not rounded away. A base that is frozen under an adapter
    is in ``config.dtype``: it is never updated, and halves the memory in bf16.

    Raises:
        InputError: no checkpoint; LoRA targets that the base has not; bf16 that this GPU has not.
    """
    if config.dtype == "bfloat16":
        _require_bfloat16()
    tokenizer = load_tokenizer(base)
    frozen = config.method == "lora"
    model = load_weights(base, dtype=getattr(torch, config.dtype) if frozen else torch.float32)
    if not frozen:
        freeze_all_but(model, config.part)
        return model, tokenizer
    # peft makes the adapter of a bf16 base float32 (autocast_adapter_dtype, its default).
    adapted: Any = get_peft_model(model, lora_config(model, config))
    # A set would be written in another order by every process.
    adapted.peft_config["default"].target_modules = sorted(adapted.peft_config["default"].target_modules)
    return adapted, tokenizer


def lora_config(model: nn.Module, config: TuneConfig) -> LoraConfig:
    """Translate the settings into peft's.

    Raises:
        InputError: a target that is no linear layer of this model.
    """
    targets: str | list[str] = ALL_LINEAR
    if config.targets != ALL_LINEAR:
        targets = list(config.targets)
        has = linear_layers(model)
        for target in targets:
            if not any(f".{name}".endswith(f".{target}") for name in has):
                known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in has}))
                raise InputError(f"LoRA target {target!r}: the base has no such linear layer; it has {known}")
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def linear_layers(model: Any) -> dict[str, nn.Module]:
    """Return the linear layers of a model by name, without the output head, which LoRA leaves alone."""
    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, Conv1D)
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds) and m is not head}


def _require_bfloat16() -> None:
    if torch.cuda.is_available() and not is_torch_bf16_gpu_available():
        name = torch.cuda.get_device_name()
        raise InputError(f"dtype = bfloat16: {name} does not compute in it; choose float32")
