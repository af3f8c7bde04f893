"""A base and a fine-tuned model as TransformerLens bridges that were checked against the plain models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from finetune.facts import InputError
from finetune.models import load_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBE_IDS = 12  # length of the random token sequence that parity is checked on
TOLERANCE = 1e-4  # nats, float32


class CheckpointPair:
    """Base and fine-tuned sides of one comparison, opened one at a time.

    ``provenance`` records where each side came from and how closely its bridge matched the plain model.
    """

    def __init__(self, base: str | Path, finetuned: str | Path | None) -> None:
        self._base, self._finetuned = base, finetuned
        self.provenance: dict[str, Any] = {"base": str(base), "finetuned": str(finetuned or base)}
        self._tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of whichever side was opened last."""
        if self._tokenizer is None:
            raise InputError("open a side of the pair first: with pair.finetuned() as model")
        return self._tokenizer

    @contextmanager
    def base(self) -> Iterator[TransformerBridge]:
        """Open the base."""
        yield self._open(self._base, "base")

    @contextmanager
    def finetuned(self) -> Iterator[TransformerBridge]:
        """Open the fine-tuned model, an adapter merged into its own copy of the base."""
        yield self._open(self._finetuned or self._base, "finetuned")

    def _open(self, source: str | Path, side: str) -> TransformerBridge:
        model, self._tokenizer = load_model(source, base=self._base)
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
        bridge, difference = bridged(model, self._tokenizer, str(source))
        self.provenance[f"{side}_parity"] = difference
        return bridge


def load_pair(base: str | Path, finetuned: str | Path | None = None) -> CheckpointPair:
    """Pair a base with a fine-tuned checkpoint or adapter; without one, both sides are the base."""
    return CheckpointPair(base, finetuned)


def bridged(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> tuple[TransformerBridge, float]:
    """Boot a bridge on ``model`` and return it with its largest log-prob difference on a probe (nats).

    Raises:
        InputError: the bridge does not compute what the model computes.
    """
    from transformer_lens.model_bridge import TransformerBridge

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(tokenizer), (2, PROBE_IDS), generator=generator).to(model.device)
    with torch.inference_mode():
        plain = model(input_ids=ids).logits.float().log_softmax(-1)
        bridge = TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer)
        hooked = bridge(ids, attention_mask=torch.ones_like(ids)).float().log_softmax(-1)
    difference = float((plain - hooked).abs().max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"{name}: the hooked model differs from the plain one by {difference:.1e} nats; "
            "this architecture cannot be trusted here"
        )
    return bridge, difference
