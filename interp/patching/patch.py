"""The intervention engine: what every cell of a grid does to every fact's answer.

    cells = sweep(model, Intervention(site="pattern", do=Knockout(), keys="subject"), over=("layer", "head"))
    result = patch(model, batch, cells)
    result.effect        # log p(answer) with the cell minus without, [cell, fact], nats

How a cell is computed is not the caller's choice (:mod:`interp.patching.planning`): prompts are run once,
and a cell resumes at the first layer and position that it edits. The numbers are those of one plain
forward pass a cell under the same hooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from interp.measures.spans import PromptBatch
from interp.patching.attribution import screen_cells as screened
from interp.patching.engine import Cells, measure
from interp.patching.scoring import PatchResult
from interp.patching.sweeps import Grid


def patch(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Cells,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    answer_sets: Mapping[str, Sequence[str]] | None = None,
    max_new_tokens: int | None = None,
    screen: int | None = None,
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
        screen: measure only this many cells, those that attribution patching ranks first, and as many others
            to see how well it ranks; for grids that are too large to measure.
        batch_tokens: bound on the keys of one forward pass, hence on memory.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: an intervention that this model or these prompts do not allow, or no cell.
        InterventionError: the model ignores edits of its attention.
    """
    options: dict[str, Any] = {
        "answer_sets": answer_sets,
        "max_new_tokens": max_new_tokens,
        "batch_tokens": batch_tokens,
        "progress": progress,
    }
    if screen is not None:
        return screened(model, batch, Grid.of(cells), tokenizer, keep=screen, **options)
    return measure(model, batch, cells, tokenizer, **options)
