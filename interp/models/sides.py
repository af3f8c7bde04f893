"""Loading both sides of a pair: one copy of the weights under an adapter, or two checkpoints."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.checkpoints.adapter_loading import NOTHING, LoadedAdapter, attach_adapter
from finetune.checkpoints.weight_keys import default_attention
from interp.models.adapter_base import may_share, require_mergeable
from interp.models.edit_check import layers_that_act
from interp.models.lora_switch import LoraSwitch, install, low_rank_updates
from interp.models.merging import merge, require_as_given, require_merged, unmerged_log_probs
from interp.models.pair import Ask, CheckpointPair, Loader, Side
from interp.models.parity import (
    TOLERANCE,
    LogProbs,
    boot,
    boot_checked_bridge,
    log_probs,
    probe,
    require_causal,
    require_finite,
    require_parity,
    vocabulary,
)
from interp.models.settings import LoadingSettings
from interp.models.sides_alike import require_alike
from interp.models.sources import (
    Source,
    in_memory_adapter,
    is_adapter_source,
    load_plain,
    require_unquantised,
    source_identity,
    source_title,
)
from interp.models.tokenizers import common_tokenizer


def load_sides(
    base: Source,
    finetuned: Source | None,
    options: LoadingSettings,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    low_memory: bool = False,
    lazy: bool = False,
    ask: Ask | None = None,
) -> CheckpointPair:
    """Load and check both sides; :func:`interp.models.load_pair.load_pair` says what may go wrong.

    Args:
        base: the base's source.
        finetuned: the other side's; None makes both sides the base.
        options: precision, place, and what is trusted.
        tokenizer: overrides the checkpoints' own.
        low_memory: hold one of two full checkpoints at a time.
        lazy: load sides that share no weights when they are first opened.
        ask: is given each side's plain model before it is bridged.
    """
    names = {"base": source_title(base), "finetuned": source_title(base if finetuned is None else finetuned)}
    tokenizer = common_tokenizer(base, [] if finetuned is None else [finetuned], options, tokenizer)
    precision = str(options.dtype).removeprefix("torch.")
    pair = CheckpointPair(tokenizer, {**names, "dtype": precision, "notices": []})
    pair.ask = ask
    if finetuned is None:
        pair.models["base"] = pair.models["finetuned"] = _load_full(pair, base, "base", options)
        pair.provenance |= {"finetuned_parity": pair.provenance["base_parity"], "copies": 1}
        pair.provenance["finetuned_identity"] = pair.provenance["base_identity"]
        return pair
    loaders: dict[Side, Loader] = {"base": partial(_load_full, pair, base, "base", options)}
    if is_adapter_source(finetuned):
        require_unquantised(base, options)
        pair.provenance["finetuned_identity"] = source_identity(finetuned)
        if may_share(finetuned) and _boot_shared(pair, base, finetuned, options):
            return pair
        loaders["finetuned"] = partial(_load_merged, pair, base, finetuned, options)
    else:
        loaders["finetuned"] = partial(_load_full, pair, finetuned, "finetuned", options)
    pair.low_memory, pair.loaders = low_memory, loaders
    pair.provenance["copies"] = "one at a time" if low_memory else 2
    # Each side is checked now, even if only one is kept. The base last: it is what is opened first, and with
    # one at a time the last one loaded is still there.
    for side in () if lazy else ("finetuned", "base"):
        pair.model(side)
    return pair


def _load_full(
    pair: CheckpointPair, source: Source, side: Side, options: LoadingSettings
) -> TransformerBridge:
    """Load one side from a full checkpoint."""
    model = load_plain(source, options)
    pair.provenance[f"{side}_identity"] = source_identity(source, model.config)
    require_alike(pair, side, model)
    _call_ask(pair, side, model)
    return _boot_checked(pair, model, side)


def _load_merged(
    pair: CheckpointPair, base: Source, finetuned: Source, options: LoadingSettings
) -> TransformerBridge:
    """Load the fine-tuned side by merging an adapter into a base of its own, in float32, then cast.

    What PEFT computes without merging, in float32, is the reference of the merged model, and that of the
    bridge. ``finetuned_parity`` is the bridge's difference from the former: with what merging rounded and,
    in half precision, casting.
    """
    name = pair.provenance["finetuned"]
    plain = load_plain(base, replace(options, dtype=torch.float32))
    vocab = vocabulary(plain, pair.tokenizer, pair.provenance["base"])
    before = log_probs(plain, probe(plain, vocab))
    loaded = _with_adapter(plain, finetuned, options)
    _record_adapter(pair, loaded)
    # An adapter may have taken rows off the embeddings: those that pad the base's vocabulary.
    vocab = min(vocab, vocabulary(cast("Any", loaded.model).get_base_model(), pair.tokenizer, name))
    inputs = probe(plain, vocab, loaded.tokens)
    expected = unmerged_log_probs(loaded.model, inputs, name)
    require_as_given(finetuned, expected, inputs, name)
    if not loaded.tokens and before.shape == expected.shape:  # else inputs or vocabulary are others
        _record_change(pair, before, expected)
    _call_ask(pair, "finetuned", loaded.model)
    merged = merge(loaded.model, name)
    require_merged(log_probs(merged, inputs), expected, name)
    bridge, _ = boot_checked_bridge(cast("Any", merged).to(dtype=options.dtype), pair.tokenizer, name, inputs)
    pair.provenance["finetuned_parity"] = float((log_probs(bridge, inputs) - expected).abs().max())
    _record(pair, bridge)
    return bridge


def _boot_checked(pair: CheckpointPair, model: PreTrainedModel, side: Side) -> TransformerBridge:
    bridge, pair.provenance[f"{side}_parity"] = boot_checked_bridge(
        model, pair.tokenizer, pair.provenance[side]
    )
    _record(pair, bridge)
    return bridge


def _boot_shared(pair: CheckpointPair, base: Source, finetuned: Source, options: LoadingSettings) -> bool:
    """Boot one bridge for both sides; False where the adapter is more than updates of linear layers.

    Some adapters change the base itself as soon as PEFT loads them, which the file's names and the base's
    log-probs without the adapter tell.
    """
    plain = load_plain(base, options)
    pair.provenance["base_identity"] = source_identity(base, plain.config)
    inputs = probe(plain, vocabulary(plain, pair.tokenizer, pair.provenance["base"]))
    expected: dict[Side, Any] = {"base": log_probs(plain, inputs)}
    require_finite(expected["base"], pair.provenance["base"])
    require_causal(plain, inputs, expected["base"], pair.provenance["base"])
    _call_ask(pair, "base", plain)
    loaded = _with_adapter(plain, finetuned, options)
    peft = loaded.model
    _record_adapter(pair, loaded)
    updates = low_rank_updates(peft)
    if updates is None or loaded.rewrites_base:
        return False
    with peft.disable_adapter():
        if not torch.equal(log_probs(peft, inputs), expected["base"]):
            return False
    expected["finetuned"] = unmerged_log_probs(peft, inputs, pair.provenance["finetuned"])
    require_as_given(finetuned, expected["finetuned"], inputs, pair.provenance["finetuned"])
    _call_ask(pair, "finetuned", peft)
    plain = peft.unload()
    layers = {plain.get_submodule(path): update for path, update in updates.items()}
    bridge = boot(plain, pair.tokenizer, pair.provenance["base"])
    pair.switch = LoraSwitch()
    install(bridge, layers, pair.switch)
    pair.models = {"base": bridge, "finetuned": bridge}
    pair.provenance["copies"] = 1
    _record(pair, bridge)
    for side, reference in expected.items():
        pair.switch.on = side == "finetuned"
        found = log_probs(bridge, inputs)
        pair.provenance[f"{side}_parity"] = require_parity(
            found, reference, bridge.cfg, pair.provenance[side]
        )
    pair.switch.on = False
    _record_change(pair, expected["base"], expected["finetuned"])
    return True


def _call_ask(pair: CheckpointPair, side: Side, model: PreTrainedModel | PeftModel) -> None:
    """Let the caller ask a side's plain model, which computes attention as outside of any pair."""
    if pair.ask is None:
        return
    adapter = in_memory_adapter(model)
    plain: Any = cast("Any", model).get_base_model() if adapter else model
    plain.set_attn_implementation(default_attention(plain))
    # PyTorch takes other kernels, which round otherwise, for weights that want a gradient; below an adapter
    # none does.
    plain.requires_grad_(not adapter)
    try:
        pair.ask(side, cast("Any", model))
    finally:
        plain.set_attn_implementation("eager")  # which alone lets attention be read
        plain.requires_grad_(False)


