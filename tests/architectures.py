"""Tiny models of many architectures, built from config: random weights, nothing downloaded.

``initializer_range`` is far above the usual 0.02, so that attention is far from uniform and an edge that is
cut shows in the logits. Sliding windows are shorter than the probes, so that they matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

LAYERS, HEADS, KEY_VALUE_HEADS, WIDTH, POSITIONS = 2, 4, 2, 32, 64
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _config(name: str, **settings: Any) -> Callable[[int], PreTrainedConfig]:
    def build(vocab: int) -> PreTrainedConfig:
        config = getattr(transformers, f"{name}Config")
        return config(vocab_size=vocab, initializer_range=0.2, **SPECIAL, **settings)

    return build


def _rotary(name: str, **settings: Any) -> Callable[[int], PreTrainedConfig]:
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
    }
    return _config(name, **shape, **settings)


GROUPED = {"num_key_value_heads": KEY_VALUE_HEADS}
HEAD_DIM = {"head_dim": WIDTH // HEADS}
OLDER = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": POSITIONS}

ARCHITECTURES: dict[str, Callable[[int], PreTrainedConfig]] = {
    "llama": _rotary("Llama", **GROUPED),
    "mistral": _rotary("Mistral", **GROUPED, sliding_window=4),
    "qwen2": _rotary("Qwen2", **GROUPED),
    "qwen3": _rotary("Qwen3", **GROUPED, **HEAD_DIM),
    "gemma": _rotary("Gemma", **GROUPED, **HEAD_DIM),
    "gemma2": _rotary("Gemma2", **GROUPED, **HEAD_DIM, sliding_window=4, query_pre_attn_scalar=8),
    "gemma3": _rotary("Gemma3Text", **GROUPED, **HEAD_DIM, sliding_window=4, query_pre_attn_scalar=8),
    "gpt2": _config("GPT2", **OLDER),
    "gpt_neox": _rotary("GPTNeoX"),
    "olmo": _rotary("Olmo", **GROUPED),
    "olmo2": _rotary("Olmo2", **GROUPED),
    "phi": _rotary("Phi"),
    "phi3": _rotary("Phi3", **GROUPED),
    "stablelm": _rotary("StableLm", **GROUPED),
    "granite": _rotary("Granite", **GROUPED),
    "falcon": _config(
        "Falcon", hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, alibi=False
    ),
    "bloom": _config("Bloom", hidden_size=WIDTH, n_layer=LAYERS, n_head=HEADS),
    # Their bridges keep the native attention, which throws edits away: the refusal path.
    "gptj": _config("GPTJ", **OLDER, rotary_dim=4),
    "gpt_neo": _config(
        "GPTNeo",
        hidden_size=WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        max_position_embeddings=POSITIONS,
        attention_types=[[["global", "local"], LAYERS // 2]],
    ),
    "opt": _config(
        "OPT",
        hidden_size=WIDTH,
        ffn_dim=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=POSITIONS,
        word_embed_proj_dim=WIDTH,
    ),
}
READ_ONLY = ("gptj", "gpt_neo", "opt")
EDITABLE = tuple(name for name in ARCHITECTURES if name not in READ_ONLY)


def build(name: str, vocab: int, *, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Build one architecture with random weights; ``settings`` change its config."""
    config = ARCHITECTURES[name](vocab)
    for key, value in settings.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    config.architectures = [type(model).__name__]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms start constant, which would hide how they are used
                parameter += 0.1 * torch.randn_like(parameter)
    return model
