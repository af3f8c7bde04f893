"""Screening: rank every cell of a grid by a linear estimate, and measure only the foremost exactly.

    screened = patch(model, batch, sweep(model, Intervention(site="z", do=Zero())), screen=50)
    screened.cells, screened.effect      # the measured cells, and what they do, exactly
    screened.hit_rate                    # how far the estimate is to be trusted on this grid

Attribution patching (Nanda 2023; Kramár et al. 2024, "AtP*") takes the effect of an edit to first order,

    log p(answer | edited) - log p(answer)  ~=  sum over the sites edited of  gradient . (edited - clean),

all gradients being from one forward and one backward pass. No first-order estimate sees saturation (q, k
and scores of a sharp softmax look idle), Scale and Zero of what a norm reads next (q and k of Qwen 3, all of
z in Gemma 2: estimates of 0), or that an edit overwrites what another of its cell, upstream, has brought. So
estimates rank cells, and are never reported as effects.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis.attribution_patching import GradientCache, cache_activation_and_gradient
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.seeds import torch_generator
from interp.measures.attention import Hook, logit_rows, read_at
from interp.measures.decode import answer_tokens
from interp.measures.spans import PromptBatch
from interp.patching.editing import edit, hooks
from interp.patching.engine import Cells, measure, require_cells
from interp.patching.interventions import Intervention, Knockout, interventions_of, layers_of
from interp.patching.prefill import pad_tails, sequences
from interp.patching.recording import hook_name
from interp.patching.resumed_rows import ResumedRows
from interp.patching.scoring import PatchResult, edited_mask
from interp.patching.sweeps import Grid
from interp.stats import rank_correlation

ROOT = "blocks.0.hook_in"


@dataclass(frozen=True, kw_only=True)
class Screened(PatchResult):
    """The exact effects of the cells that were measured, and the estimates of all cells.

    ``cells`` are the measured ones' places in the grid: first the ``keep`` foremost by their estimate, from
    the largest on, then random others. Whatever is inherited is of the measured cells, in this order;
    ``attribution`` [cell of the grid, fact] is of all, and ``axes`` are the grid's labels.
    """

    cells: tuple[int, ...]
    keep: int
    attribution: Float[Tensor, "grid fact"]
    axes: dict[str, tuple[int | str, ...]]

    @property
    def hit_rate(self) -> float:
        """Of the ``keep`` measured cells that do most, the share that the screen had put first.

        What a cell does is its mean over facts. Cells that were not measured do not count: the fewer random
        others (``extra``), the higher it is.
        """
        return float((_rank_cells(self.effect)[: self.keep] < self.keep).double().mean())

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of estimate and exact effect (means over facts) of measured cells; NaN if all tie."""
        pair = torch.stack([self.attribution[list(self.cells)].nanmean(1), self.effect.nanmean(1)])
        pair = pair[:, pair.isfinite().all(0)]
        found = rank_correlation(*pair.double().numpy())
        return float("nan") if found is None else found

    def to_frame(self) -> pd.DataFrame:
        """One row per measured cell and fact, with the cell's place on the grid's axes."""
        frame, rows = super().to_frame(), torch.tensor(self.cells).repeat_interleave(len(self.fact_ids))
        frame["attribution"] = self.attribution[list(self.cells)].flatten().numpy()
        frame["screened"] = frame["cell"].isin(self.cells[: self.keep])
        places = list(itertools.product(*self.axes.values()))
        for axis, name in enumerate(self.axes):
            frame[name] = [places[i][axis] for i in rows.tolist()]
        return frame


def screen_cells(
    model: TransformerBridge,
    batch: PromptBatch,
    grid: Cells,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    keep: int,
    extra: int | None = None,
    seed: int = 0,
    batch_tokens: int = 8192,
    **options: Any,
) -> Screened:
    """Find the cells of a large grid that matter, and say how well the estimate found them.

    1. Every cell's effect on every fact is estimated (:func:`attribution`).
    2. Cells are ranked by the absolute value of the estimates' mean over facts.
    3. The ``keep`` foremost are measured exactly (:func:`interp.patching.patch.patch`, which takes
       ``options``), and ``extra`` others at random: as many without a number, and never more than there are.
    4. The exact effects say which of the measured cells matter most, and so whether the ranking was right.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        grid: the cells.
        tokenizer: the model's own fast tokenizer.
        keep: how many of the foremost are measured.
        extra: how many others are, at random; as many without a number, and never more than there are.
        seed: of that draw.
        batch_tokens: bound on the tokens of one forward pass.
        options: of :func:`interp.patching.patch.patch`.

    Raises:
        InputError: ``keep`` is below 1 or above the number of cells, ``extra`` below 0, or see ``patch``.
    """
    grid = Grid.of(grid)
    if not 1 <= keep <= len(grid):
        raise InputError(f"keep = {keep}: the grid has {len(grid)} cells; choose from 1 to {len(grid)}")
    if extra is not None and extra < 0:
        raise InputError(f"extra = {extra}: choose 0 or more random cells to hold the screen against")
    estimates = attribution(model, batch, grid, tokenizer, batch_tokens=batch_tokens)
    order = _rank_cells(estimates)
    shuffle = torch.randperm(len(grid) - keep, generator=torch_generator(seed, "screened cells"))
    others = order[keep:][shuffle][: keep if extra is None else extra]
    cells = tuple(torch.cat([order[:keep], others]).tolist())
    measured = Grid(cells=tuple(grid.cells[i] for i in cells), labels={"cell": cells})
    exact = measure(model, batch, measured, tokenizer, batch_tokens=batch_tokens, **options)
    return Screened(**vars(exact), cells=cells, keep=keep, attribution=estimates, axes=grid.labels)


