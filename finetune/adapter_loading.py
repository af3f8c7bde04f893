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

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.adapter_files import first_line, read_config, read_tensors, unknown_settings
from finetune.adapter_vocabulary import Resized, embedding_paths, require_embeddings, resize
from finetune.checkpoint_paths import located
from finetune.facts import InputError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel

ADAPTER = "default"
NOTHING = "the adapter changes nothing"
PREFIX = "base_model.model."
# What torch.compile, DDP, FSDP and checkpointing put into names, and PEFT's own name of an adapter.
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", ADAPTER}
_log = logging.getLogger(__name__)


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


def put_adapter(model: PreTrainedModel, source: str | Path, *, allow_pickle: bool = False) -> LoadedAdapter:
    """Put an adapter on a loaded base, which is changed in place.

    Raises:
        InputError: a damaged adapter, or one that was made for a base of other modules, shapes or vocabulary.
    """
    source = located(source)
    config = read_config(source)
    tensors = read_tensors(source, allow_pickle=allow_pickle)
    base = model.config.name_or_path or "the base"
    resized = resize(model, tensors, tail)
    peft = _built(model, config, source, base)
    own = _own(peft)
    for parameter in own.values():
        if parameter.is_floating_point():
            parameter.detach().fill_(float("nan"))
    state = _of_base(peft, own)
    named, notices = settled_names(_once(tensors), own, state)
    rewrites = any(name in state and not _same(state[name], tensor) for name, tensor in named.items())
    if unknown := unknown_settings(source):
        notices.append(f"this version of peft does not know {', '.join(unknown)}; ignored")
    unexpected = _placed(peft, named, own, source, base)
    _require_filled(peft, named, unexpected, own, source, base)
    if resized is not None:
        require_embeddings(peft.get_base_model(), resized, source, base)
        notices.append(f"the base's vocabulary was resized from {resized.before} to {resized.after} tokens")
    if changes_nothing(named):
        notices.append(f"{NOTHING}: each of its updates is zero")
    for notice in notices:
        _log.warning("%s: %s", source, notice)
    return LoadedAdapter(
        model=peft,
        file_parity=_parity(peft, named, source),
        rewrites_base=rewrites or resized is not None,
        tokens=_tokens(config, resized),
        notices=tuple(notices),
    )


