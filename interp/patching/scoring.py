"""Scores of cells: from logits to log p(answer), the answer's rank and what is said, per cell and fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.patching import PatchingResult
from transformers import PreTrainedTokenizerBase

from finetune.data.tokenization import end_ids
from finetune.evaluation.answer_words import line_is_said
from interp.measures.answer_sets import AnswerSet
from interp.measures.decode import text_of
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint
from interp.patching.cells import CellLogits
from interp.patching.greedy import greedy_tokens
from interp.patching.interventions import Edits, edits, facts_mask, interventions_of
from interp.patching.prefill import pad_tails
from interp.patching.sweeps import Grid


@dataclass(frozen=True, kw_only=True)
class PatchResult(Result):
    """What each cell does to each fact: log p(answer) in nats, the answer's rank, what is said.

    ``log_prob`` and ``rank`` are [cell, fact], ``clean`` and ``clean_rank`` [fact] without intervention;
    ``said`` and ``clean_said`` are greedy answers, empty if none were asked for. A rank counts the answers
    whose first token is likelier than the right one's: those of the relation's answer set, or all tokens.
    Where a cell is not made, since it is not meant for a fact or finds no position to edit in its prompt, its
    log-probability is NaN, its rank -1, and ``said`` is the plain answer: no effect is not an effect of 0.
    A cell whose logits are not numbers has that rank, too. ``not_finite`` lists facts whose plain logits are
    not numbers; all that is theirs is NaN. ``labels`` names the grid's axes with their values, in the cells'
    order.
    """

    log_prob: Float[Tensor, "cell fact"]
    rank: Int[Tensor, "cell fact"]
    clean: Float[Tensor, " fact"]
    clean_rank: Int[Tensor, " fact"]
    said: tuple[tuple[str, ...], ...]
    clean_said: tuple[str, ...]
    labels: dict[str, tuple[int | str, ...]]
    not_finite: tuple[str, ...]
    plan: str

    @property
    def effect(self) -> Float[Tensor, "cell fact"]:
        """What each cell does to log p(answer), in nats."""
        return self.log_prob - self.clean

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each of the grid's axes has."""
        return tuple(len(values) for values in self.labels.values())

    def to_frame(self) -> pd.DataFrame:
        """One row per cell and fact."""
        columns = {"log_prob": self.log_prob, "effect": self.effect, "rank": self.rank}
        frame = long_frame({**self.labels, "fact_id": self.fact_ids}, columns)
        if self.said:
            frame["said"] = [text for row in self.said for text in row]
        return frame

    def to_patching_result(self) -> PatchingResult:
        """Give log-probabilities to TransformerLens' statistics: bootstrap and permutation per cell."""

        index = pd.MultiIndex.from_product(list(self.labels.values()), names=list(self.labels))
        return PatchingResult(
            values=self.log_prob.view(*self.shape, -1),
            axis_names=list(self.labels),
            index_df=index.to_frame(index=False),
            metric_names=["log_prob"],
            reduced=False,
            baseline=self.clean,
        )