def attribution(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Cells,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    batch_tokens: int = 8192,
) -> Float[Tensor, "cell fact"]:
    """Estimate to first order what every cell does to log p(whole answer), in nats.

    1. A chunk's prompts run once with their answers; one backward pass from the sum over facts of
       log p(answer) gives each fact its own gradients, for no row of a batch sees another.
    2. A cell's edits, the engine's own, are made on the clean activations, in their order at each site.
    3. What they change is multiplied with the gradient and added up.

    NaN where a cell is not made of a fact, as in :func:`interp.patching.patch.patch`.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        cells: the cells to estimate.
        tokenizer: the model's own fast tokenizer.
        batch_tokens: bound on a chunk's prompt tokens, which takes the memory of a training step without
            optimizer.

    Raises:
        InputError: an intervention that this model or these prompts do not allow, or no cell.
        InterventionError: the model ignores edits of its attention.
    """
    made = Grid.of(cells).cells
    require_cells(model, batch, made)
    answers = answer_tokens(model.tokenizer if tokenizer is None else tokenizer, batch)
    finite = [tuple(map(_finite, interventions_of(cell))) for cell in made]
    names = {hook_name(i.site, layer) for cell in finite for i in cell for layer in layers_of(model, i)}
    estimates = torch.zeros(len(made), len(batch))
    most = logit_rows(model, max(map(len, answers)))
    for index, chunk in batch.chunks(batch_tokens, most):
        cache = _gradients(model, chunk, [answers[i] for i in index.tolist()], names)
        for row, cell in zip(estimates, finite, strict=True):
            row[index] = _first_order(model, chunk, cell, cache)
    for row, whole in zip(estimates, made, strict=True):
        row[~edited_mask(whole, batch)] = torch.nan
    return estimates


def _gradients(
    model: TransformerBridge, chunk: PromptBatch, answers: Sequence[tuple[int, ...]], names: set[str]
) -> GradientCache:
    """Run prompts with their answers forward and backward, and keep what passed the named hooks."""
    ids, _ = sequences(chunk, pad_tails([answer[:-1] for answer in answers]))
    wanted, lengths = pad_tails(answers)
    nth = torch.arange(wanted.shape[1])[None]

    def log_prob(logits: Float[Tensor, "fact scored vocab"]) -> Float[Tensor, ""]:
        each = logits.float().log_softmax(-1).gather(-1, wanted[..., None].to(logits.device))[..., 0]
        return torch.where((nth < lengths[:, None]).to(logits.device), each, 0.0).sum()

    # Weights may be frozen; the graph begins at the embedding. The first block's input is always asked for:
    # the backward pass goes no further down than it must, and never to what hooks see of q, k, v and z:
    # those are views. No mask is needed: padding stands behind, where no prompt token looks.
    reader = read_at(chunk.last[:, None] + nth, ids.shape[1])
    begin: Hook = ("hook_embed", lambda embedded, hook: embedded.detach().requires_grad_())
    ids = ids.to(next(model.parameters()).device)
    with torch.enable_grad(), model.hooks(fwd_hooks=[begin, reader]):
        return cache_activation_and_gradient(model, ids, log_prob, [ROOT, *sorted(names)])


@torch.no_grad()
def _first_order(
    model: TransformerBridge, chunk: PromptBatch, cell: Sequence[Intervention], cache: GradientCache
) -> Float[Tensor, " fact"]:
    """Make a cell's edits on clean activations and multiply what they change with the gradients."""
    rows, width = torch.arange(len(chunk)), cache.activations[ROOT].shape[1]
    whole = ResumedRows(fact=rows, start=torch.zeros_like(rows), prefix=0, length=width)
    total = torch.zeros(len(chunk))
    for name, overwrite in hooks(model, [edit(model, chunk, item, whole, rows) for item in cell]):
        clean, gradient = cache.activations[str(name)].float(), cache.gradients[str(name)]
        if gradient is None:
            raise InputError(f"{name}: has no gradient, so it cannot be screened; patch it instead")
        edited = overwrite(clean, None)
        # Masked scores may be infinite, and their difference no number.
        change = torch.where(edited == clean, 0.0, edited - clean)
        total += (change * gradient.float()).flatten(1).sum(1).cpu()
    return total


def _finite(item: Intervention) -> Intervention:
    """Take a knock-out from the scores, where its step is endless, to the pattern, where it is the same."""
    return replace(item, site="pattern") if isinstance(item.do, Knockout) else item


def _rank_cells(effects: Float[Tensor, "cell fact"]) -> Int[Tensor, " cell"]:
    """Rank cells by the size of their mean over facts; those without a number come last."""
    return effects.nanmean(1).abs().nan_to_num(-1.0).argsort(descending=True, stable=True)