def _with_adapter(plain: PreTrainedModel, adapter: Source, options: LoadingSettings) -> LoadedAdapter:
    """Put an adapter on a plain base; all of it was loaded, and it can be merged."""
    with _save_in_memory_adapter(adapter, plain) as folder:
        loaded = attach_adapter(plain, folder, allow_pickle=options.allow_pickle)
    require_mergeable(source_title(adapter), loaded.model)
    return loaded


def _record_adapter(pair: CheckpointPair, loaded: LoadedAdapter) -> None:
    pair.provenance["finetuned_file_parity"] = loaded.file_parity
    pair.provenance["notices"] = list(loaded.notices)


def _record_change(pair: CheckpointPair, before: LogProbs, after: LogProbs) -> None:
    """Record by how much an adapter changes the probe's log-probs (nats), and say so if it does not."""
    change = pair.provenance["adapter_change"] = float((after - before).abs().max())
    notices = pair.provenance["notices"]
    if change <= TOLERANCE / 10 and not any(NOTHING in notice for notice in notices):
        notices.append(f"{NOTHING} on a probe of {len(after)} tokens")
        warnings.warn(f"{pair.provenance['finetuned']}: {notices[-1]}", stacklevel=2)


@contextmanager
def _save_in_memory_adapter(adapter: Source, base: PreTrainedModel) -> Iterator[str]:
    """Write an adapter in memory out, so that there is one way in and the caller's model is not touched."""
    if not in_memory_adapter(adapter):
        yield adapter
        return
    both: list[Any] = [adapter.get_base_model(), base]
    sizes = [model.get_input_embeddings().weight.shape[0] for model in both]
    with tempfile.TemporaryDirectory() as folder:
        active = adapter.active_adapter
        # Left to decide by itself, PEFT asks the hub whether the vocabulary has changed.
        adapter.save_pretrained(
            folder, selected_adapters=[active], save_embedding_layers=sizes[0] != sizes[1]
        )
        yield folder if active == "default" else str(Path(folder) / active)  # PEFT's layout


def _record(pair: CheckpointPair, bridge: TransformerBridge) -> None:
    acts = layers_that_act(bridge)
    pair.provenance |= {
        "architecture": str(bridge.cfg.architecture),
        "device": str(next(bridge.parameters()).device),
        "edits_act": bool(acts.all()),
        "layers_without_edits": (~acts).nonzero().flatten().tolist(),
    }