class ScoreTable:
    """Fills a result cell by cell."""

    def __init__(
        self,
        model: TransformerBridge,
        batch: PromptBatch,
        grid: Grid,
        answers: Sequence[tuple[int, ...]],
        sets: Mapping[str, AnswerSet] | None,
        budget: int,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        shape = (len(grid.cells) + 1, len(batch))  # the last row is the plain pass
        self.model, self.batch, self.grid, self.answers, self.sets = model, batch, grid, answers, sets
        self.budget, self.tokenizer = budget, tokenizer
        self.log_prob = torch.full(shape, torch.nan)
        self.rank = torch.full(shape, -1)
        self.said = [[""] * len(batch) for _ in range(shape[0])]

    def add(self, scored: CellLogits) -> None:
        """Take in the logits of some (cell, fact) pairs."""
        fact = scored.index[scored.fact]
        answers = [self.answers[i] for i in fact.tolist()]
        self.log_prob[scored.cell, fact] = answer_log_prob(scored, answers)
        self.rank[scored.cell, fact] = self._ranks(scored.logits[:, 0], fact)
        if self.budget:
            ends = end_ids(self.model, self.tokenizer)
            asked: dict[str, Any] = {"budget": self.budget, "ends": ends, "wanted": self._unsaid}
            tokens = greedy_tokens(self.model, self.grid.cells, scored, answers, **asked)
            for i, f, row in zip(scored.cell.tolist(), fact.tolist(), tokens, strict=True):
                self.said[i][f] = text_of(self.tokenizer, row, ends)

    def _unsaid(self, row: int, tokens: list[int]) -> bool:
        return not line_is_said(str(self.tokenizer.decode(tokens, skip_special_tokens=True)))

    def result(self, plan: str) -> PatchResult:
        """Set aside what could not be edited or is not a number, and return the whole."""
        log_prob, rank = self.log_prob.clone(), self.rank.clone()
        for i, cell in enumerate(self.grid.cells):
            log_prob[i, ~edited_mask(cell, self.batch)] = torch.nan
        odd = ~self.log_prob[-1].isfinite()
        log_prob[:, odd] = torch.nan
        rank[log_prob.isnan()] = -1
        return PatchResult(
            log_prob=log_prob[:-1],
            rank=rank[:-1],
            clean=log_prob[-1],
            clean_rank=rank[-1],
            said=tuple(map(tuple, self.said[:-1])) if self.budget else (),
            clean_said=tuple(self.said[-1]) if self.budget else (),
            labels=self.grid.labels,
            not_finite=tuple(self.batch.fact_ids[i] for i in odd.nonzero().flatten().tolist()),
            plan=plan,
            fact_ids=self.batch.fact_ids,
            model=model_fingerprint(self.model),
        )

    def _ranks(self, logits: Float[Tensor, "row vocab"], fact: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        first = torch.tensor([self.answers[i][0] for i in fact.tolist()])
        gold = logits.gather(1, first[:, None].to(logits.device))
        if self.sets is None:
            above = [(row > right).sum() for row, right in zip(logits, gold, strict=True)]
            return torch.stack(above).cpu()
        ranks = torch.zeros(len(fact), dtype=torch.long)
        relations = [self.batch.prompts[i].relation for i in fact.tolist()]
        for relation in set(relations):
            rows = [i for i, each in enumerate(relations) if each == relation]
            candidates = logits[rows][:, self.sets[relation].first_tokens]
            ranks[rows] = (candidates > gold[rows]).sum(1).cpu()
        return ranks


def answer_log_prob(scored: CellLogits, answers: Sequence[Sequence[int]]) -> Float[Tensor, " row"]:
    """Add up the log-probabilities of the right answer's tokens."""
    wanted, lengths = pad_tails(answers)
    logits = scored.logits[:, : wanted.shape[1]]
    # A row at a time stays in a core's cache, which all rows' logits at once do not.
    total = torch.stack([row.logsumexp(-1) for row in logits])
    each = logits.gather(-1, wanted[..., None].to(logits.device))[..., 0] - total
    inside = torch.arange(wanted.shape[1])[None] < lengths[:, None]
    return torch.where(inside, each.cpu(), 0.0).sum(1)


def edited_mask(cell: Edits, batch: PromptBatch) -> Bool[Tensor, " fact"]:
    """Tell which facts a cell edits: those that it is meant for, with all that it is to edit in them.

    A cell without interventions is the plain pass, made of every fact.
    """
    items = interventions_of(cell)
    whole, some = torch.ones(len(batch), dtype=torch.bool), torch.full((len(batch),), not items)
    for item in items:
        here = edits(item, batch).any(1)
        whole &= here | ~facts_mask(item, batch)
        some |= here
    return whole & some
