"""Weight keys of a checkpoint against its model: missing, unexpected and prefixed ones, and other shapes.

The library's own loading is done with tensors that have a shape and no contents (the *meta* device), so what
it renames, fuses, ties or ignores is judged by its own rules, in a tenth of a second for any size of model.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from finetune.checkpoints.key_messages import (
    ADAPTER,
    Fit,
    Shape,
    mismatch_message,
    unmerged_adapter_message,
    unusable_config_message,
)
from finetune.checkpoints.weight_files import WeightFiles, first_keys
from finetune.common.errors import InputError
from finetune.common.progress import silence_transformers

# What wrappers put into keys: torch.compile, FSDP, activation checkpointing; anywhere in a key.
INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_fpw_module")
# What wrappers put in front of keys: DDP, PEFT, TRL's value heads, Lightning, and base-model prefixes.
IN_FRONT = (
    "base_model.model",
    "module",
    "model",
    "pretrained_model",
    "base_model",
    "transformer",
    "language_model",
)
MOST_TRIES = 32  # combinations of prefixes
LARGEST_TABLES = 4 << 30  # bytes of tables that a model computes for itself, such as those of positions
_ABOUT_META = re.compile(r"meta|no data|NotImplemented", re.IGNORECASE)


def model_class(config: PreTrainedConfig) -> tuple[Any, PreTrainedConfig]:
    """Return the causal language model's class for a configuration, and the part of it that it takes.

    Raises:
        InputError: there is none.
    """
    mapping: Any = AutoModelForCausalLM._model_mapping
    name = config.name_or_path
    if type(config) not in mapping:
        raise InputError(
            f"{name}: models of type {config.model_type} are no causal language models; name a decoder"
        )
    found = mapping[type(config)]
    classes = list(found) if isinstance(found, list | tuple) else [found]
    named = [c for c in classes if c.__name__ in (config.architectures or ())]
    chosen = (named or classes)[0]
    text = config.sub_configs.get("text_config")
    if text is not None and getattr(chosen, "config_class", None) == text:
        return chosen, config.get_text_config()
    return chosen, config


def default_attention(model: Any) -> str:
    """Name the implementation of attention that a model, or a class of models, is loaded with unless told."""
    return "sdpa" if model._supports_sdpa else "eager"


def match_keys(config: PreTrainedConfig, shapes: Mapping[str, Shape]) -> Fit:
    """Load tensors without contents into a model without contents, and say how they fit.

    Raises:
        InputError: no model can be made by this configuration, or only one of absurd size.
    """
    kind, config = model_class(config)
    layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if isinstance(layers, int) and layers > len(shapes):
        raise InputError(
            f"{config.name_or_path}: its config.json says {layers} layers, and its files hold {len(shapes)} "
            "tensors; use the config.json that was saved with the weights"
        )
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    try:
        with silence_transformers():
            with torch.device("meta"):
                model = kind(config)
            if _is_exact(model, shapes):  # nearly always, and the library's own way takes twice as long
                return Fit(model=model)
            model, found = kind.from_pretrained(
                None,
                config=config,
                state_dict={key: torch.empty(shape, device="meta") for key, shape in shapes.items()},
                device_map={"": "meta"},
                dtype=torch.float32,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # a model's code raises whatever its sizes lead to
        raise unusable_config_message(str(config.name_or_path), error) from error
    buffers = {name: tuple(buffer.shape) for name, buffer in model.named_buffers()}
    wrong = sorted((name, tuple(ours), tuple(theirs)) for name, ours, theirs in found["mismatched_keys"])
    # The library names tensors with the base model's prefix in front.
    both = {**shapes, **{f"{model.base_model_prefix}.{key}": shape for key, shape in shapes.items()}}
    unexpected = (key for key in found["unexpected_keys"] if key not in buffers)
    return Fit(
        missing=sorted(found["missing_keys"]),
        unexpected=sorted(key for key in unexpected if not _constant(key, both)),
        mismatched=wrong,
        model=model,
    )


def _is_exact(model: PreTrainedModel, shapes: Mapping[str, Shape]) -> bool:
    """Whether tensors are the model's own by name and shape, but for those tied to one that is there."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    absent = own.keys() - shapes.keys()
    return all(own.get(k) == s for k, s in shapes.items()) and all(tied.get(k) in shapes for k in absent)


