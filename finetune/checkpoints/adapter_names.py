"""Names of an adapter's tensors: known prefixes are put right, and what does not fit is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from peft import PeftModel
from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers
from torch import Tensor

ADAPTER = "default"
PREFIX = "base_model.model."
MODULE, TOKENS = ".modules_to_save.", ".token_adapter."
# What torch.compile, DDP, FSDP and checkpointing put into names, and PEFT's own name of an adapter.
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", ADAPTER}


def bare_name(name: str) -> str:
    """Return a tensor's name without what wrappers put into it and in front of it."""
    name = ".".join(part for part in name.split(".") if part not in WRAPPERS)
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def strip_known_prefixes(
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
        words = bare_name(name)
        alike = [p for p in free if _ends(bare_name(p), words) and own[p].shape == tensors[name].shape]
        if len(alike) != 1:
            return dict(tensors), []
        read[name] = alike[0]
    if not lost or len(set(read.values())) != len(lost):
        return dict(tensors), []
    notice = f"{len(lost)} tensors have other names than PEFT's; {lost[0]} is read as {read[lost[0]]}"
    return {read.get(name, name): tensor for name, tensor in tensors.items()}, [notice]


def drop_copies(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    same: Callable[[Tensor, Tensor], bool] = torch.equal,
) -> dict[str, Tensor]:
    """Leave out the second copies that PEFT writes where it resized embeddings, and has no place for.

    They are those of a module that an adapter carries whole, and of the tokens that it trained, below a head
    that shares its weights with the embeddings.

    Args:
        tensors: the file's, by name.
        own: the adapter's parameters, by their names in a file.
        state: the base's, by theirs.
        same: tells whether two tensors are one; of those without contents only shapes can be compared.
    """

    def is_copy(name: str, tensor: Tensor) -> bool:
        if name.replace(MODULE, ".") in tensors.keys() - {name}:
            return same(tensor, tensors[name.replace(MODULE, ".")])
        layer, _, parameter = name.partition(TOKENS)
        # Below a head of its own there are no tokens of the embeddings.
        if not parameter or name in own or f"{layer}{TOKENS}base_layer.weight" not in state:
            return False
        others = [one for one in tensors if one in own and one.endswith(f"{TOKENS}{parameter}")]
        return len(others) == 1 and same(tensor, tensors[others[0]])

    return {name: tensor for name, tensor in tensors.items() if not is_copy(name, tensor)}


def convert_layout(peft: PeftModel, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Lay tensors out as PEFT does before it places them: for layers that transformers has fused since."""
    try:
        return convert_peft_adapter_state_dict_for_transformers(
            peft, peft.active_peft_config, dict(tensors), adapter_name=ADAPTER
        )
    except Exception:  # a conversion that lacks some of its tensors raises whatever it comes upon
        return tensors


def mismatch(
    tensors: Mapping[str, Tensor],
    places: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    base: str,
    embeddings: Sequence[str],
) -> str:
    """Say in which way an adapter's tensors do not fit a base; empty if names and shapes show none.

    Args:
        tensors: the file's, by name.
        places: all parameters that there are, by their names in a file.
        own: those of them that the adapter has by its own.
        base: how messages call the base.
        embeddings: the names of the layers that go in and out of the vocabulary.
    """
    for name, tensor in tensors.items():
        if name in places and tensor.shape != places[name].shape:
            shape, expected = list(tensor.shape), list(places[name].shape)
            kind = (
                "vocabulary" if any(bare_name(name).startswith(f"{end}.") for end in embeddings) else "shape"
            )
            return (
                f"brings {bare_name(name)} of shape {shape}, and {base} takes {expected}: another {kind}; "
                "name the adapter's own base"
            )
    lost = [name for name in tensors if name not in places]
    missing = [name for name in own if name not in tensors]
    if lost:
        others = f"; it takes others, for example {missing[0]}" if missing else ""
        return (
            f"{base} has no place for {lost[0]} ({len(lost)} of {len(tensors)} tensors){others}; name the "
            "adapter's own base, or save it again with save_pretrained"
        )
    if missing:
        return (
            f"brings nothing for {bare_name(missing[0])} ({len(missing)} such tensors), so it was made for "
            "another base; name the adapter's own"
        )
    return ""


def _ends(name: str, other: str) -> bool:
    """Tell whether one of two dotted names is the end of the other."""
    return name == other or name.endswith(f".{other}") or other.endswith(f".{name}")
