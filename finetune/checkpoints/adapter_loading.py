"""Putting a PEFT adapter on its base, with proof that all of it and nothing else was loaded.

PEFT leaves parameters that the file does not bring at their start values, and ignores tensors that it cannot
place. So

1. the adapter is built on the base, and every parameter of its own is set to NaN;
2. names with a known fault, such as a missing ``base_model.model.``, are put right, with a notice;
3. PEFT places the file's tensors;
4. what is still NaN was not filled, what PEFT reports as unexpected found no place, and every placed value is
   compared with the file's. Any of these is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from finetune.checkpoints.adapter_files import read_mergeable, unknown_settings
from finetune.checkpoints.adapter_names import (
    ADAPTER,
    bare_name,
    convert_layout,
    drop_copies,
    mismatch,
    strip_known_prefixes,
)
from finetune.checkpoints.adapter_tensors import read_tensors, tensor_shapes
from finetune.checkpoints.adapter_vocabulary import (
    VocabularyResize,
    embedding_paths,
    require_embeddings,
    resize_embeddings,
)
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.errors import InputError
from finetune.common.messages import one_line

NOTHING = "the adapter changes nothing"


@dataclass(frozen=True, kw_only=True)
class LoadedAdapter:
    """An adapter on its base.

    Attributes:
        model: the adapter, unmerged and active, on the base that was given.
        file_parity: the largest difference between a tensor in the file and the parameter that it became;
            above zero only where the base's precision is lower than the file's.
        rewrites_base: whether the file brings other values for weights of the base itself.
        tokens: token ids whose embeddings the adapter brings by themselves: new or trainable ones.
        notices: what was put right or is remarkable, a sentence each.
    """

    model: PeftModel
    file_parity: float
    rewrites_base: bool
    tokens: tuple[int, ...]
    notices: tuple[str, ...]


def attach_adapter(
    model: PreTrainedModel, source: str | Path, *, allow_pickle: bool = False
) -> LoadedAdapter:
    """Put an adapter on a loaded base, which is changed in place.

    Raises:
        InputError: a damaged adapter, or one that was made for a base of other modules, shapes or vocabulary.
    """
    source = resolve_checkpoint(source)
    config = read_mergeable(source)
    tensors = read_tensors(source, allow_pickle=allow_pickle)
    base = model.config.name_or_path or "the base"
    resized = resize_embeddings(model, tensors, bare_name)
    peft = _build(model, config, source, base)
    own = _adapter_parameters(peft)
    for parameter in own.values():
        if parameter.is_floating_point():
            parameter.detach().fill_(float("nan"))
    state = _base_parameters(peft)
    named, notices = strip_known_prefixes(drop_copies(tensors, own, state), own, state)
    rewrites = any(name in state and not _same(state[name], tensor) for name, tensor in named.items())
    if unknown := unknown_settings(source):
        notices.append(f"this version of peft does not know {', '.join(unknown)}; ignored")
    unexpected = _place_tensors(peft, named, source, base)
    _require_filled(peft, named, unexpected, source, base)
    if resized is not None:
        require_embeddings(peft.get_base_model(), resized, source, base)
        notices.append(f"the base's vocabulary was resized from {resized.before} to {resized.after} tokens")
    if changes_nothing(named):
        notices.append(f"{NOTHING}: each of its updates is zero")
    for notice in notices:
        warnings.warn(f"{source}: {notice}", stacklevel=2)
    return LoadedAdapter(
        model=peft,
        file_parity=_parity(peft, named, source),
        rewrites_base=rewrites or resized is not None,
        tokens=_tokens(config, resized),
        notices=tuple(notices),
    )


def require_adapter_fit(source: str | Path, config: PreTrainedConfig, base: str) -> None:
    """Refuse an adapter whose names or shapes do not fit a base's configuration; no weights are read.

    Raises:
        InputError: a damaged adapter, or one that was made for a base of other modules, shapes or vocabulary.
    """
    source = resolve_checkpoint(source)
    settings: Any = read_mergeable(source)
    if hasattr(settings, "init_lora_weights"):
        settings.init_lora_weights = True  # others look at the base's weights, which are not here
    tensors = tensor_shapes(source)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    resize_embeddings(model, tensors, bare_name)
    try:
        peft = _build(model, settings, source, base)
    except InputError as error:
        if "not found in the base" in str(error):
            raise
        return  # without weights not everything can be built; loading will tell
    try:
        own, ends = _adapter_parameters(peft), embedding_paths(peft.get_base_model())
    except Exception:
        if settings.peft_type.value != "ADALORA":
            raise
        return  # it counts the ranks that it kept, which takes contents; loading will tell
    state = _base_parameters(peft)
    kept = drop_copies(tensors, own, state, lambda one, other: one.shape == other.shape)
    named = convert_layout(peft, strip_known_prefixes(kept, own, state)[0])
    if said := mismatch(named, {**state, **own}, own, base, ends):
        raise InputError(f"{source}: {said}")


def changes_nothing(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether an adapter is only LoRA updates of which each has a factor of zeros."""
    layers: dict[str, bool] = {}
    for name, tensor in tensors.items():
        layer, _, factor = name.rpartition(".lora_")
        if not layer or factor.split(".")[0] not in ("A", "B", "embedding_A", "embedding_B"):
            return False
        # A bias of the second factor is added whatever the factors are.
        if factor.endswith("bias") and bool(tensor.any()):
            return False
        layers[layer] = layers.get(layer, False) or (not factor.endswith("bias") and not bool(tensor.any()))
    return all(layers.values())


