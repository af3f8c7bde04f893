"""Running a grid of cells: prompts once, then every group of cells resumed, packed up to a bound.

1. Prompts are taken in chunks of similar length and run once with their answers.
2. The first chunk's plain rows are resumed as the cells will be, and must give the plain logits; a model
   whose resumed pass does not is run in full for every cell.
3. Each group's (cell, fact) pairs are packed into passes of at most ``batch_tokens`` keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.measures.attention import logit_rows
from interp.measures.spans import PromptBatch
from interp.patching.editing import edit, hooks
from interp.patching.interventions import Edits, interventions_of
from interp.patching.planning import GridPlan, Group, full_pass_plan, make_plan
from interp.patching.prefill import Prefill, Tails, kept_tokens, prefill, resume, view

SAME = 1e-4  # nats; what a resumed pass may differ from a plain one in float32
CHECKED = 2  # facts of each group whose resumed pass is compared with the plain one


@dataclass(frozen=True, kw_only=True)
class CellLogits:
    """Logits of some (cell, fact) pairs at the last prompt token and at each token of the tail.

    ``fact`` counts within the chunk, whose rows of the batch are ``index``. ``cell`` is -1 in the plain pass.
    ``reason`` says why cells are run in full, if they are.
    """

    prefill: Prefill
    index: Int[Tensor, " chunk"]
    group: Group
    cell: Int[Tensor, " row"]
    fact: Int[Tensor, " row"]
    logits: Float[Tensor, "row scored vocab"]
    reason: str = ""


def run_cells(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Sequence[Edits],
    answers: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
) -> Iterator[CellLogits]:
    """Yield the logits of every chunk's plain pass, then those of its cells.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        cells: interventions, one or several a cell.
        answers: each fact's answer as token ids.
        batch_tokens: bound on the tokens of one forward pass.
    """
    lengths = torch.tensor([len(answer) - 1 for answer in answers])
    reason: str | None = None
    positions = int(lengths.max()) + 1
    for index, chunk in batch.chunks(min(batch_tokens, kept_tokens(model)), logit_rows(model, positions)):
        cached = prefill(model, chunk, [answers[i] for i in index.tolist()])
        plan = make_plan(model, chunk, cells, lengths[index])
        if reason is None:
            reason = find_inexactness(model, cached, plan)
        plan = full_pass_plan(plan, reason) if reason else plan
        every = torch.arange(len(chunk))
        plain = Group(cells=(), layer=0, start=torch.zeros_like(every) if reason else chunk.last)
        none = -torch.ones_like(every)
        made = partial(CellLogits, prefill=cached, index=index, reason=reason)
        yield made(group=plain, cell=none, fact=every, logits=cached.logits)
        for group in plan.groups:
            for cell, fact in _packs(group, cached, batch_tokens, logit_rows(model, positions)):
                logits = run_group(model, cached, cells, group, cell, fact, select_tails(cached.tails, fact))
                yield made(group=group, cell=cell, fact=fact, logits=logits)
                del logits
        del cached, made, plan  # or the next chunk's prefill would stand beside this one's


def run_group(
    model: TransformerBridge,
    cached: Prefill,
    cells: Sequence[Edits],
    group: Group,
    cell: Int[Tensor, " row"],
    fact: Int[Tensor, " row"],
    tails: Tails,
    *,
    layer: int | None = None,
) -> Float[Tensor, "row scored vocab"]:
    """Run (cell, fact) pairs of one group under their cells' interventions.

    Args:
        model: the hooked model.
        cached: the prompts' prefill.
        cells: all cells' interventions.
        group: where its cells resume.
        cell: the cell of each row.
        fact: the fact of each row.
        tails: each row's tokens behind its prompt.
        layer: the layer to resume at; the group's without it.
    """
    rows = view(cached, fact, group.start[fact], tails)
    edits = [
        edit(model, cached.batch, item, rows, (cell == i).nonzero().flatten())
        for i in cell.unique().tolist()
        if i >= 0
        for item in interventions_of(cells[i])
    ]
    start = group.layer if layer is None else layer
    return resume(model, cached, rows, start, tails, hooks(model, edits))


def select_tails(tails: Tails, fact: Int[Tensor, " row"]) -> Tails:
    """Take the tails of some facts, as wide as the longest of them."""
    lengths = tails[1][fact]
    return tails[0][fact, : int(lengths.max())], lengths


def find_inexactness(model: TransformerBridge, cached: Prefill, plan: GridPlan) -> str:
    """Resume a few plain rows as the first and last group would; say why that is not exact, or nothing."""
    if not plan.groups:
        return ""
    few = torch.arange(min(CHECKED, len(cached.batch)))
    tails, precision = select_tails(cached.tails, few), next(model.parameters()).dtype
    plain = cached.logits[few, : tails[0].shape[1] + 1].log_softmax(-1)
    ends = tails[1][:, None] >= torch.arange(plain.shape[1])[None]
    for group in (plan.groups[0], plan.groups[-1]):
        nothing = -torch.ones_like(few)
        try:
            again = run_group(model, cached, (), group, nothing, few, tails)
        except Exception as error:  # a bridge that cannot resume may fail in any way of its own
            return f"this architecture cannot be resumed from kept keys and values ({type(error).__name__})"
        off = (again.log_softmax(-1) - plain)[ends]
        if not _is_rounding(off, cached.logits[few], precision) and plain[ends].isfinite().all():
            return f"resumed from layer {group.layer}, log-probs differ by {off.abs().max():.1e}"
    return ""


def _is_rounding(
    off: Float[Tensor, "end vocab"], logits: Float[Tensor, "fact position vocab"], precision: torch.dtype
) -> bool:
    """Tell whether log-probs differ by no more than rounding makes them.

    In half precision a single sum that is rounded the other way reaches every logit, and the largest of
    50,000 differences says more of the vocabulary than of the pass; their mean square is held against how
    finely the largest logit is known.
    """
    unit = torch.finfo(precision).eps
    if unit <= torch.finfo(torch.float32).eps:
        return bool(off.abs().max() <= SAME)
    return bool(off.square().mean(-1).sqrt().max() <= unit * logits.abs().max())


def _packs(
    group: Group, cached: Prefill, batch_tokens: int, most: int
) -> Iterator[tuple[Int[Tensor, " row"], Int[Tensor, " row"]]]:
    """Yield (cell, fact) pairs a bounded number at a time, those of short answers first.

    So that a pass is hardly wider than its rows: answers of one relation take from one to ten tokens.
    """
    width = cached.batch.input_ids.shape[1] + cached.tails[0].shape[1]
    by_length = torch.argsort(cached.tails[1], stable=True)
    cell = torch.tensor(group.cells).repeat(len(by_length))
    fact = by_length.repeat_interleave(len(group.cells))
    yield from zip(
        *(part.split(max(1, min(most, batch_tokens // width))) for part in (cell, fact)), strict=True
    )