def tail(name: str) -> str:
    """Return a tensor's name without what wrappers put into it and in front of it."""
    name = ".".join(part for part in name.split(".") if part not in WRAPPERS)
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def settled_names(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Put names right whose only fault is a known prefix, and say so.

    A name that has no place is read as the one of the adapter's parameters that ends, or that it ends, in the
    same words, if it has the same shape. Either all such names are settled, each as another parameter, or
    none is.
    """
    lost = [name for name in tensors if name not in own and name not in state]
    free = [name for name in own if name not in tensors]
    read: dict[str, str] = {}
    for name in lost:
        words = tail(name)
        alike = [p for p in free if _ends(tail(p), words) and own[p].shape == tensors[name].shape]
        if len(alike) != 1:
            return dict(tensors), []
        read[name] = alike[0]
    if not lost or len(set(read.values())) != len(lost):
        return dict(tensors), []
    notice = f"{len(lost)} tensors have other names than PEFT's; {lost[0]} is read as {read[lost[0]]}"
    return {read.get(name, name): tensor for name, tensor in tensors.items()}, [notice]


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


def _built(model: PreTrainedModel, config: PeftConfig, source: str | Path, base: str) -> PeftModel:
    """Let PEFT build the adapter, without its warnings of what it may do wrong, for that is checked."""
    from peft import get_peft_model

    config.inference_mode = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft: Any = get_peft_model(model, config, adapter_name=ADAPTER)
    except Exception as error:  # a tuner raises whatever kind it likes
        raise InputError(
            f"{source}: does not fit the base {base} ({first_line(error)}); "
            "name the base that the adapter was trained on"
        ) from error
    return peft.eval()


def _own(peft: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's parameters (not copies) by their names in a file."""
    from peft import get_peft_model_state_dict

    # Left to decide by itself, PEFT asks the hub whether the base's vocabulary has changed.
    return get_peft_model_state_dict(peft, adapter_name=ADAPTER, save_embedding_layers=False)


def _of_base(peft: PeftModel, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the base's parameters by their names in a file: all but the adapter's own."""
    taken = {parameter.data_ptr() for parameter in own.values()}
    return {name: value for name, value in peft.state_dict().items() if value.data_ptr() not in taken}


def _once(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the second copy that PEFT writes of a module that an adapter carries whole and resized."""
    import torch

    doubles = {
        name: name.replace(".modules_to_save.", ".") for name in tensors if ".modules_to_save." in name
    }
    return {
        name: tensor
        for name, tensor in tensors.items()
        if (other := doubles.get(name)) not in tensors or not torch.equal(tensor, tensors[str(other)])
    }


def _placed(
    peft: PeftModel, tensors: dict[str, Tensor], own: Mapping[str, Tensor], source: str | Path, base: str
) -> list[str]:
    """Let PEFT place the tensors; return the names that it found no place for."""
    from peft import set_peft_model_state_dict

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Any = set_peft_model_state_dict(peft, tensors, adapter_name=ADAPTER)
    except Exception as error:  # KeyError where a module is not brought, RuntimeError for another shape, ...
        raise InputError(
            _misfit(peft, tensors, own, source, base)
            or (
                f"{source}: does not fit the base {base} ({first_line(error)}); "
                "name the base that the adapter was trained on"
            )
        ) from error
    # Virtual tokens are no part of the model that PEFT reports on.
    return [] if peft.active_peft_config.is_prompt_learning else list(result.unexpected_keys)


def _require_filled(
    peft: PeftModel,
    tensors: Mapping[str, Tensor],
    unexpected: list[str],
    own: Mapping[str, Tensor],
    source: str | Path,
    base: str,
) -> None:
    unfilled = [n for n, t in _own(peft).items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if unexpected or unfilled:
        raise InputError(
            _misfit(peft, tensors, own, source, base)
            or (
                f"{source}: PEFT found no place for {unexpected[0]}"
                if unexpected
                else f"{source}: brings nothing for {unfilled[0]} ({len(unfilled)} such tensors)"
            )
            + "; name the adapter's own base"
        )


def _misfit(
    peft: PeftModel,
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source: str | Path,
    base: str,
) -> str:
    """Say in which way an adapter does not fit; empty if its names and shapes show none."""
    places = {**_of_base(peft, own), **own}
    for name, tensor in tensors.items():
        if name in places and tensor.shape != places[name].shape:
            shape, expected = list(tensor.shape), list(places[name].shape)
            ends = embedding_paths(peft.get_base_model())
            kind = "vocabulary" if any(tail(name).startswith(f"{end}.") for end in ends) else "shape"
            return (
                f"{source}: brings {tail(name)} of shape {shape}, and {base} takes {expected}: another "
                f"{kind}; name the adapter's own base"
            )
    lost = [name for name in tensors if name not in places]
    missing = [name for name in own if name not in tensors]
    if lost:
        own_names = f", for example {missing[0]}" if missing else ""
        return (
            f"{source}: {base} has no place for {lost[0]} ({len(lost)} of {len(tensors)} tensors)"
            f"{own_names and '; it takes others' + own_names}; name the adapter's own base, or save it again "
            "with save_pretrained"
        )
    if missing:
        return (
            f"{source}: brings nothing for {tail(missing[0])} ({len(missing)} such tensors), so it was made "
            "for another base; name the adapter's own"
        )
    return ""


def _parity(peft: PeftModel, tensors: Mapping[str, Tensor], source: str | Path) -> float:
    """Return the largest difference between a tensor and the parameter that it became.

    Raises:
        InputError: a parameter is not the tensor, up to the parameter's precision.
    """
    own = _own(peft)
    places = {**_of_base(peft, own), **own}
    largest = 0.0
    for name, tensor in tensors.items():
        if (place := places.get(name)) is None or place.shape != tensor.shape:
            continue  # PEFT stores it in another layout; it was filled, which is known
        if not _same(place, tensor):
            raise InputError(
                f"{source}: {tail(name)} could not be taken as it is in the file, for the base shares it "
                "with another weight; save the base with tie_word_embeddings false, and name that"
            )
        largest = max(largest, float((place.float() - tensor.to(place.device).float()).abs().max()))
    return largest


def _same(place: Tensor, tensor: Tensor) -> bool:
    import torch

    return torch.equal(place, tensor.to(device=place.device, dtype=place.dtype))


def _ends(name: str, other: str) -> bool:
    """Tell whether one of two dotted names is the end of the other."""
    return name == other or name.endswith(f".{other}") or other.endswith(f".{name}")


def _tokens(config: PeftConfig, resized: Resized | None) -> tuple[int, ...]:
    chosen: Any = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None)
    lists = chosen.values() if isinstance(chosen, dict) else [chosen or []]
    found = {int(index) for some in lists for index in some}
    return tuple(sorted(found | set(range(resized.before, resized.after) if resized else ())))
