"""Prompts run once: what a model says behind them, and keys and values from which answers go on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from finetune.common.errors import InputError
from finetune.evaluation.batching import pad_rows, rows_within
from finetune.evaluation.cache_parity import goes_on_from_cache
from finetune.evaluation.prefixes import PrefixMemo, fewest_logits, pad_behind_prefix
from finetune.evaluation.unembedding import contiguous_head


@dataclass(frozen=True, kw_only=True)
class PromptCache:
    """Left-padded prompts whose keys and values are kept; ``ids`` and ``mask`` are of whole prompts."""

    model: PreTrainedModel
    ids: Int[Tensor, "row pos"]
    mask: Int[Tensor, "row pos"]
    kept: DynamicCache

    def tail_logits(
        self, tails: Int[Tensor, "some nth"], row: Int[Tensor, " some"]
    ) -> Float[Tensor, "some nth vocab"]:
        """Return the logits behind each token of tails that stand behind prompts; what is kept stays.

        Args:
            tails: token ids; a shorter tail is padded at its end, where nothing reads the padding.
            row: the prompt of each tail.
        """
        return self._run(tails, row).logits

    def tail_states(
        self, tails: Int[Tensor, "some nth"], row: Int[Tensor, " some"], layer: int
    ) -> tuple[Float[Tensor, "some nth vocab"], Float[Tensor, "some nth d"]]:
        """Return what ``tail_logits`` does, and the residual stream behind a layer at the same tokens.

        Args:
            tails: token ids, padded at their ends.
            row: the prompt of each tail.
            layer: behind which the residual stream is read; behind the last one it is normed.
        """
        made = self._run(tails, row, output_hidden_states=True)
        return made.logits, made.hidden_states[layer + 1]

    def rows(self, at: Sequence[int] | None = None) -> PromptCache:
        """Return some of the prompts, or all, with keys and values that grow apart from these."""
        kept = copy.copy(self.kept)
        kept.layers = [copy.copy(layer) for layer in self.kept.layers]
        if at is None:
            return replace(self, kept=kept)
        kept.batch_select_indices(torch.tensor(at, device=self.ids.device))
        return replace(self, ids=self.ids[at], mask=self.mask[at], kept=kept)

    def _run(self, tails: Int[Tensor, "some nth"], row: Int[Tensor, " some"], **told: Any) -> Any:
        mask, tails = self.mask[row.to(self.mask.device)], tails.to(self.mask.device)
        behind = {
            "attention_mask": torch.cat([mask, torch.ones_like(tails)], 1),
            "position_ids": mask.sum(1, keepdim=True) + torch.arange(tails.shape[1], device=mask.device),
        }
        kept: Any = copy.copy(self.kept)
        kept.layers = [_ReadOnlyLayer(layer, row) for layer in self.kept.layers]
        with torch.inference_mode(), contiguous_head(self.model):
            return self.model(input_ids=tails, past_key_values=kept, use_cache=True, **behind, **told)


@dataclass
class RanPrompts:
    """The last prompts that were run, kept for a second question about them, up to ``most`` bytes."""

    most: int = 2**30
    _kept: tuple[dict[tuple[int, ...], int], PromptCache, Tensor] | None = field(default=None, init=False)

    def keep(self, rows: Sequence[Sequence[int]], cache: PromptCache, logits: Tensor) -> None:
        """Keep what was run of some rows, and the logits behind each, if there is room for it."""
        held = [getattr(layer, of, None) for layer in cache.kept.layers for of in ("keys", "values")]
        fits = sum(getattr(part, "nbytes", 0) for part in (logits, *held)) <= self.most
        places = {tuple(row): k for k, row in enumerate(rows)}
        self._kept = (places, cache.rows(), logits) if fits else None

    def clear(self) -> None:
        """Let go of what is kept."""
        self._kept = None

    def of(self, rows: Sequence[Sequence[int]]) -> tuple[PromptCache, Tensor] | None:
        """Return what is kept of all these rows, and the logits behind each; None where one was not run."""
        if self._kept is None:
            return None
        places, cache, logits = self._kept
        at = [places.get(tuple(row), -1) for row in rows]
        if min(at) < 0:
            return None
        return cache.rows(at), logits[at]


def later_log_prob(
    logits: Float[Tensor, "some nth vocab"], ids: Int[Tensor, "some whole"], lengths: Int[Tensor, " some"]
) -> Float[Tensor, " some"]:
    """Add up log p (nats) of each answer's tokens behind its first one.

    Args:
        logits: behind each token but the last.
        ids: the answers' tokens, padded at their ends.
        lengths: how many tokens each has.
    """
    wanted = ids[:, 1:, None].to(logits.device)
    each = logits.float().log_softmax(-1).gather(-1, wanted)[..., 0].cpu()
    return each.where(torch.arange(1, ids.shape[1]) < lengths[:, None], 0.0).sum(1)


def log_prob_behind(
    cache: PromptCache,
    logits: Float[Tensor, "row vocab"],
    answers: Sequence[Sequence[int]],
    temperatures: Sequence[float] = (1.0,),
) -> Float[Tensor, "row temperature"]:
    """Add up log p (nats) of an answer behind each prompt that was run, as sampled at each temperature.

    Args:
        cache: what is kept of the prompts.
        logits: of what follows each prompt.
        answers: the tokens of each prompt's answer.
        temperatures: what logits are divided by.
    """
    ids, mask = (part.to(logits.device) for part in pad_rows(answers, 0))
    first = [(logits.float() / t).log_softmax(-1).gather(1, ids[:, :1]) for t in temperatures]
    total, lengths = torch.cat(first, 1).cpu(), mask.sum(1).cpu()
    longer = (lengths > 1).nonzero().flatten()
    for row in longer.split(rows_within(logits.shape[1], ids.shape[1])) if len(longer) else ():
        tails = ids[row, : int(lengths[row].max())]
        behind = cache.tail_logits(tails[:, :-1], row).float()
        later = [later_log_prob(behind / t, tails, lengths[row]) for t in temperatures]
        total[row] += torch.stack(later, 1)
    return total


def run_prompts(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    pad: int,
    *,
    front: int = 0,
    memo: PrefixMemo | None = None,
    ran: RanPrompts | None = None,
) -> tuple[PromptCache, Float[Tensor, "row vocab"]]:
    """Run prompts, left-padded; return them with what is kept of them, and the logits behind each.

    All positions are kept, also where attention slides: a model's own cache drops what its window has passed,
    so that it can neither be cropped nor resumed at several tokens.

    Args:
        model: the plain model.
        rows: the prompts' tokens.
        pad: the id that fills masked positions.
        front: how many tokens all prompts begin with, which are run once.
        memo: what was run before.
        ran: the prompts that were run last, which are not run again; these are kept in it.

    Raises:
        InputError: the model does not go on from its cache.
    """
    if ran is not None:
        if (found := ran.of(rows)) is not None:
            return found
        ran.clear()
    with torch.inference_mode(), contiguous_head(model):
        ids, mask, kept = pad_behind_prefix(model, rows, pad, front, memo, _empty_cache(model))
        at = mask.cumsum(1).sub(1).clamp_min(0)[:, front:]
        given = {"attention_mask": mask, "position_ids": at, **fewest_logits(model)}
        logits = model(input_ids=ids[:, front:], past_key_values=kept, use_cache=True, **given).logits[:, -1]
    cache = PromptCache(model=model, ids=ids, mask=mask, kept=kept)
    if ran is not None:
        ran.keep(rows, cache, logits)
    return cache, logits


def _empty_cache(model: PreTrainedModel) -> DynamicCache:
    if not goes_on_from_cache(model):
        raise InputError(
            f"{type(model).__name__}: does not read on from its keys and values as it reads the whole text "
            "(layers that keep a state, such as convolutions and linear attention, or a cache that is passed "
            "over), so that no second answer can be scored behind a prompt; give a model of attention alone"
        )
    return DynamicCache()


class _ReadOnlyLayer(DynamicLayer):
    """Some rows of a layer's keys and values: a pass goes on from them, and they do not grow.

    A copy of the rows is there for as long as the layer is run, not for all layers at once.
    """

    def __init__(self, layer: Any, row: Int[Tensor, " some"]) -> None:
        super().__init__()
        self.__dict__.update(layer.__dict__)
        self.row = row

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Return what is kept with what is new behind it."""
        return self._with(self.keys, key_states), self._with(self.values, value_states)

    def _with(self, kept: Any, new: Tensor) -> Tensor:
        return torch.cat([kept[self.row.to(new.device)], new], dim=-2)
