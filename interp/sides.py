"""Filling a pair: one copy of the weights under an adapter, two full checkpoints, or one at a time."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from finetune.models import load_adapter
from interp.adapters import Switch, install, low_rank_updates
from interp.bases import require_fit
from interp.edits import layers_that_act
from interp.pair import CheckpointPair, Side
from interp.parity import (
    boot,
    bridged,
    log_probs,
    probe,
    require_causal,
    require_parity,
    vocabulary,
)
from interp.sources import (
    Settings,
    Source,
    agreed,
    identity,
    in_memory_adapter,
    is_adapter_source,
    load_plain,
    title,
    tokenizer_of,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_sides(
    base: Source,
    finetuned: Source | None,
    options: Settings,
    tokenizer: PreTrainedTokenizerBase | None,
    low_memory: bool,
) -> CheckpointPair:
    """Load and check both sides; :func:`interp.checkpoints.load_pair` says what may go wrong."""
    names = [title(base), title(base if finetuned is None else finetuned)]
    tokenizer = tokenizer or agreed(
        tokenizer_of(base, options),
        None if finetuned is None else tokenizer_of(finetuned, options),
        names,
    )
    pair = CheckpointPair(
        tokenizer,
        {"base": names[0], "finetuned": names[1], "dtype": str(options.dtype).removeprefix("torch.")},
    )
    if finetuned is None:
        pair.models["base"] = pair.models["finetuned"] = _full(pair, base, "base", options)
        pair.provenance |= {"finetuned_parity": pair.provenance["base_parity"], "copies": 1}
    elif is_adapter_source(finetuned):
        _load_adapter(pair, base, finetuned, options, low_memory)
    else:
        _load_two(pair, {"finetuned": finetuned, "base": base}, options, low_memory)
    pair.provenance["finetuned_identity"] = (
        pair.provenance["base_identity"] if finetuned is None else identity(finetuned)
    )
    return pair


def _load_two(pair: CheckpointPair, sources: dict[Side, Source], options: Settings, low_memory: bool) -> None:
    """Load both sides as full checkpoints; each is checked now, even if only one is kept."""
    pair.low_memory = low_memory
    pair.provenance["copies"] = "one at a time" if low_memory else 2
    for side, source in sources.items():
        pair.loaders[side] = partial(_full, pair, source, side, options)
        pair.model(side)


def _full(pair: CheckpointPair, source: Source, side: Side, options: Settings) -> TransformerBridge:
    model = load_plain(source, options)
    _record(pair, source, model)
    bridge, difference = bridged(model, pair.tokenizer, title(source))
    pair.provenance[f"{side}_parity"] = difference
    if side == "base":
        pair.provenance["base_identity"] = identity(source, model.config)
    _self_test(pair, bridge)
    return bridge


def _load_adapter(
    pair: CheckpointPair, base: Source, finetuned: Source, options: Settings, low_memory: bool
) -> None:
    """Load a base with an adapter as one copy of the weights; as two where the adapter is no plain LoRA."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = finetuned
        if in_memory_adapter(finetuned):  # written out, so that there is one way in and the caller's is safe
            finetuned.save_pretrained(scratch)
            folder = scratch
        plain = load_plain(base, options)
        _record(pair, base, plain)
        pair.provenance["base_identity"] = identity(base, plain.config)
        require_fit(folder, plain, options.allow_pickle)
        if not _share(pair, plain, folder, title(finetuned)):
            _merge_apart(pair, base, folder, options, low_memory)


def _share(pair: CheckpointPair, plain: PreTrainedModel, folder: str, name: str) -> bool:
    """Boot one bridge for both sides; False where the adapter is more than updates of linear layers."""
    inputs = probe(plain, vocabulary(plain, pair.tokenizer, pair.provenance["base"]))
    expected: dict[Side, Any] = {"base": log_probs(plain, inputs)}
    require_causal(plain, inputs, expected["base"], pair.provenance["base"])
    peft = load_adapter(plain, folder).eval()
    updates = low_rank_updates(peft)
    if updates is None:
        return False
    expected["finetuned"] = log_probs(peft, inputs)
    plain = peft.unload()
    layers = {plain.get_submodule(path): update for path, update in updates.items()}
    dtype = next(plain.parameters()).dtype
    bridge = boot(plain, pair.tokenizer, pair.provenance["base"])
    switch = Switch()
    install(bridge, layers, switch)
    for side, reference in expected.items():
        switch.on = side == "finetuned"
        found = log_probs(bridge, inputs)
        pair.provenance[f"{side}_parity"] = require_parity(found, reference, dtype, pair.provenance[side])
    switch.on = False
    pair.provenance["copies"] = 1
    pair.switch = switch
    pair.models = {"base": bridge, "finetuned": bridge}
    _self_test(pair, bridge)
    return True


def _merge_apart(
    pair: CheckpointPair, base: Source, folder: str, options: Settings, low_memory: bool
) -> None:
    """Load an adapter that cannot share weights merged into a copy of its own, in float32 and then cast."""
    wide = load_plain(base, replace(options, dtype=torch.float32))
    merged = load_adapter(wide, folder).merge_and_unload()
    merged = merged.to(options.dtype).eval()
    bridge, pair.provenance["finetuned_parity"] = bridged(
        merged, pair.tokenizer, pair.provenance["finetuned"]
    )
    pair.models["finetuned"] = bridge
    pair.models["base"] = _full(pair, base, "base", options)
    pair.provenance["copies"] = 2


def _record(pair: CheckpointPair, source: Source, model: PreTrainedModel) -> None:
    quantised = getattr(model, "hf_quantizer", None) is not None
    pair.provenance |= {
        "architecture": type(model).__name__,
        "device": str(next(model.parameters()).device),
        "quantised": quantised,
    }


def _self_test(pair: CheckpointPair, bridge: TransformerBridge) -> None:
    acts = layers_that_act(bridge)
    pair.provenance["edits_act"] = bool(acts.all())
    pair.provenance["layers_without_edits"] = (~acts).nonzero().flatten().tolist()
