"""Loading a causal language model, full checkpoint or LoRA adapter, as data: no pickle, no remote code.

A source is a local directory or a hub id. The network is used only for a hub id, and never on behalf of a
local directory.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finetune.adapter_files import base_of
from finetune.checkpoint_paths import located
from finetune.facts import InputError
from finetune.hub import is_offline, refusal

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Source = str | Path
UNBOUNDED = 1 << 20  # tokens; more than anybody asks at once
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def load_model(
    source: Source, *, base: Source | None = None, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load ``source`` in ``dtype`` (float32 unless given) with its tokenizer, on a GPU if there is one.

    An adapter is put, unmerged, on ``base`` or else on the base that its own configuration names. A
    checkpoint that brings no tokenizer takes the base's.

    Raises:
        InputError: ``source`` is no checkpoint, is unsafe to load, or does not belong to the base.
    """
    import torch

    tokenizer = tokenizer_for(source, base)
    if is_adapter(source):
        model = load_adapter(load_weights(base or adapter_base(source), dtype=dtype), source)
    else:
        model = load_weights(source, dtype=dtype)
    return cast("PreTrainedModel", model.to("cuda" if torch.cuda.is_available() else "cpu").eval()), tokenizer


def load_weights(
    source: Source,
    *,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    device_map: Any = None,
) -> Any:
    """Load a full checkpoint in ``dtype`` (float32 unless given).

    Raises:
        InputError: see :func:`load_model`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    source = located(source)
    require_checkpoint(source)
    try:
        return AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype or torch.float32,
            revision=revision or "main",
            use_safetensors=None if allow_pickle else True,
            local_files_only=Path(source).is_dir(),
            trust_remote_code=False,
            device_map=device_map,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(_unloadable(source, error)) from error


def load_adapter(model: PreTrainedModel, source: Source) -> PeftModel:
    """Put an adapter on a loaded base; see :func:`finetune.adapter_loading.put_adapter`.

    Raises:
        InputError: the adapter is damaged, or was made for a base of other modules, shapes or vocabulary.
    """
    from finetune.adapter_loading import put_adapter

    source = located(source)
    require_checkpoint(source)
    return put_adapter(model, source).model


def tokenizer_for(source: Source, base: Source | None = None) -> PreTrainedTokenizerBase:
    """Load a checkpoint's own tokenizer, or its base's if it brings none."""
    source = located(source)
    own = not Path(source).is_dir() or (Path(source) / "tokenizer_config.json").is_file()
    if own or (base is None and not is_adapter(source)):
        return load_tokenizer(source)
    return load_tokenizer(base or adapter_base(source))


def load_tokenizer(source: Source, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint.

    Raises:
        InputError: there is none, or a hub id without a network.
    """
    from transformers import AutoTokenizer

    source = located(source)
    require_checkpoint(source)
    local = Path(source).is_dir()
    try:
        return AutoTokenizer.from_pretrained(
            source, revision=revision or "main", local_files_only=local, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise InputError(_unloadable(source, error)) from error


def configuration_of(source: Source) -> PreTrainedConfig:
    """Read a checkpoint's configuration, without its weights.

    Raises:
        InputError: there is none, or a hub id without a network.
    """
    from transformers import AutoConfig

    source = located(source)
    require_checkpoint(source)
    try:
        return AutoConfig.from_pretrained(
            source, local_files_only=Path(source).is_dir(), trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise InputError(_unloadable(source, error)) from error


def context_of(source: Source) -> int:
    """Return how many tokens a checkpoint's model, or an adapter's base, can read at once.

    Raises:
        InputError: see :func:`configuration_of`.
    """
    whole = adapter_base(source) if is_adapter(source) else source
    # A model without learnt or bounded positions (Bloom's ALiBi) names none.
    return int(getattr(configuration_of(whole), "max_position_embeddings", None) or UNBOUNDED)


def is_adapter(source: Source) -> bool:
    """Whether a local directory holds a PEFT adapter rather than a whole model."""
    return (Path(located(source)) / "adapter_config.json").is_file()


def adapter_base(source: Source) -> str:
    """Return the directory of the base that an adapter's own configuration names, without a network.

    Raises:
        InputError: it names none, or one that is not on this machine.
    """
    return base_of(source)


def require_checkpoint(source: Source) -> None:
    """Refuse what is neither a checkpoint directory nor a well-formed hub id.

    Raises:
        InputError: says which, and what was looked for.
    """
    path = Path(source)
    if path.is_file():
        raise InputError(f"{source}: is a file; name the checkpoint's directory")
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise InputError(
                f"{source}: holds neither config.json nor adapter_config.json; name a checkpoint"
            )
    elif isinstance(source, Path) or path.is_absolute() or not _HUB_ID.fullmatch(source):
        raise InputError(f"{source}: no such directory; name a checkpoint directory or a hub id")


def _unloadable(source: Source, error: Exception) -> str:
    remedy = "name another checkpoint"
    if not Path(source).is_dir():
        if said := refusal(str(source), error, "model"):
            return said
        remedy = "no such directory here, and the hub " + (
            "is switched off by HF_HUB_OFFLINE=1"
            if is_offline()
            else "did not give it; check the id and the network"
        )
    elif "safetensors" in str(error):
        remedy = "convert it to safetensors, or pass allow_pickle=True if you trust it"
    return f"{source}: cannot be loaded ({_first_line(error)}); {remedy}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")[:200]
