"""Verification of a loaded model: its tensors equal the files', its weights are finite, and it runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from finetune.checkpoints.key_messages import unusable_config_message
from finetune.checkpoints.weight_files import PIECE, first_keys
from finetune.common.errors import InputError
from finetune.common.progress import silence_transformers

SMALL = 1 << 29  # parameters up to which a model is run on two tokens though its shapes are known to fit
WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def require_same(name: str, model: PreTrainedModel, tensors: Mapping[str, Any]) -> None:
    """Compare the first row of every loaded parameter with the file's; those that were fused are skipped.

    ``tensors`` are the files' by the model's key, as tensors or as safetensors' slices, which read on demand.

    Raises:
        InputError: a parameter does not hold what its file holds.
    """
    held = dict(model.named_parameters())
    wrong = []
    for key, tensor in tensors.items():
        parameter = held.get(key)
        if parameter is None or parameter.device.type == "meta" or tuple(parameter.shape) != _shape(tensor):
            continue
        row = tensor[:1] if parameter.ndim else tensor[...]
        if parameter.is_floating_point() and row.dtype in WHOLE and not _is_quantised(model):
            raise InputError(
                f"{name}: {key} holds whole numbers ({str(row.dtype).removeprefix('torch.')}), and nothing "
                "says how they are scaled; save the model in a floating dtype"
            )
        if not row.to(parameter.dtype).equal(_first(parameter).cpu()) and not row.isnan().any():
            wrong.append(key)
    if wrong:
        raise InputError(
            f"{name}: {first_keys(wrong)} ({len(wrong)} in all) is not what its files hold after loading; "
            "report this with the versions of transformers and safetensors"
        )


def require_finite(name: str, model: PreTrainedModel) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        InputError: names them.
    """
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    parameters = {k: p.detach() for k, p in model.named_parameters() if p.dtype in floats and not p.is_meta}
    # A sum reads each weight once and is finite where all are, but may overflow, so that is looked at again.
    # It is of pieces, for PyTorch makes a float32 copy of what it sums.
    odd = [
        key
        for key, p in parameters.items()
        if not all(
            piece.sum(dtype=torch.float32).isfinite() or piece.isfinite().all()
            for piece in p.reshape(-1).split(PIECE)
        )
    ]
    if odd:
        kind = str(parameters[odd[0]].dtype).removeprefix("torch.")
        raise InputError(
            f"{name}: {first_keys(odd)} ({len(odd)} in all) is not finite in {kind} (NaN or infinity); take "
            "a checkpoint from before training diverged, or load it in float32"
        )


def require_runs(name: str, model: PreTrainedModel) -> None:
    """Refuse a model that cannot read two tokens, or whose outputs are not finite.

    Raises:
        InputError: says what went wrong.
    """
    ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    try:
        with torch.inference_mode(), silence_transformers():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    except Exception as error:
        raise unusable_config_message(name, error) from error
    if logits.isnan().any():
        raise InputError(
            f"{name}: its outputs are not finite (NaN); check its config.json and its weights, or load it in "
            "float32"
        )


def untie_config_if_untied(name: str, model: PreTrainedModel) -> None:
    """Let the configuration say what the files say where they hold a head beside embeddings said to be tied.

    Otherwise whoever ties the weights of the model later would overwrite the head.
    """
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    weights = [getattr(module, "weight", None) for module in (head, embeddings)]
    text = model.config.get_text_config()
    tied = getattr(text, "tie_word_embeddings", False)
    if not tied or any(w is None or w.is_meta for w in weights) or weights[0] is weights[1]:
        return
    for config in (model.config, text):
        config.tie_word_embeddings = False
    warnings.warn(
        f"{name}: config.json says that the head is tied to the embeddings, and the files hold a head of its "
        "own, which is used",
        stacklevel=2,
    )


def _is_quantised(model: PreTrainedModel) -> bool:
    return getattr(model.config, "quantization_config", None) is not None


def _first(parameter: Tensor) -> Tensor:
    return parameter.detach()[:1] if parameter.ndim else parameter.detach()


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.get_shape() if hasattr(tensor, "get_shape") else tensor.shape)
