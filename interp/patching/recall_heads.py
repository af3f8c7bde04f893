"""Recall heads: the attention heads through which the last token fetches the answer from the subject.

A mean of the subject-attention mass over all heads hides the handful that retrieve. So:

1. On facts set aside for this, each head's attention from the last prompt token to the subject is knocked
   out in turn; its effect is the change of log p(whole answer), in nats.
2. Each head's mean effect is tested against zero, over subjects (one-sided), and p-values are corrected over
   all heads by Benjamini-Hochberg: of hundreds of heads that do nothing, ten have an interval below zero.
3. The ``count`` heads that cost the answers most on average, of those with a corrected p-value of 0.05 or
   less, are the recall heads. There may be none.
4. Their mass is measured on *other* facts (:meth:`RecallHeads.mean`), beside the mean over all heads.

After the knock-outs of Geva et al. (2023) and the mover heads of Wang et al. (2023, "IOI").
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.patching.interventions import Intervention, Knockout
from interp.patching.patch import patch
from interp.patching.sweeps import sweep
from interp.stats import adjusted, mean_by_cell, mean_p_values

COUNT = 10
ALPHA = 0.05  # corrected: of the heads that are found, so many do nothing, on average


@dataclass(frozen=True, kw_only=True)
class RecallHeads(Result):
    """What cutting each head off from the subject does to log p(answer), and the heads that recall needs.

    ``effect`` with its bounds is a mean over the facts it was found on, in nats, and ``corrected`` the
    p-value of its being below zero, corrected over all heads; ``heads`` are [recall head, (layer, head)], the
    most needed first, and may be none.
    """

    effect: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    corrected: Float[Tensor, "layer head"]
    heads: tuple[tuple[int, int], ...]

    @classmethod
    def none(cls, layers: int, heads: int) -> Self:
        """Say that no head could be looked for."""
        effect, low, high, corrected = torch.full((4, layers, heads), torch.nan).unbind()
        return cls(effect=effect, low=low, high=high, corrected=corrected, heads=(), fact_ids=())

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
        columns = {name: getattr(self, name) for name in ("effect", "low", "high", "corrected")}
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
        InputError: a count below 1, not one group for each fact, or fewer than two facts with something to
            cut off.
        InterventionError: the model ignores edits of its attention.
    """
    if count < 1:
        raise InputError(f"count = {count}: ask for at least 1 head")
    names = batch.fact_ids if groups is None else groups
    if len(names) != len(batch):
        raise InputError(f"{len(names)} groups for {len(batch)} facts; give one subject per fact")
    grid = sweep(model, Intervention(site="pattern", do=Knockout(), keys="subject"), over=("layer", "head"))
    found = patch(
        model, batch, grid, tokenizer, max_new_tokens=0, batch_tokens=batch_tokens, progress=progress
    )
    there = found.effect.isfinite().all(0)
    labels = np.array([str(group) for group in names])[there.numpy()]
    effects = found.effect[:, there].T.unflatten(1, found.shape).double().numpy()
    mean, low, high, corrected = map(torch.Tensor.float, _head_tests(effects, labels))
    order = mean.flatten().argsort(stable=True)
    needed = order[corrected.flatten()[order] <= ALPHA][:count].tolist()
    return RecallHeads(
        effect=mean,
        low=low,
        high=high,
        corrected=corrected,
        heads=tuple(divmod(place, mean.shape[1]) for place in needed),
        fact_ids=tuple(i for i, some in zip(batch.fact_ids, there.tolist(), strict=True) if some),
        model=found.model,
    )


def _head_tests(
    effects: Float[np.ndarray, "fact layer head"], subjects: Shaped[np.ndarray, " fact"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return each head's mean effect, its bounds, and the p-value of its being below zero, corrected."""
    if (count := len(np.unique(subjects))) < 2:
        raise InputError(f"{count} subjects to find recall heads on; give at least 2 facts")
    # A head that changes no answer at all has no p-value, and nothing speaks for it.
    p_values = np.nan_to_num(mean_p_values(effects, groups=subjects, side="below"), nan=1.0)
    mean, low, high = map(torch.from_numpy, mean_by_cell(effects, groups=subjects))
    return mean, low, high, torch.from_numpy(adjusted(p_values.ravel()).reshape(p_values.shape))
