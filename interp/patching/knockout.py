"""Attention knockout: what the last prompt token loses when it may not look at some of the prompt.

In the chosen layers and heads the last prompt token's attention to a block of tokens is set to zero and the
rest of the row renormalised, which is what a score of minus infinity gives. The effect is the change in the
log-probability of the whole answer (nats, negative where the block helped). Other rows, the answer's own
tokens among them, attend as the model likes.

After Geva et al., "Dissecting Recall of Factual Associations in Auto-Regressive Language Models" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from interp.measures.attention import indices
from interp.measures.result import Result
from interp.measures.spans import PromptBatch
from interp.patching.interventions import Intervention, Knockout
from interp.patching.patch import patch

Block = Literal["subject", "relation", "bos", "rest"]


@dataclass(frozen=True, kw_only=True)
class KnockoutResult(Result):
    """Log-probability (nats) of each fact's answer without and with the knockout.

    A fact whose prompt has no token of the block has nothing to knock out, and ``knocked`` is NaN. ``layers``
    and ``heads`` are where it was made; ``block`` is what the last token could not see.
    """

    clean: Float[Tensor, " fact"]
    knocked: Float[Tensor, " fact"]
    block: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def change(self) -> Float[Tensor, " fact"]:
        """What the knockout did to log p(answer): negative where the block helped."""
        return self.knocked - self.clean

    def to_frame(self) -> pd.DataFrame:
        """One row per fact."""
        return pd.DataFrame(
            {
                "fact_id": self.fact_ids,
                "block": self.block,
                "clean": self.clean.numpy(),
                "knocked": self.knocked.numpy(),
                "change": self.change.numpy(),
            }
        )


def knockout(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    block: Block = "subject",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> KnockoutResult:
    """Cut the last prompt token off from a block of tokens and score each prompt's canonical answer.

    Args:
        model: a bridge whose attention can be edited.
        batch: prompts with their answers.
        tokenizer: the model's own.
        block: the subject, the relation's words, special tokens, or the rest (the last token itself).
        layers: where to cut, such as ``range(4, 9)`` for a window; all without it.
        heads: which heads of those layers; all without it.
        batch_tokens: bound on the prompt tokens of one forward pass.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: an unknown block, layer or head.
        InterventionError: the model ignores edits of its attention.
    """
    if block not in get_args(Block):
        raise InputError(f"block = {block!r}: choose one of {', '.join(get_args(Block))}")
    chosen_layers = indices("layers", layers, model.cfg.n_layers)
    chosen_heads = indices("heads", heads, model.cfg.n_heads)
    cut = Intervention(
        site="pattern", do=Knockout(), at="last", keys=block, layers=chosen_layers, heads=chosen_heads
    )
    result = patch(
        model, batch, cut, tokenizer, max_new_tokens=0, batch_tokens=batch_tokens, progress=progress
    )
    return KnockoutResult(
        clean=result.clean,
        knocked=result.log_prob[0],
        block=block,
        layers=chosen_layers,
        heads=chosen_heads,
        fact_ids=batch.fact_ids,
        model=result.model,
    )
