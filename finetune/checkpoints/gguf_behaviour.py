"""What a GGUF file states of how its model computes: rotations, norms, softcaps, scales and windows.

transformers takes some of these from its defaults, whatever the file says, for one architecture or another.
Each is set where the configuration has a place for it. A file that states rotations, softcaps or scales that
have none is refused; norms and windows that have none are another name's, or are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from finetune.checkpoints.gguf_files import GgufFile

# Where configurations have a number, by the key that says it in a file.
SETTINGS = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention.sliding_window": ("sliding_window",),
    "attention.clamp_kqv": ("clip_qkv",),
    "attention.max_alibi_bias": ("alibi_bias_max",),
    "attention.scale": ("attention_multiplier",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "logit_scale": ("logit_scale", "logits_scaling"),
}
OFF_AT_ZERO = ("attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window")  # as of Phi-4
PLAIN = {"attention.clamp_kqv": 0.0, "attention.scale": 0.0, "logit_scale": 1.0, "embedding_scale": 1.0}


def set_stated_behaviour(config: PreTrainedConfig, file: GgufFile) -> None:
    """Set what a file states of its model's behaviour in its configuration.

    Raises:
        ValueError: the file states what the configuration has no place for.
    """
    stated = {
        key.removeprefix(f"{file.architecture}."): value
        for key, value in file.metadata.items()
        if key.startswith(f"{file.architecture}.") and isinstance(value, int | float)
    }
    for key, names in SETTINGS.items():
        if key in stated:
            _set(config, key, float(stated[key]), names)
    _set_rope(config, stated)
    scaled = str(file.metadata.get(f"{file.architecture}.rope.scaling.type", "none")) or "none"
    factors = [stated.get(key, 1.0) for key in ("rope.scaling.factor", "rope.scale_linear")]
    held = getattr(config, "rope_parameters", None) or {}
    is_scaled = scaled != "none" or any(factor not in (0, 1) for factor in factors)
    if is_scaled and all(some.get("rope_type", "default") == "default" for some in _parts(held)):
        told = "linear" if scaled == "none" else scaled
        raise ValueError(f"it scales rotations ({told}), which is not taken from GGUF files")


def _set(config: PreTrainedConfig, key: str, value: float, names: tuple[str, ...]) -> None:
    name = next((name for name in names if name in vars(config)), None)
    if key in OFF_AT_ZERO and value == 0:
        if name is not None:
            setattr(config, name, None)
        return
    if key == "attention.scale" and name is None and _is_close(value, _head(config) ** -0.5):
        return
    if name is None:
        if value != PLAIN.get(key, value if "norm" in key or "window" in key else None):
            raise ValueError(f"it states {key} = {value:g}, which its configuration has no place for")
        return
    held = getattr(config, name)
    if isinstance(held, int | float) and not isinstance(held, bool) and _is_close(held, value):
        return
    if name == "logits_scaling" or (held is None and value == PLAIN.get(key)):
        return  # of which files hold the inverse for some architectures, and transformers reads it
    setattr(config, name, int(value) if name == "sliding_window" else value)


def _set_rope(config: PreTrainedConfig, stated: Mapping[str, Any]) -> None:
    """Set how fast and how much of a head is rotated; of several kinds of layers, transformers reads both."""
    held = getattr(config, "rope_parameters", None)
    if not isinstance(held, dict) or len(_parts(held)) > 1 or "rope_theta" not in held:
        return
    theta, width = stated.get("rope.freq_base"), stated.get("rope.dimension_count")
    if theta and not _is_close(held["rope_theta"], float(theta)):
        config.rope_parameters = held = {**held, "rope_theta": float(theta)}
    head = _head(config)
    share = held.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
    if not width or int(width) == int(head * (1.0 if share is None else share)):
        return
    if share is None:
        raise ValueError(f"it rotates {width} of a head's {head} dimensions, and its configuration all")
    config.rope_parameters = {**held, "partial_rotary_factor": int(width) / head}
    if "partial_rotary_factor" in vars(config):
        config.partial_rotary_factor = int(width) / head


def _head(config: PreTrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _parts(held: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rotations of each kind of layers, of which most models have one."""
    inner: list[Mapping[str, Any]] = [some for some in held.values() if isinstance(some, dict)]
    return inner or [held]


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)  # a file has float32
