"""Groups of weights, {W_Q W_K}, {W_V W_O}, {MLP}, {embeddings, norms}, told apart in any architecture.

A rule about what weights do takes the place of lists of names:

1. An attention module is the outermost one of a layer whose class is called so (``LlamaAttention``).
2. A text of one token attends to itself alone, whatever the queries and keys are. So the output rows of an
   attention module's matrices (and their biases, and norms of queries and keys) whose gradient is zero there
   are W_Q and W_K; all other rows are W_V and W_O. This splits fused projections of any layout.
3. Other matrices in the layers, with their biases, are the MLP.
4. What is left is {embeddings, norms}: norms, embeddings, the output head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetune.common.errors import InputError

GROUPS = {"qk": "W_Q W_K", "vo": "W_V W_O", "mlp": "MLP", "embeddings": "embeddings, norms"}
QK, VO, MLP, REST = range(len(GROUPS))
Label = Int[Tensor, "..."]
Labels = dict[str, Label]
_ATTENTION = re.compile(r"Attention\d*$")
_PROBED = 16  # tokens: a row of W_V would have to be without effect on all of them to pass for W_Q's


def weight_groups(model: PreTrainedModel) -> Labels:
    """Label every parameter of a plain model with its group, the place in ``GROUPS``.

    A label has the parameter's number of dimensions and can be broadcast to it: one number, or one for each
    output row of a matrix that belongs to several groups. Shared parameters have a label under each name.

    Raises:
        InputError: there is no attention module, or one whose W_Q and W_K cannot be told apart.
    """
    labels = {
        name: _constant(REST, weight) for name, weight in model.named_parameters(remove_duplicate=False)
    }
    layers = [path for path, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    attention = dict(_attention_modules(model, layers))
    if not attention:
        raise InputError(
            f"{type(model).__name__}: has no attention modules whose weights could be grafted; use an "
            "architecture with attention in its layers"
        )
    for path, module in model.named_modules():
        if any(path.startswith(f"{layer}.") for layer in layers) and _is_linear(module):
            for name, weight in module.named_parameters(path, recurse=False):
                labels[name] = _constant(MLP, weight)
    for path, rows in _rows_without_effect(model, attention).items():
        labels[path] = torch.where(rows, QK, VO)
    return labels


def _constant(group: int, weight: Tensor) -> Label:
    return torch.full((1,) * weight.ndim, group)


def _is_linear(module: nn.Module) -> bool:
    """Tell whether a module's own parameters hold a matrix (or, for experts, a stack of them)."""
    return any(weight.ndim > 1 for weight in module.parameters(recurse=False))


def _attention_modules(model: nn.Module, layers: list[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the outermost attention module of each layer by its path."""
    found: list[str] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{layer}.") for layer in layers)
        named = _ATTENTION.search(type(module).__name__)
        if inside and named and not path.startswith(tuple(found)):
            found.append(f"{path}.")
            yield path, module


def _rows_without_effect(model: PreTrainedModel, attention: dict[str, nn.Module]) -> Labels:
    """Find, of each parameter in attention modules, the output rows without effect on texts of one token."""
    embeddings: Any = model.get_input_embeddings()
    vocabulary = len(embeddings.weight)
    tokens = torch.linspace(0, vocabulary - 1, min(_PROBED, vocabulary)).long().unique()
    held = [weight for module in attention.values() for weight in module.parameters()]
    wanted = [weight.requires_grad for weight in held]
    rows: Labels = {}
    try:
        for weight in held:
            weight.requires_grad_(True)
        # Other kernels round where the softmax of one key has a gradient of exactly zero.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            logits = model(input_ids=rearrange(tokens.to(model.device), "n -> n 1"), use_cache=False).logits
            score = logits.float().log_softmax(-1).diagonal(0, 0, 2).sum()
        for path, module in attention.items():  # a layer at a time, which bounds memory
            rows |= _rows_of_layer(path, module, score)
    finally:
        for weight, was in zip(held, wanted, strict=True):
            weight.requires_grad_(was)
    return rows


def _rows_of_layer(path: str, module: nn.Module, score: Tensor) -> Labels:
    """Say of one attention module's parameters which output rows have no gradient."""
    named: dict[str, nn.Parameter] = dict(module.named_parameters(path))
    transposed = {f"{path}.{at}.weight" for at, part in module.named_modules() if isinstance(part, Conv1D)}
    found = torch.autograd.grad(score, list(named.values()), retain_graph=True, allow_unused=True)
    rows: Labels = {}
    for (name, weight), gradient in zip(named.items(), found, strict=True):
        moves = torch.zeros_like(weight) if gradient is None else gradient
        kept = weight.ndim - 1 if name in transposed else 0
        others = [i for i in range(weight.ndim) if i != kept]
        still = (moves == 0).all(dim=others, keepdim=True) if others and weight.ndim > 1 else moves == 0
        rows[name] = still.all().reshape((1,) * weight.ndim) if still.all() or not still.any() else still
        rows[name] = rows[name].cpu()
    matrices = [named_rows for name, named_rows in rows.items() if named[name].ndim > 1]
    if not any(r.any() for r in matrices) or all(r.all() for r in matrices):
        raise InputError(
            f"{path}: its W_Q and W_K cannot be told apart, for a single token's attention is not its own "
            "alone (attention sinks, or no softmax); pathways are not measured here"
        )
    return rows
