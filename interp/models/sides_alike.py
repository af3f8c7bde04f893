"""Whether two full checkpoints can be two sides of one comparison: the same model, with other weights."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, PreTrainedModel

from finetune.common.errors import InputError
from interp.models.parity import log_probs, probe, vocabulary

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair, Side

SHAPE = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size")
# What decides how weights are used, so that the same ones compute something else.
USE = (
    *("rope_parameters", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "sliding_window"),
    *("attn_logit_softcapping", "final_logit_softcapping", "attention_multiplier", "hidden_act"),
)
_UNSAID = object()


@dataclass(frozen=True)
class SeenSide:
    """A side's configuration, the names of its parameters, and a digest of what it says on the probe."""

    config: PreTrainedConfig
    names: frozenset[str]
    said: str

    @classmethod
    def of(cls, model: PreTrainedModel, pair: CheckpointPair, side: Side) -> SeenSide:
        """Run a side's plain model on the probe."""
        vocab = vocabulary(model, pair.tokenizer, pair.provenance[side])
        said = log_probs(model, probe(model, vocab)).numpy()
        names = frozenset(name for name, _ in model.named_parameters())
        return cls(model.config.get_text_config(), names, hashlib.sha256(said.tobytes()).hexdigest())


def require_alike(pair: CheckpointPair, side: Side, model: PreTrainedModel) -> None:
    """Refuse a fine-tuned checkpoint of another shape than the base; note other settings, and no difference.

    Each side is looked at when it is loaded first, and compared once both were.

    Raises:
        InputError: another architecture, or another number of layers, of heads or of widths.
    """
    if side in pair.seen:
        return
    pair.seen[side] = SeenSide.of(model, pair, side)
    base, finetuned = pair.seen.get("base"), pair.seen.get("finetuned")
    if base is not None and finetuned is not None:
        _compare(pair, base, finetuned)


def _compare(pair: CheckpointPair, base: SeenSide, finetuned: SeenSide) -> None:
    title, told = pair.provenance["finetuned"], []
    kinds = [side.config.model_type for side in (finetuned, base)]
    odd = [name for name in SHAPE if not _are_same(*(_get(s.config, name) for s in (finetuned, base)))]
    if kinds[0] != kinds[1] and finetuned.names != base.names:  # Mistral's GGUF files are of Llama's kind
        odd = ["model_type"]
    if odd:
        ours, theirs = (_get(side.config, odd[0]) for side in (finetuned, base))
        raise InputError(
            f"{title}: has {odd[0]} = {ours}, and the base {pair.provenance['base']} {theirs}, so that it "
            "was not fine-tuned from it; give its own base"
        )
    for name in USE:
        ours, theirs = (_get(side.config, name) for side in (finetuned, base))
        if not _are_same(ours, theirs):
            told.append(f"its configuration says {name} = {ours}, the base's {theirs}: part of what differs")
    if base.said == finetuned.said:
        told.append("it says exactly what the base says on a probe, as the base itself does")
    for notice in told:
        pair.provenance["notices"].append(notice)
        warnings.warn(f"{title}: {notice}", stacklevel=2)


def _are_same(ours: Any, theirs: Any) -> bool:
    """Compare settings: what one side has no word for is no difference, nor is a GGUF file's rounding."""
    if ours is _UNSAID or theirs is _UNSAID:
        return True
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_are_same(ours[key], theirs[key]) for key in ours.keys() & theirs.keys() - {"type"})
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-6)
    return bool(ours == theirs)


def _get(config: PreTrainedConfig, name: str) -> Any:
    return getattr(config, name, _UNSAID)
