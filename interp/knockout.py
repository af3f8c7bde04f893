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
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from finetune.facts import InputError
from interp.attention import Hook, blocks, indices, pattern_hooks, stream
from interp.decode import answer_log_probs, answer_tokens
from interp.edits import require_edits
from interp.identity import fingerprint
from interp.results import Result
from interp.spans import PromptBatch

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

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
        import pandas as pd

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
    require_edits(model)
    answers = answer_tokens(tokenizer, batch)
    clean, knocked = torch.zeros(len(batch)), torch.zeros(len(batch))
    for index, chunk in stream(batch, batch_tokens, progress):
        wanted = [answers[i] for i in index.tolist()]
        mask = blocks(chunk)[block]
        hooks = knockout_hooks(model, chunk, mask, chosen_layers, chosen_heads)
        clean[index] = answer_log_probs(model, chunk, wanted)
        after = answer_log_probs(model, chunk, wanted, hooks=hooks)
        knocked[index] = after.masked_fill(~mask.any(-1), torch.nan)
    return KnockoutResult(
        clean=clean,
        knocked=knocked,
        block=block,
        layers=chosen_layers,
        heads=chosen_heads,
        fact_ids=batch.fact_ids,
        model=fingerprint(model),
    )


def knockout_hooks(
    model: TransformerBridge,
    batch: PromptBatch,
    mask: Bool[Tensor, "fact pos"],
    layers: Sequence[int],
    heads: Sequence[int],
) -> list[Hook]:
    """Return hooks that take masked tokens out of each prompt's last attention row and renormalise it."""
    fact, last = torch.arange(len(batch))[:, None], batch.last[:, None]
    head = torch.as_tensor(heads)[None]

    def cut(pattern: Float[Tensor, "fact head query key"], hook: object) -> Tensor:
        blocked = torch.nn.functional.pad(mask, (0, pattern.shape[-1] - mask.shape[-1]))
        edited = pattern.clone()
        edited[fact, head, last] = without(edited[fact, head, last], blocked[:, None].to(pattern.device))
        return edited

    return [(name, cut) for layer, name in pattern_hooks(model) if layer in layers]


def without(rows: Float[Tensor, "fact head pos"], mask: Bool[Tensor, "fact 1 pos"]) -> Tensor:
    """Zero masked positions and renormalise; a row that is all masked becomes zero.

    Rows that give the masked positions nothing stay as they are, to the bit.
    """
    kept = rows.masked_fill(mask, 0)
    lost = (rows * mask).sum(-1, keepdim=True)
    total = kept.sum(-1, keepdim=True)
    scaled = torch.where(total > 0, kept / total.clamp_min(torch.finfo(rows.dtype).tiny), kept)
    return torch.where(lost > 0, scaled, rows)
