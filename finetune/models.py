"""Loading a causal language model, full checkpoint or LoRA adapter, as data: no pickle, no remote code.

A source is a local directory or a hub id. The network is used only for a hub id, and never on behalf of a
local directory.
"""

from __future__ import annotations

import re
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finetune.adapter_files import base_of
from finetune.checkpoint_paths import located
from finetune.configs import one_line
from finetune.facts import InputError
from finetune.hub import is_offline, refusal
from finetune.loadable import Inspected, inspect_checkpoint, read_configuration, require_trial, with_files
from finetune.loaded import SMALL, require_finite, require_runs, require_same, settle_ties
from finetune.weight_keys import Fit, explanation, model_class, unusable

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Source = str | Path
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")
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
    attn_implementation: str | None = None,
) -> Any:
    """Load a full checkpoint in ``dtype`` (float32 unless given).

    All of the model's parameters come from the files, and all of the files' tensors go into the model.
    ``attn_implementation`` is sdpa, where the architecture has it, unless given; never the configuration's.

    Raises:
        InputError: see :func:`load_model`.
    """
    source = located(source)
    require_checkpoint(source)
    found = inspect_checkpoint(source, revision=revision, allow_pickle=allow_pickle)
    for told in found.notices:
        warnings.warn(told, stacklevel=2)
    with ExitStack() as opened:
        tensors, found = _tensors(found, opened)
        model = _filled(found, tensors, dtype, device_map, attn_implementation)
    with ExitStack() as opened:  # read anew, for parameters may share the memory that was read before
        require_same(str(source), model, _tensors(found, opened)[0])
    model.config.name_or_path = model.name_or_path = str(source)
    _take_generation_config(model, source, revision)
    require_finite(str(source), model)
    if model.num_parameters() < SMALL or not require_trial(found):
        require_runs(str(source), model)
    settle_ties(str(source), model)
    return model


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
    if brings_tokenizer(source) or (base is None and not is_adapter(source)):
        return load_tokenizer(source)
    return load_tokenizer(base or adapter_base(source))


def brings_tokenizer(source: Source) -> bool:
    """Tell whether a checkpoint has a tokenizer of its own; of a hub id it is assumed."""
    return not Path(source).is_dir() or any((Path(source) / name).is_file() for name in TOKENIZER_FILES)


def load_tokenizer(source: Source, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint, as its files say; of EOS tokens named nowhere else the model's own.

    Raises:
        InputError: there is none, it has no vocabulary, or a hub id without a network.
    """
    from finetune.tokenizer_files import faithful

    source = located(source)
    require_checkpoint(source)
    try:
        return faithful(source, revision or "main")
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{source}: its tokenizer needs a package that is not installed ({one_line(error)}); install it"
        ) from error
    except Exception as error:  # tokenizers raise whatever their files lead to
        raise InputError(unloadable(source, error, "its tokenizer cannot be loaded")) from error


def configuration_of(source: Source) -> PreTrainedConfig:
    """Read a checkpoint's configuration, without its weights.

    Raises:
        InputError: there is none, or a hub id without a network.
    """
    source = located(source)
    require_checkpoint(source)
    return read_configuration(source)


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


def unloadable(source: Source, error: Exception, what: str = "cannot be loaded") -> str:
    """Say in a line why a source cannot be loaded, and what to do about it."""
    remedy = "name another checkpoint, or copy all of its files again"
    if not Path(source).is_dir():
        if said := refusal(str(source), error, "model"):
            return said
        off = " (switched off by HF_HUB_OFFLINE=1)" if is_offline() else ""
        remedy = f"no such directory here, and the hub{off} did not give it; check the hub id and the network"
    return f"{source}: {what} ({one_line(error)}); {remedy}"


def _tensors(found: Inspected, opened: ExitStack) -> tuple[dict[str, Any], Inspected]:
    """Open the files and return their tensors by the model's key: slices that are read when they are used."""
    from safetensors import safe_open

    if found.files.pickled:
        tensors = _unpickled(found)
        files = replace(found.files, shapes={k: tuple(t.shape) for k, t in tensors.items()})
        found = with_files(found, files)
        return {found.renamed.get(key, key): tensor for key, tensor in tensors.items()}, found
    held = {file: opened.enter_context(safe_open(file, framework="pt")) for file in found.files.files}
    places = found.files.places.items()
    return {found.renamed.get(key, key): held[file].get_slice(key) for key, file in places}, found


def _unpickled(found: Inspected) -> dict[str, Any]:
    import torch

    tensors: dict[str, Any] = {}
    for file in found.files.files:
        try:
            # Even where pickle is allowed, nothing but tensors is made of it.
            tensors |= torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            raise InputError(
                f"{file}: cannot be read as tensors ({one_line(error)}); convert it to safetensors"
            ) from error
    return {key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}


def _filled(
    found: Inspected,
    tensors: dict[str, Any],
    dtype: torch.dtype | None,
    device_map: Any,
    attention: str | None,
) -> Any:
    """Make the model and put the tensors into it."""
    import torch

    kind, config = model_class(found.config)
    try:
        model, told = kind.from_pretrained(
            None,  # no directory, so that nothing but these tensors is looked for: no pickle, no code, no hub
            config=config,
            state_dict=tensors,
            dtype=dtype or torch.float32,
            device_map=device_map,
            attn_implementation=attention or usual_attention(kind),
            output_loading_info=True,
        )
    except Exception as error:
        raise unusable(found.source, error) from error
    outcome = Fit(missing=sorted(told["missing_keys"]), unexpected=[], mismatched=[], model=model)
    if not outcome.complete:
        raise InputError(explanation(found.source, outcome))
    return model


def usual_attention(model: Any) -> str:
    """Name the implementation of attention that a model, or a class of models, is loaded with unless told."""
    return "sdpa" if model._supports_sdpa else "eager"


def _take_generation_config(model: Any, source: Source, revision: str | None) -> None:
    """Give the model the checkpoint's own end-of-sequence tokens and the like, where it brings any."""
    from transformers import GenerationConfig

    local = Path(source).is_dir()
    if local and not (Path(source) / "generation_config.json").is_file():
        return
    try:
        model.generation_config = GenerationConfig.from_pretrained(
            source, revision=revision or "main", local_files_only=local
        )
    except OSError as error:
        if local:
            raise InputError(
                unloadable(source, error, "its generation_config.json cannot be read")
            ) from error
    except Exception as error:
        raise InputError(unloadable(source, error, "its generation_config.json cannot be used")) from error