def _build(model: PreTrainedModel, config: PeftConfig, source: str | Path, base: str) -> PeftModel:
    """Let PEFT build the adapter, without its warnings of what it may do wrong, for that is checked."""
    config.inference_mode = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft: Any = get_peft_model(model, config, adapter_name=ADAPTER)
    except Exception as error:  # a tuner raises whatever kind it likes
        raise InputError(
            f"{source}: does not fit the base {base} ({one_line(error)}); "
            "name the base that the adapter was trained on"
        ) from error
    return peft.eval()


def _adapter_parameters(peft: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's parameters (not copies) by their names in a file."""
    # Left to decide by itself, PEFT asks the hub whether the base's vocabulary has changed.
    return get_peft_model_state_dict(peft, adapter_name=ADAPTER, save_embedding_layers=False)


def _base_parameters(peft: PeftModel) -> dict[str, Tensor]:
    """Return the base's parameters by their names in a file: those without the adapter's name in theirs."""
    return {name: value for name, value in peft.state_dict().items() if ADAPTER not in name.split(".")}


def _place_tensors(peft: PeftModel, tensors: dict[str, Tensor], source: str | Path, base: str) -> list[str]:
    """Let PEFT place the tensors; return the names that it found no place for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Any = set_peft_model_state_dict(peft, tensors, adapter_name=ADAPTER)
    except Exception as error:  # KeyError where a module is not brought, RuntimeError for another shape, ...
        raise InputError(
            _mismatch(peft, tensors, source, base)
            or (
                f"{source}: does not fit the base {base} ({one_line(error)}); "
                "name the base that the adapter was trained on"
            )
        ) from error
    return list(result.unexpected_keys)


def _require_filled(
    peft: PeftModel,
    tensors: Mapping[str, Tensor],
    unexpected: list[str],
    source: str | Path,
    base: str,
) -> None:
    own = _adapter_parameters(peft).items()
    unfilled = [n for n, t in own if t.is_floating_point() and not bool(t.isfinite().all())]
    if unexpected or unfilled:
        raise InputError(
            _mismatch(peft, tensors, source, base)
            or (
                f"{source}: PEFT found no place for {unexpected[0]}"
                if unexpected
                else f"{source}: brings nothing for {unfilled[0]} ({len(unfilled)} such tensors)"
            )
            + "; name the adapter's own base"
        )


def _mismatch(peft: PeftModel, tensors: Mapping[str, Tensor], source: str | Path, base: str) -> str:
    """Say in which way an adapter does not fit; empty if its names and shapes show none."""
    own = _adapter_parameters(peft)
    places = {**_base_parameters(peft), **own}
    tensors = convert_layout(peft, tensors)
    said = mismatch(tensors, places, own, base, embedding_paths(peft.get_base_model()))
    return said and f"{source}: {said}"


def _parity(peft: PeftModel, tensors: Mapping[str, Tensor], source: str | Path) -> float:
    """Return the largest difference between a tensor and the parameter that it became.

    Raises:
        InputError: a parameter is not the tensor, up to the parameter's precision.
    """
    places = {**_base_parameters(peft), **_adapter_parameters(peft)}
    largest = 0.0
    for name, tensor in tensors.items():
        if (place := places.get(name)) is None or place.shape != tensor.shape:
            continue  # PEFT stores it in another layout; it was filled, which is known
        if not _same(place, tensor):
            raise InputError(
                f"{source}: {bare_name(name)} could not be taken as it is in the file, for the base shares "
                "it with another weight; save the base with tie_word_embeddings false, and name that"
            )
        apart = (place.float() - tensor.to(place.device).float()).abs()
        largest = max(largest, float(apart.max()) if apart.numel() else 0.0)  # AdaLoRA may keep no rank
    return largest


def _same(place: Tensor, tensor: Tensor) -> bool:
    return torch.equal(place, tensor.to(device=place.device, dtype=place.dtype))


def _tokens(config: PeftConfig, resized: VocabularyResize | None) -> tuple[int, ...]:
    chosen: Any = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None)
    lists = chosen.values() if isinstance(chosen, dict) else [chosen or []]
    found = {int(index) for some in lists for index in some}
    return tuple(sorted(found | set(range(resized.before, resized.after) if resized else ())))
