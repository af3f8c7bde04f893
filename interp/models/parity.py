"""Booting a bridge, and the proof that it computes what the plain model computes.

A bridge rebuilds attention from the checkpoint's weights. Whether it does so faithfully is an empirical
matter, so the plain model's log-probabilities are taken *before* it is bridged (bridging rewires it in place)
and compared with the bridge's on the same tokens: two rows of different length, right-padded, longer than a
short sliding window.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.seeds import torch_generator
from interp.models.architectures import boot_bridge
from interp.models.tokenizers import require_vocabulary

PROBE_LENGTHS = (12, 7)
TOLERANCE = 1e-4  # nats, float32
ROUNDINGS = 2  # a half-precision model may be off by this many of its largest logit's, plus sqrt(layers)

LogProbs = Float[Tensor, "token vocab"]


def probe(model: Any, vocab: int, include: Sequence[int] = ()) -> dict[str, Int[Tensor, "row pos"]]:
    """Make the probe's model inputs: random tokens, the same for every model of one vocabulary size.

    ``include`` names token ids that must be among them, as far as they find room: those of whose embeddings
    an adapter brings its own.
    """
    device = next(model.parameters()).device
    generator = torch_generator(0, "model probe")
    ids = torch.randint(vocab, (len(PROBE_LENGTHS), max(PROBE_LENGTHS)), generator=generator)
    if include:
        some = torch.tensor(include)[: PROBE_LENGTHS[0]]
        ids[0, : len(some)] = some
    mask = torch.arange(ids.shape[1])[None] < torch.tensor(PROBE_LENGTHS)[:, None]
    return {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}


def log_probs(model: Any, inputs: dict[str, Tensor]) -> LogProbs:
    """Return the next-token log-probs (nats, float32, on the CPU) at the probe's real tokens.

    Works for a plain model, for PEFT's and for a bridge.
    """
    with torch.inference_mode():
        output = model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    logits = getattr(output, "logits", output)
    return logits[inputs["attention_mask"].bool()].float().log_softmax(-1).cpu()


def tolerance(expected: LogProbs, dtype: torch.dtype, layers: int = 1) -> float:
    """How far a faithful bridge may be off (nats).

    Float32: ``TOLERANCE``. In half precision the same sums in another order are rounded differently, by
    units of the largest logit's last place, which add up over the layers like a random walk; log-probs stand
    in for the logits here.
    """
    if dtype in (torch.float32, torch.float64):
        return TOLERANCE
    spread = float((expected - expected.mean(-1, keepdim=True)).abs().max())
    return (ROUNDINGS + layers**0.5) * torch.finfo(dtype).eps * max(spread, 1.0)


def require_finite(found: LogProbs, name: str) -> None:
    """Refuse a model whose log-probs are no numbers, before anything is made of them.

    Raises:
        InputError: some are NaN or infinite.
    """
    if not bool(found.isfinite().all()):
        raise InputError(
            f"{name}: its log-probabilities are not finite, as after a training that diverged or in a "
            "precision of too small a range; name another checkpoint, or use float32"
        )


def require_parity(found: LogProbs, expected: LogProbs, cfg: Any, name: str) -> float:
    """Return the largest difference (nats), judged by the bridge's ``cfg`` (precision and depth).

    Args:
        found: the bridge's log-probs.
        expected: the plain model's.
        cfg: the bridge's configuration: its precision and depth say what rounding explains.
        name: what an error calls the model.

    Raises:
        InputError: it is larger than rounding explains.
    """
    difference, allowed = float((found - expected).abs().max()), tolerance(expected, cfg.dtype, cfg.n_layers)
    if not difference <= allowed:
        raise InputError(
            f"{name}: the hooked model's log-probabilities differ from the plain model's by {difference:.1e} "
            f"nats ({allowed:.1e} allowed), so its measurements could not be trusted; "
            "use another architecture or version of transformer-lens"
        )
    return difference


def require_causal(model: Any, inputs: dict[str, Tensor], expected: LogProbs, name: str) -> None:
    """Refuse a model whose earlier tokens see later ones.

    Args:
        model: the model as Hugging Face loads it.
        inputs: the probe.
        expected: its log-probs, which are finite.
        name: what an error calls the model.

    Raises:
        InputError: changing the last token changed the log-probs before it.
    """
    changed = inputs["input_ids"].clone()
    changed[0, -1] = (changed[0, -1] + 1) % expected.shape[-1]
    before = slice(0, PROBE_LENGTHS[0] - 1)
    found = log_probs(model, {**inputs, "input_ids": changed})[before]
    # Both runs have the same shapes, so a causal model differs by no more than nondeterminism.
    allowed = tolerance(expected, next(model.parameters()).dtype) / 10
    if not float((found - expected[before]).abs().max()) <= allowed:
        raise InputError(
            f"{name}: its tokens see those that follow, so it is no causal language model; "
            "use a decoder (for BERT-like configs, is_decoder is false)"
        )


def boot(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> TransformerBridge:
    """Boot a bridge on ``model``, which is rewired in place and belongs to the bridge from then on."""
    model.get_input_embeddings().register_forward_pre_hook(partial(require_embedded, name))
    with tempfile.TemporaryDirectory() as folder:
        # TransformerLens may change the tokenizer it is given, or read it again by its path, with BOS added:
        # it gets a copy of its own, and one that lies here, so that no hub is asked.
        own = copy.deepcopy(tokenizer)
        own.save_pretrained(folder)
        own.init_kwargs["name_or_path"] = folder
        bridge = boot_bridge(model, own, name)
    # The bridge records float32 whatever the weights are.
    dtype = bridge.cfg.dtype = next(model.parameters()).dtype
    if dtype not in (torch.float32, torch.float64):
        # Where rotary embeddings are float32 (OLMo), the plain model casts back and the bridge does not.
        for hook_name, point in bridge.hook_dict.items():
            if hook_name.endswith(("hook_rot_q", "hook_rot_k")):
                point.add_hook(lambda rotated, hook: rotated.to(dtype), is_permanent=True)
    return bridge


def require_embedded(name: str, embedding: Any, inputs: tuple[Any, ...]) -> None:
    """Refuse token ids that a model has no embedding for, before they are looked up.

    Raises:
        InputError: names the model and the first such id.
    """
    ids = inputs[0] if inputs else None
    size = int(embedding.weight.shape[0])
    if isinstance(ids, Tensor) and ids.numel() and int(ids.max()) >= size:
        raise InputError(
            f"{name}: has no embedding for token id {int(ids.max())} (it has {size}); encode prompts with "
            "the pair's own tokenizer, which sets those aside that one side cannot read"
        )


def boot_checked_bridge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    inputs: dict[str, Tensor] | None = None,
) -> tuple[TransformerBridge, float]:
    """Boot a bridge on ``model`` and return it with its largest log-prob difference on a probe (nats).

    Args:
        model: is rewired in place and belongs to the bridge from then on.
        tokenizer: the model's own fast tokenizer.
        name: what an error calls the model.
        inputs: the probe; one of random tokens without it.

    Raises:
        InputError: the bridge does not compute what the model computes, or the model is not causal.
    """
    inputs = inputs or probe(model, vocabulary(model, tokenizer, name))
    expected = log_probs(model, inputs)
    require_finite(expected, name)
    require_causal(model, inputs, expected, name)
    bridge = boot(model, tokenizer, name)
    return bridge, require_parity(log_probs(bridge, inputs), expected, bridge.cfg, name)


def vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """Return how many token ids the model and its tokenizer share.

    Raises:
        InputError: the tokenizer has ids that the model has no embedding for.
    """
    embeddings = int(cast("Tensor", model.get_input_embeddings().weight).shape[0])
    require_vocabulary(tokenizer, embeddings, name)
    return min(max(tokenizer.get_vocab().values()) + 1, embeddings)
