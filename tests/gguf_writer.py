"""Writing a tiny model as llama.cpp's converter would, quantised: what the reader has to undo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests import architectures

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3": gguf.MODEL_ARCH.GEMMA3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
}
NORMS_PLUS_ONE = ("gemma2", "gemma3")


def build(name: str, vocab: int) -> PreTrainedModel:
    """Build a tiny model whose matrices are whole blocks of 32 wide; its norms and biases are not trivial."""
    model = (
        architectures.build(name, vocab, intermediate_size=64)
        if name != "gpt2"
        else architectures.build(name, vocab)
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def write(
    path: Path,
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    quantisation: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q8_0,
    more: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    drop: str = "",
) -> dict[str, torch.Tensor]:
    """Write a GGUF file; return what each of the model's parameters must be once it is dequantised."""
    arch = ARCHITECTURES[name]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    _write_shape(writer, name, model)
    if tokenizer is not None:
        _write_tokenizer(writer, tokenizer)
    for key, value in (more or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
    names = gguf.get_tensor_name_map(arch, architectures.LAYERS)
    expected = {}
    for key, parameter in model.state_dict().items():
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        stem, _, kind = key.rpartition(".")
        written = _as_written(name, stem, parameter, model.config).numpy()
        quantised = written.ndim == 2 and written.shape[-1] % 32 == 0
        data = gguf.quants.quantize(written, quantisation) if quantised else written
        read = gguf.quants.dequantize(data, quantisation) if quantised else written
        expected[key] = _as_read(name, stem, torch.tensor(read), model.config)
        if key != drop:
            called = f"{names.get_name(stem)}.{kind}"
            writer.add_tensor(called, data, raw_dtype=quantisation if quantised else None)
    for called, array in (extra or {}).items():
        writer.add_tensor(called, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _write_shape(writer: gguf.GGUFWriter, name: str, model: PreTrainedModel) -> None:
    config = model.config
    writer.add_name("Tiny")
    writer.add_block_count(architectures.LAYERS)
    writer.add_context_length(architectures.POSITIONS)
    writer.add_embedding_length(architectures.WIDTH)
    writer.add_head_count(architectures.HEADS)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * architectures.WIDTH)
    writer.add_vocab_size(config.vocab_size)
    if name == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_head_count_kv(architectures.KEY_VALUE_HEADS)
    writer.add_key_length(architectures.WIDTH // architectures.HEADS)
    writer.add_value_length(architectures.WIDTH // architectures.HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("rope_theta") or rope["full_attention"]["rope_theta"])
    writer.add_rope_dimension_count(architectures.WIDTH // architectures.HEADS)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    held = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    by_id = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(by_id)
    writer.add_token_types([3 if token in special else 1 for token in by_id])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in held["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}")


def _heads(stem: str, config: Any) -> int:
    if stem.endswith("q_proj"):
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if stem.endswith("k_proj") else 0


def _as_written(name: str, stem: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """Change a parameter as llama.cpp's converter does."""
    if name == "llama" and (heads := _heads(stem, config)):
        halves = weight.reshape(heads, 2, -1, weight.shape[-1])
        return halves.transpose(1, 2).reshape(weight.shape).contiguous()
    if name in NORMS_PLUS_ONE and "norm" in stem:
        return weight + 1
    if name == "gpt2" and weight.dim() == 2 and ".h." in stem:
        return weight.T.contiguous()
    return weight.contiguous()


def _as_read(name: str, stem: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """Undo that, in another way than the reader."""
    if name == "llama" and (heads := _heads(stem, config)):
        size = weight.shape[0] // heads
        order = [h * size + i for h in range(heads) for i in (*range(0, size, 2), *range(1, size, 2))]
        return weight[order]
    if name in NORMS_PLUS_ONE and "norm" in stem:
        return weight - 1
    return weight.T if name == "gpt2" and weight.dim() == 2 and ".h." in stem else weight
