"""Loading a causal language model, full checkpoint or LoRA adapter, as data: no pickle, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune.facts import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_model(
    source: str | Path, *, base: str | Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load ``source`` in float32 with its tokenizer; an adapter is put on ``base`` (unmerged).

    A checkpoint without a tokenizer of its own takes the base's.

    Raises:
        InputError: a directory that holds neither a checkpoint nor an adapter, or a hub id without a network.
    """
    import torch
    from transformers import AutoModelForCausalLM

    path = Path(source)
    adapter = (path / "adapter_config.json").is_file()
    if path.is_dir() and not adapter and not (path / "config.json").is_file():
        raise InputError(f"{source}: holds neither config.json nor adapter_config.json; name a checkpoint")
    weights = base if adapter else source
    if weights is None:
        raise InputError(f"{source}: is an adapter; name its base as well")
    try:
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, use_safetensors=True)
    except OSError as error:
        raise InputError(_unloadable(source, error)) from error
    has_tokenizer = base is None or not path.is_dir() or (path / "tokenizer_config.json").is_file()
    tokenizer = load_tokenizer(source if has_tokenizer else base)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(path), use_safetensors=True)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def load_tokenizer(source: str | Path | None) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer.

    Raises:
        InputError: there is none, or a hub id without a network.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except OSError as error:
        raise InputError(_unloadable(source, error)) from error


def _unloadable(source: str | Path | None, error: OSError) -> str:
    reason = str(error).strip().split("\n")[0]
    return f"{source}: cannot be loaded ({reason}); name a checkpoint directory, or a hub id with a network"