def require_fit(config: PreTrainedConfig, files: WeightFiles) -> tuple[dict[str, str], Fit]:
    """Return by which name each of the files' keys is to be loaded, and the model without contents.

    All are loaded by their own, unless known prefixes are the only fault.

    Raises:
        InputError: tensors are missing, unexpected or of another shape; or no model runs with this
            configuration.
    """
    name = str(config.name_or_path)
    _require_once(name, files.shapes, getattr(model_class(config)[0], "base_model_prefix", ""))
    found = match_keys(config, files.shapes)
    renamed = {key: key for key in files.shapes}
    if not found.complete:
        if any(ADAPTER.search(key) for key in files.shapes):
            raise InputError(unmerged_adapter_message(name, files.shapes))
        other = _match_without_prefix(config, files.shapes)
        if other is None:
            raise InputError(mismatch_message(name, found))
        renamed, found = other
    _require_sane(name, found.model)
    return renamed, found


def _match_without_prefix(
    config: PreTrainedConfig, shapes: Mapping[str, Shape]
) -> tuple[dict[str, str], Fit] | None:
    """Find known prefixes without which the tensors fit, and how they do then; None if there are none such.

    Breadth first, so that no more is taken off than need be.
    """
    own = getattr(model_class(config)[0], "base_model_prefix", "")
    tried: set[tuple[str, ...]] = {tuple(shapes)}
    todo = [{key: _without_inside(key) for key in shapes}]
    for names in todo:  # grows as it is gone through
        signature = tuple(names.values())
        if len(set(signature)) == len(names) and signature not in tried:
            found = match_keys(config, {names[key]: shape for key, shape in shapes.items()})
            if found.complete:
                return names, found
        tried.add(signature)
        for front in dict.fromkeys((*IN_FRONT, own)):
            if front and any(name.startswith(f"{front}.") for name in signature):
                shorter = {key: name.removeprefix(f"{front}.") for key, name in names.items()}
                if tuple(shorter.values()) not in tried and len(todo) < MOST_TRIES:
                    todo.append(shorter)
    return None


def _without_inside(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in INSIDE)


def _require_once(name: str, shapes: Mapping[str, Shape], front: str) -> None:
    """Refuse files that hold a tensor both with and without a prefix: one would be dropped silently."""
    plain: dict[str, str] = {}
    for key in shapes:
        bare, longer = _without_inside(key), ""
        while bare != longer:
            longer = bare
            for known in ("module", "base_model.model", front):
                bare = bare.removeprefix(f"{known}.") if known else bare
        if bare in plain:
            raise InputError(
                f"{name}: its files hold both {plain[bare]} and {key}, so which one counts cannot be told; "
                "save the model again"
            )
        plain[bare] = key


def _constant(key: str, shapes: Mapping[str, Shape]) -> bool:
    """Whether a tensor is a causal mask or its filler, which older models saved and newer ones compute."""
    shape, last = shapes.get(key), key.rpartition(".")[2]
    if last == "masked_bias":
        return shape in ((), (1,))
    return last == "bias" and shape is not None and len(shape) == 4 and shape[:2] == (1, 1)


def _require_sane(name: str, model: PreTrainedModel | None) -> None:
    """Refuse empty parameters and huge tables."""
    assert model is not None
    if empty := [key for key, parameter in model.named_parameters() if not parameter.numel()]:
        raise InputError(f"{name}: {first_keys(empty)} would be empty; use the config.json of these weights")
    tables = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if tables > LARGEST_TABLES:
        raise InputError(
            f"{name}: by its config.json the model computes tables of {tables >> 30} GiB (of positions); "
            "use the config.json of these weights"
        )


def run_without_contents(name: str, model: PreTrainedModel) -> bool:
    """Run two tokens without contents; False where some layer looks at contents, which cannot be told then.

    Raises:
        InputError: one layer's sizes do not fit the next one's.
    """
    ids = torch.zeros((1, 2), dtype=torch.long, device="meta")
    try:
        with torch.inference_mode(), silence_transformers():
            model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:
        sizes = re.search(r"shape|size|dimension|broadcast|expand|divisible", str(error))
        # What torch cannot do without contents it says by a RuntimeError of a kind of its own.
        no_kernel = isinstance(error, RuntimeError) and type(error) is not RuntimeError
        if no_kernel or _ABOUT_META.search(str(error)) or not sizes:
            return False
        raise unusable_config_message(name, error) from error
    return True
