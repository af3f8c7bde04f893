"""Recall heads: the attention heads through which the last token fetches the answer from the subject.

A mean of the subject-attention mass over all heads hides the handful that retrieve. So:

1. On facts set aside for this, each head's attention from the last prompt token to the subject is knocked
   out in turn; its effect is the change of log p(whole answer), in nats.
2. The ``count`` heads that cost the answers most on average, of those whose 95% interval over subjects is
   below zero, are the recall heads.
3. Their mass is measured on *other* facts (:meth:`RecallHeads.mean`), beside the mean over all heads.

After the knock-outs of Geva et al. (2023) and the mover heads of Wang et al. (2023, "IOI").
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.patching.interventions import Intervention, Knockout
from interp.patching.patch import patch
from interp.patching.sweeps import sweep
from interp.stats import mean_by_cell

COUNT = 10


@dataclass(frozen=True, kw_only=True)
class RecallHeads(Result):
    """What cutting each head off from the subject does to log p(answer), and the heads that recall needs.

    ``effect`` with its bounds is a mean over the facts it was found on, in nats; ``heads`` are [recall head,
    (layer, head)], the most needed first, and may be none.
    """

    effect: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    heads: tuple[tuple[int, int], ...]

    @classmethod
    def none(cls, layers: int, heads: int) -> Self:
        """Say that no head could be looked for."""
        nothing = torch.full((layers, heads), torch.nan)
        return cls(effect=nothing, low=nothing.clone(), high=nothing.clone(), heads=(), fact_ids=())

    def mean(
        self, values: Float[Tensor, "fact layer head"], fact_ids: Sequence[str]
    ) -> Float[Tensor, " fact"]:
        """Average a measurement over the recall heads; NaN for the facts that these were found on."""
        if not self.heads:
            return torch.full((len(values),), torch.nan)
        layers, heads = torch.tensor(self.heads).T
        seen = torch.tensor([fact_id in set(self.fact_ids) for fact_id in fact_ids])
        return values[:, layers, heads].mean(1).masked_fill(seen, torch.nan)

    def to_frame(self) -> pd.DataFrame:
        """One row per head, the most needed first; ``n`` is the number of facts it was found on."""
        layers, heads = self.effect.shape
        columns = {name: getattr(self, name) for name in ("effect", "low", "high")}
        frame = long_frame({"layer": range(layers), "head": range(heads)}, columns)
        chosen = [place in self.heads for place in zip(frame["layer"], frame["head"], strict=True)]
        return frame.assign(recall=chosen, n=len(self.fact_ids)).sort_values("effect", ignore_index=True)


def recall_heads(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int = COUNT,
    groups: Sequence[Hashable] | None = None,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> RecallHeads:
    """Find the heads whose attention to the subject the answers need.

    Args:
        model: a bridge whose attention can be edited.
        batch: prompts of facts set aside for this, with their answers; ones that the model knows say most.
        tokenizer: the model's own.
        count: how many heads, at most.
        groups: the subject of every fact; without it each fact stands alone.
        batch_tokens: bound on the keys of one forward pass.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: a count below 1, or fewer than two facts with something to cut off.
        InterventionError: the model ignores edits of its attention.
    """
    if count < 1:
        raise InputError(f"count = {count}: ask for at least 1 head")
    grid = sweep(model, Intervention(site="pattern", do=Knockout(), keys="subject"), over=("layer", "head"))
    found = patch(
        model, batch, grid, tokenizer, max_new_tokens=0, batch_tokens=batch_tokens, progress=progress
    )
    there = found.effect.isfinite().all(0)
    labels = np.array([str(group) for group in (groups or batch.fact_ids)])[there.numpy()]
    if len(set(labels)) < 2:
        raise InputError(f"{len(set(labels))} subjects to find recall heads on; give at least 2 facts")
    effects = found.effect[:, there].T.unflatten(1, found.shape)
    mean, low, high = (
        torch.from_numpy(part).float() for part in mean_by_cell(effects.double().numpy(), groups=labels)
    )
    order = mean.flatten().argsort(stable=True)
    needed = order[(high.flatten() < 0)[order]][:count].tolist()
    return RecallHeads(
        effect=mean,
        low=low,
        high=high,
        heads=tuple(divmod(place, mean.shape[1]) for place in needed),
        fact_ids=tuple(i for i, some in zip(batch.fact_ids, there.tolist(), strict=True) if some),
        model=found.model,
    )
