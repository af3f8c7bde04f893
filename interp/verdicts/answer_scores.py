"""Answer scores: what a model makes of every possible answer of a relation, also under interventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from finetune.data.tokenization import end_ids
from finetune.evaluation.generate import answer_budget
from finetune.evaluation.judging import matches, normalise
from interp.measures.attention import chunk_batch
from interp.measures.decode import answer_tokens, text_of
from interp.measures.head_readers import HeadSources, read_sources, readers
from interp.measures.spans import PromptBatch
from interp.patching.cells import CellLogits, run_cells
from interp.patching.engine import require_cells
from interp.patching.greedy import greedy_tokens
from interp.patching.interventions import Edits
from interp.patching.scoring import answer_log_prob
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


class AnswerScorer:
    """Asks facts part by part, plainly (cell 0) and under interventions (the further cells).

    ``log_prob`` [cell, fact] is the whole right answer's (nats); ``said`` and ``right`` [cell, fact] are of
    greedy answers where ``say`` asks for them; ``tally`` measures how specific first tokens are to subjects.
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
        self.budget = answer_budget(tokenizer, batch.prompts) if say else 0
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
        """Ask some of the facts.

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
        for scored in run_cells(model, part, cells, answers, batch_tokens=batch_tokens):
            self._take(model, cells, scored, rows[scored.index[scored.fact]])

    def _take(
        self, model: TransformerBridge, cells: Sequence[Edits], scored: CellLogits, fact: Int[Tensor, " row"]
    ) -> None:
        cell = scored.cell + 1
        wanted = [self.answers[i] for i in fact.tolist()]
        self.log_prob[cell, fact] = answer_log_prob(scored, wanted)
        first = scored.logits[:, 0].log_softmax(-1)
        for relation, here in self.golds.by_relation(fact):
            columns = self.golds.sets[relation].first_tokens
            scores = first[here.to(first.device)][:, columns].cpu()
            self.tally.add(relation, cell[here], fact[here], scores)
        if not self.say:
            return
        fact_of, cell_of = fact.tolist(), cell.tolist()
        ends = end_ids(model, self.tokenizer)

        def matters(row: int, tokens: list[int]) -> bool:
            # Under an intervention only right or wrong is kept, and a wrong beginning decides it.
            return cell_of[row] == 0 or self._may_be_right(fact_of[row], tokens, ends)

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
            self.right[c, f] = float(matches(self.said[c][f], self.batch.prompts[f].answers))

    def _may_be_right(self, fact: int, tokens: list[int], ends: frozenset[int]) -> bool:
        """Tell whether an accepted answer begins as these tokens do."""
        begun = normalise(text_of(self.tokenizer, tokens, ends))
        accepted = [normalise(answer) for answer in self.batch.prompts[fact].answers]
        # An article is not yet a beginning: exact match leaves it out.
        return begun in ("", "the", "a", "an") or any(answer.startswith(begun) for answer in accepted)


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
