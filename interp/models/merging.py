"""Merging an adapter into a base without changing what PEFT computes unmerged.

PEFT merges each update into the weight below it. Where two layers share one weight, as the input embeddings
and the output head of a *tied* base do, an update of one would change the other as well: on a real model the
merged one was 2.3 nats off. So shared weights below an adapter are separated first.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetune.checkpoints.loading import is_adapter, load_model
from finetune.common.errors import InputError
from finetune.common.messages import one_line
from interp.models.parity import TOLERANCE, LogProbs, log_probs, require_finite, tolerance
from interp.models.sources import Source, in_memory_adapter

ROUNDING = 10 * TOLERANCE  # nats, float32: every merged weight is rounded once more; 7e-5 on SmolLM2-135M


def merge(model: PeftModel, name: str) -> PreTrainedModel:
    """Return the base with the active adapter merged into it; both are used up.

    Raises:
        InputError: PEFT cannot merge this adapter.
    """
    whole: Any = model.base_model.model
    if untie_shared_weights(model):
        whole.config.tie_word_embeddings = False
    _add_biases(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about ties, which are cut, and about roundings, which are measured
            merged: Any = model.base_model.merge_and_unload()  # type: ignore[operator]
    except Exception as error:  # a tuner raises whatever kind it likes
        raise InputError(
            f"{name}: this adapter cannot be merged ({one_line(error)}), so this side would have no W_Q to "
            "W_O of its own; use LoRA, or a checkpoint that was merged by whoever trained it"
        ) from error
    return merged.eval().requires_grad_(False)


def unmerged_log_probs(model: PeftModel, inputs: dict[str, Tensor], name: str) -> LogProbs:
    """Return what PEFT computes without merging anything: the reference of all that is made of an adapter.

    Raises:
        InputError: it cannot be computed, as where PEFT initialises a transposed layer wrongly, or it is not
            finite.
    """
    try:
        found = log_probs(model, inputs)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{name}: PEFT itself cannot run this adapter on its base ({one_line(error)}); "
            "convert it to an ordinary LoRA, or name a checkpoint that it was merged into"
        ) from error
    require_finite(found, name)
    return found


def require_as_given(adapter: Source, expected: LogProbs, inputs: dict[str, Tensor], name: str) -> None:
    """Refuse an adapter in memory that computes something else than what was written out of it and loaded.

    What is no setting and no weight of an adapter is not written: a scale set by hand, layers that are
    switched off, weights of its base that are not those of the base that was named.

    Args:
        adapter: what was given; nothing is asked of what is no model in memory.
        expected: what the loaded adapter computes, nothing merged.
        inputs: the probe that it computed it of.
        name: its name in messages.

    Raises:
        InputError: their log-probs differ by more than rounding.
    """
    if not in_memory_adapter(adapter):
        return
    given: Any = adapter
    modes = {module: module.training for module in given.modules()}
    given.eval()
    try:
        place = given.get_input_embeddings().weight
        found = log_probs(given, {key: value.to(place.device) for key, value in inputs.items()})
    finally:
        for module, mode in modes.items():
            module.training = mode
    allowed = max(
        ROUNDING, 2 * tolerance(expected, place.dtype, given.config.get_text_config().num_hidden_layers)
    )
    difference = float((found - expected).abs().max())
    if not difference <= allowed:
        raise InputError(
            f"{name}: this model in memory computes log-probabilities {difference:.1e} nats off those of its "
            "adapter on the given base: a scale was set, layers are switched off, or its own base has other "
            "weights; give that base, or merge the adapter (merge_and_unload) and give the result"
        )


def require_merged(found: LogProbs, expected: LogProbs, name: str) -> None:
    """Refuse a merged model that does not compute what its unmerged one does.

    Raises:
        InputError: their log-probs differ by more than rounding.
    """
    difference = float((found - expected).abs().max())
    if not difference <= ROUNDING:
        raise InputError(
            f"{name}: merging this adapter changes its log-probabilities by {difference:.1e} nats "
            f"({ROUNDING:.1e} allowed), so it could not be measured; use LoRA without variants, or a "
            "checkpoint that was merged by whoever trained it"
        )


def untie_shared_weights(model: PeftModel) -> bool:
    """Give layers below an adapter weights of their own where they share them; tell whether any did."""

    owners: dict[int, list[tuple[nn.Module, str, bool]]] = {}
    adapted: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            adapted.append(f"{path}.")
        touched = any(path.startswith(layer) for layer in adapted)
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(parameter.data_ptr(), []).append((module, name, touched))
    separated = False
    for shared in owners.values():
        if len(shared) < 2 or not any(touched for *_, touched in shared):
            continue
        for module, name, _ in shared[1:]:
            weight: Any = getattr(module, name)
            module._parameters[name] = nn.Parameter(weight.detach().clone(), requires_grad=False)
            separated = True
    return separated


def _add_biases(model: PeftModel) -> None:
    """Give layers without a bias one of zeros where the adapter's own bias is to be merged into it."""
    adapter = model.active_adapter
    for layer in model.modules():
        biased: Any = getattr(layer, "lora_bias", None)
        if not isinstance(biased, dict) or not biased.get(adapter):
            continue
        below: Any = layer.get_base_layer()  # type: ignore[operator]
        if getattr(below, "bias", None) is None and isinstance(below, nn.Linear):
            weight: Tensor = below.weight
            below.bias = nn.Parameter(torch.zeros_like(weight[:, 0]), requires_grad=False)


def load_merged(source: str | Path, base: str | Path) -> PreTrainedModel:
    """Load a plain model in float32; an adapter is merged into its base, whose ties it may have to cut.

    Raises:
        InputError: see :func:`finetune.checkpoints.loading.load_model` and :func:`merge`.
    """
    model: Any = load_model(source, base=base)[0]
    return merge(model, str(source)) if is_adapter(source) else model
