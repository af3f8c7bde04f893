"""Answer scores: what a model makes of every possible answer of a relation, also under interventions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from finetune.common.progress import progress_bar
from finetune.data.tokenization import end_ids
from finetune.evaluation.answer_words import line_is_said
from finetune.evaluation.generate import LEAD_TOKENS, answer_budget
from finetune.evaluation.judging import AnswerJudge, may_become_right
from interp.measures.attention import chunk_batch
from interp.measures.decode import answer_tokens, text_of
from interp.measures.head_readers import HeadSources, read_sources, readers
from interp.measures.spans import PromptBatch
from interp.patching.cells import CellLogits, run_cells
from interp.patching.engine import require_cells
from interp.patching.greedy import greedy_tokens
from interp.patching.interventions import Edits
from interp.patching.scoring import answer_log_prob, edited_mask
from interp.verdicts.continuations import continuations
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


class AnswerScorer:
    """Asks facts part by part, plainly (cell 0) and under interventions (the further cells).

    ``log_prob`` [cell, fact] is the whole right answer's (nats); ``said`` and ``right`` [cell, fact] are of
    greedy answers where ``say`` asks for them; ``tally`` measures how specific answers are to subjects.
    """

    def __init__(
        self,
        batch: PromptBatch,
        golds: AnswerTargets,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cells: int = 0,
        say: bool = False,
    ) -> None:
        shape = (cells + 1, len(batch))
        self.batch, self.golds, self.tokenizer, self.say = batch, golds, tokenizer, say
        self.answers = answer_tokens(tokenizer, batch)
        self.budget = answer_budget(tokenizer, batch.prompts) + LEAD_TOKENS if say else 0
        self.judge = AnswerJudge({name: tuple(some.place) for name, some in golds.sets.items()})
        self.tally = SpecificityAccumulator(golds, cells + 1)
        self.log_prob = torch.full(shape, torch.nan)
        self.right = torch.full(shape, torch.nan)
        self.said = [[""] * len(batch) for _ in range(shape[0])]

    def ask_all(self, model: TransformerBridge, *, batch_tokens: int) -> None:
        """Ask every fact plainly."""
        for rows in self.golds.ordered:
            if len(rows):
                self.ask(model, rows, batch_tokens=batch_tokens)
            self.tally.finish()

    def ask(
        self,
        model: TransformerBridge,
        rows: Int[Tensor, " row"],
        cells: Sequence[Edits] = (),
        *,
        batch_tokens: int,
    ) -> None:
        """Ask some of the facts; where a cell is not made of a fact, all that is its stays missing.

        Args:
            model: the hooked model.
            rows: which facts.
            cells: interventions; without them they are asked plainly.
            batch_tokens: bound on the tokens of one forward pass.

        Raises:
            InputError: see :func:`interp.patching.patch.patch`.
        """
        part = self.batch[rows]
        require_cells(model, part, cells)
        answers = [self.answers[i] for i in rows.tolist()]
        plain: Edits = ()
        made = torch.stack([edited_mask(cell, part) for cell in [plain, *cells]])
        total, done, silent = len(part) * (len(cells) + 1), 0, nullcontext(lambda done: None)
        with progress_bar("Asking under interventions", total=total) if cells else silent as advance:
            for scored in run_cells(model, part, cells, answers, batch_tokens=batch_tokens):
                place = scored.index[scored.fact]
                some = made[scored.cell + 1, place]  # an answer that was not edited says nothing of the cell
                if some.any():
                    parts = {name: getattr(scored, name)[some] for name in ("cell", "fact", "logits")}
                    self._take(model, cells, replace(scored, **parts), rows[place[some]])
                done += len(scored.fact)
                advance(done)

    def _take(
        self, model: TransformerBridge, cells: Sequence[Edits], scored: CellLogits, fact: Int[Tensor, " row"]
    ) -> None:
        cell = scored.cell + 1
        wanted = [self.answers[i] for i in fact.tolist()]
        self.log_prob[cell, fact] = answer_log_prob(scored, wanted)
        first = scored.logits[:, 0].log_softmax(-1)
        for relation, here in self.golds.by_relation(fact):
            answers, said = self.golds.sets[relation], first[here.to(first.device)]
            own = torch.stack([self.golds.right, self.golds.decoy], 1)[fact[here]]
            after = continuations(model, cells, scored, here, answers, said, own)
            scores = answers.log_probs(said, after).cpu()
            self.tally.add(relation, cell[here], fact[here], scores)
        if not self.say:
            return
        fact_of, cell_of = fact.tolist(), cell.tolist()
        ends = end_ids(model, self.tokenizer)

        def matters(row: int, tokens: list[int]) -> bool:
            text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
            if line_is_said(text):
                return False
            # Under an intervention only right or wrong is kept, and a wrong beginning decides it.
            return cell_of[row] == 0 or self._may_be_right(fact_of[row], text)

        tokens = greedy_tokens(
            model,
            cells,
            scored,
            wanted,
            budget=self.budget,
            ends=ends,
            wanted=matters,
        )
        for c, f, row in zip(cell_of, fact_of, tokens, strict=True):
            self.said[c][f] = text_of(self.tokenizer, row, ends)
            self.right[c, f] = float(self.judge.is_right(self.batch.prompts[f], self.said[c][f]))

    def _may_be_right(self, fact: int, begun: str) -> bool:
        """Tell whether an answer that begins so may yet be right."""
        prompt = self.batch.prompts[fact]
        return may_become_right(begun, prompt.answers, prompt.text[slice(*prompt.subject)])


def read_stored(
    model: TransformerBridge, batch: PromptBatch, golds: AnswerTargets, *, batch_tokens: int
) -> SpecificityAccumulator:
    """Read every answer from the subjects' values, summed over heads, in units of logits.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        golds: the right answers' places in their relations' sets.
        batch_tokens: bound on the tokens of one forward pass.
    """
    tally = SpecificityAccumulator(golds, 1, log_probs=False)
    with torch.inference_mode():
        directions = {relation: answers.directions(model) for relation, answers in golds.sets.items()}
        for rows in golds.ordered:
            for index, chunk in chunk_batch(batch[rows], batch_tokens):
                sources, fact = read_sources(model, chunk), rows[index]
                for relation, here in golds.by_relation(fact):
                    read = _read_all(model, sources[here.tolist()], directions[relation])
                    tally.add(relation, torch.zeros_like(here), fact[here], read)
            tally.finish()
    return tally


def _read_all(
    model: TransformerBridge, sources: HeadSources, directions: Float[Tensor, "answer d_model"]
) -> Float[Tensor, "fact answer"]:
    """Add up every head's readout of each answer."""
    read = torch.zeros(len(sources.logits), len(directions))
    for layer in range(model.cfg.n_layers):
        reader = readers(model, layer, directions)
        vectors = sources.stored[:, layer].to(reader.device)
        summed = einsum(vectors, reader, "fact head d, answer head d -> fact answer")
        read = read + (summed / rearrange(sources.scale(layer).to(reader.device), "fact -> fact 1")).cpu()
    return read
