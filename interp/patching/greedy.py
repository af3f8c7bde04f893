"""Greedy answers of (cell, fact) pairs, from the logits that scoring the right answer already gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.patching.cells import CellLogits, run_group
from interp.patching.interventions import Edits
from interp.patching.prefill import pad_tails


def greedy_tokens(
    model: TransformerBridge,
    cells: Sequence[Edits],
    scored: CellLogits,
    answers: Sequence[Sequence[int]],
    *,
    budget: int,
    ends: frozenset[int],
    wanted: Callable[[int, list[int]], bool] = lambda row, tokens: True,
) -> list[list[int]]:
    """Return what each pair would say, up to one of ``ends`` or ``budget`` tokens.

    It takes one forward pass a further token.
    As long as a greedy answer follows the right one, its next token is already known. An answer is left
    unfinished where ``wanted`` says, of a row and its tokens so far, that the rest does not matter.

    Args:
        model: the hooked model.
        cells: all cells' interventions.
        scored: the logits of the pairs.
        answers: each fact's right answer as token ids.
        budget: how many tokens at most.
        ends: ids that end an answer.
        wanted: says of a row and its tokens so far whether the rest matters; else the answer is left
            unfinished.
    """
    said = _follow_right_answer(scored, answers)

    def unfinished(rows: Iterable[int]) -> list[int]:
        return [i for i in rows if said[i][-1] not in ends and len(said[i]) < budget and wanted(i, said[i])]

    open_rows = unfinished(range(len(said)))
    while open_rows:
        row = torch.tensor(open_rows)
        tails = pad_tails([said[i] for i in open_rows])
        logits = run_group(
            model, scored.prefill, cells, scored.group, scored.cell[row], scored.fact[row], tails, layer=0
        )
        following = logits[torch.arange(len(row)), tails[1]].argmax(-1).tolist()
        for i, token in zip(open_rows, following, strict=True):
            said[i].append(token)
        open_rows = unfinished(open_rows)
    return [tokens[:budget] for tokens in said]


def _follow_right_answer(scored: CellLogits, answers: Sequence[Sequence[int]]) -> list[list[int]]:
    """Follow the right answer as far as it is the likeliest, and add the first token that is not its."""
    said = []
    for tokens, answer in zip(scored.logits.argmax(-1).tolist(), answers, strict=True):
        same = 0
        while same < len(answer) - 1 and tokens[same] == answer[same]:
            same += 1
        said.append([*answer[:same], tokens[same]])
    return said
