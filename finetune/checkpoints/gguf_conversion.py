"""Dequantising a GGUF file: a directory with config.json, float32 safetensors and the tokenizer.

1. transformers reads the configuration and dequantises the tensors (``gguf_file``), undoing what llama.cpp
   changes in them: permuted rows of W_Q and W_K, norms that are stored plus one.
2. Every parameter must come from the file and every number in the file must be a parameter's.
3. A model is built from the configuration without the mark of quantisation, takes the tensors, and is saved.
"""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from finetune.checkpoints.gguf_behaviour import set_stated_behaviour
from finetune.checkpoints.gguf_files import GgufFile, read_gguf
from finetune.checkpoints.gguf_tokenizers import save_tokenizer
from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.common.progress import silence_transformers

REMEDY = "name the same model as safetensors"
BYTES = 4  # of a float32
EMBEDDING = "token_embd.weight"
STATED = {
    "attention.key_length": ("head_dim",),
    "context_length": ("max_position_embeddings", "n_positions"),
    "feed_forward_length": ("intermediate_size", "n_inner"),
}
GEMMA_27B = (46, 62)  # layers of Gemma 2 and 3
ROPE_FREQUENCIES = "rope_freqs.weight"
# How Llama 3.1 (factor 8) and 3.2 (factor 32) slow rotations down, of which a file has only the result.
LLAMA_3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA_3_FACTORS = (8.0, 32.0)


def dequantise(path: Path, to: Path) -> GgufFile:
    """Write the model and the tokenizer of a GGUF file into a directory, and return what its header says.

    Raises:
        InputError: the file cannot be used, or the directory has no room for its weights in float32.
    """
    file = read_gguf(path.absolute())
    needed, free = file.numbers * BYTES, shutil.disk_usage(to).free
    if needed > free:
        raise InputError(
            f"{path}: takes {needed / 1e9:.1f} GB dequantised, and {to.parent} has {free / 1e9:.1f} GB free; "
            "free some space, or set XDG_CACHE_HOME to another place"
        )
    with silence_transformers():
        save_tokenizer(file, to)
        _plain_copy(_loaded(file)).save_pretrained(to)
    return file


def _loaded(file: GgufFile) -> PreTrainedModel:
    """Load the model of a GGUF file, all of whose parameters are the file's."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "dtype": torch.float32}
    place, name = file.path.parent, file.path.name
    try:
        with redirect_stderr(io.StringIO()):  # it draws a bar that nothing else turns off
            config = AutoConfig.from_pretrained(place, gguf_file=name, local_files_only=True)
            _set_stated_sizes(config, file)
            set_stated_behaviour(config, file)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place, gguf_file=name, config=config, output_loading_info=True, **options
            )
    except Exception as error:  # whatever reading, dequantising or building it comes upon
        raise InputError(
            f"{file.path}: transformers cannot dequantise it ({one_line(error, 160)}); {REMEDY}"
        ) from error
    model, told = loaded
    if lacking := sorted(told["missing_keys"]):
        raise InputError(
            f"{file.path}: lacks {lacking[0]} ({len(lacking)} in all), which its architecture has; {REMEDY}"
        )
    rotations = [tensor for tensor in file.tensors if tensor.name == ROPE_FREQUENCIES]
    held = file.numbers - sum(int(tensor.n_elements) for tensor in rotations)
    if held != model.num_parameters():
        raise InputError(
            f"{file.path}: holds {held:,} numbers, and the model that transformers makes of it "
            f"{model.num_parameters():,}; {REMEDY}"
        )
    if rotations:
        _set_rotations(model, torch.tensor(rotations[0].data).float(), file)
    return model


def _set_stated_sizes(config: PreTrainedConfig, file: GgufFile) -> None:
    """Set the sizes that a file states and transformers, for some architectures, takes from its defaults."""
    for key, names in STATED.items():
        value = file.metadata.get(f"{file.architecture}.{key}")
        for name in names:
            if isinstance(value, int) and name in vars(config):
                setattr(config, name, value)
    if "query_pre_attn_scalar" in vars(config):  # Gemma's, of which llama.cpp knows all but the two largest
        by_width = config.num_hidden_layers in GEMMA_27B
        width = config.hidden_size // config.num_attention_heads
        config.query_pre_attn_scalar = width if by_width else config.head_dim
    for tensor in file.tensors:
        if tensor.name == EMBEDDING:
            config.vocab_size = int(tensor.shape[-1])


def _set_rotations(model: PreTrainedModel, factors: Tensor, file: GgufFile) -> None:
    """Set the scaling of rotations of which a file holds the factors, and transformers reads nothing."""
    if bool((factors == 1).all()):
        return
    config = model.config
    usual = dict(config.rope_parameters)
    places = torch.arange(0, 2 * len(factors), 2) / (2 * len(factors))
    plain = 1.0 / usual["rope_theta"] ** places
    for factor in LLAMA_3_FACTORS:
        config.rope_parameters = {**usual, **LLAMA_3, "factor": factor}
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
        if torch.allclose(plain / scaled, factors, rtol=1e-4):
            return
    raise InputError(
        f"{file.path}: scales rotations ({ROPE_FREQUENCIES}) otherwise than Llama 3 does; {REMEDY}"
    )


def _plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Build the model anew from its configuration, on the same tensors, for a quantised one saves nothing."""
    config = model.config
    del config.quantization_config
    config.name_or_path = ""
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain
