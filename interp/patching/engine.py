"""Measuring every cell of a grid: checked, planned, run in packs, and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.progress import progress_bar
from finetune.evaluation.answer_budget import LEAD_TOKENS, answer_budget
from interp.measures.answer_sets import answer_readings
from interp.measures.decode import answer_tokens
from interp.measures.spans import PromptBatch
from interp.models.edit_check import require_edits
from interp.patching.cells import run_cells
from interp.patching.interventions import Edits, interventions_of
from interp.patching.planning import GridPlan, full_pass_plan, make_plan
from interp.patching.recording import ATTENTION
from interp.patching.scoring import PatchResult, ScoreTable
from interp.patching.sweeps import Grid
from interp.patching.validation import require_intervention

Cells = Grid | Sequence[Edits] | Edits


def measure(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Cells,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    answer_sets: Mapping[str, Sequence[str]] | None = None,
    max_new_tokens: int | None = None,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> PatchResult:
    """Measure what each cell does to each fact's answer.

    Args:
        model: a bridge; for interventions on attention, one whose attention can be edited.
        batch: prompts with their answers, of any lengths.
        cells: a grid from :func:`interp.patching.sweeps.sweep`, or any interventions; each is one cell, a
            sequence of them one cell that makes them all.
        tokenizer: the model's own, as training used it; the bridge's without it.
        answer_sets: the possible answers of every relation, for ranks among them.
        max_new_tokens: bound on greedy answers; what the longest canonical answer and words in front of it
            take without it, 0 for none.
        batch_tokens: bound on the keys of one forward pass, hence on memory.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: an intervention that this model or these prompts do not allow, or no cell.
        InterventionError: the model ignores edits of its attention.
    """
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    grid = Grid.of(cells)
    require_cells(model, batch, grid.cells)
    answers = answer_tokens(tokenizer, batch)
    longest = answer_budget(tokenizer, batch.prompts) + LEAD_TOKENS
    budget = longest if max_new_tokens is None else max_new_tokens
    sets = None if answer_sets is None else answer_readings(tokenizer, batch, answer_sets)
    table = ScoreTable(model, batch, grid, answers, sets, budget, tokenizer)
    total, done, reason = len(batch) * (len(grid.cells) + 1), 0, ""
    with progress_bar(progress, total=total) if progress else nullcontext(lambda done: None) as advance:
        for scored in run_cells(model, batch, grid.cells, answers, batch_tokens=batch_tokens):
            table.add(scored)
            done, reason = done + len(scored.fact), scored.reason
            advance(done)
    planned = plan(model, batch, grid, tokenizer)
    return table.result((full_pass_plan(planned, reason) if reason else planned).describe())


def plan(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Cells,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> GridPlan:
    """Say how a grid would be computed, without computing it.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        cells: the cells.
        tokenizer: the model's own fast tokenizer.
    """
    answers = answer_tokens(model.tokenizer if tokenizer is None else tokenizer, batch)
    return make_plan(model, batch, Grid.of(cells).cells, torch.tensor([len(a) - 1 for a in answers]))


def require_cells(model: TransformerBridge, batch: PromptBatch, cells: Sequence[Edits]) -> None:
    """Refuse cells that cannot be made on this model and these prompts.

    Raises:
        InputError: see :func:`interp.patching.validation.require_intervention`.
        InterventionError: the model ignores edits of its attention.
    """
    items = [item for cell in cells for item in interventions_of(cell)]
    if any(item.site in ATTENTION for item in items):
        require_edits(model)
    checked: set[tuple[object, ...]] = set()
    for item in items:
        # The cells of a grid share their source and differ in layer and head, which are quick to check.
        source = (id(getattr(item.do, "source", None)), id(getattr(item.do, "facts", None)))
        key = (*source, type(item.do), item.site, item.at, item.keys, item.facts)
        require_intervention(model, batch, item, positions=key not in checked)
        checked.add(key)
