"""What a model makes of every possible answer of a fact's relation, plainly and under interventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from finetune.evaluate import answer_budget, matches
from interp.attention import stream
from interp.cells import Scored, run_cells
from interp.continuing import greedy_tokens
from interp.decode import answer_tokens, text_of
from interp.interventions import Cell
from interp.patching import require_cells
from interp.readout import read_sources, readers
from interp.scoring import answer_log_prob
from interp.spans import PromptBatch
from interp.specificity import Golds, Tally

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


class Asker:
    """Asks facts part by part, plainly (cell 0) and under interventions (the further cells).

    ``log_prob`` [cell, fact] is the whole right answer's (nats); ``said`` and ``right`` [cell, fact] are of
    greedy answers where ``say`` asks for them; ``tally`` measures how specific first tokens are to subjects.
    """

    def __init__(
        self,
        batch: PromptBatch,
        golds: Golds,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cells: int = 0,
        say: bool = False,
    ) -> None:
        shape = (cells + 1, len(batch))
        self.batch, self.golds, self.tokenizer, self.say = batch, golds, tokenizer, say
        self.answers = answer_tokens(tokenizer, batch)
        self.budget = answer_budget(tokenizer, batch.prompts) if say else 0
        self.tally = Tally(golds, cells + 1)
        self.log_prob = torch.full(shape, torch.nan)
        self.right = torch.full(shape, torch.nan)
        self.said = [[""] * len(batch) for _ in range(shape[0])]

    def ask(
        self,
        model: TransformerBridge,
        rows: Int[Tensor, " row"],
        cells: Sequence[Cell] = (),
        *,
        batch_tokens: int,
    ) -> None:
        """Ask some of the facts.

        Raises:
            InputError: see :func:`interp.patching.patch`.
        """
        part = self.batch[rows]
        require_cells(model, part, cells)
        answers = [self.answers[i] for i in rows.tolist()]
        for scored in run_cells(model, part, cells, answers, batch_tokens=batch_tokens):
            self._take(model, cells, scored, rows[scored.index[scored.fact]])

    def _take(
        self, model: TransformerBridge, cells: Sequence[Cell], scored: Scored, fact: Int[Tensor, " row"]
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
        eos = self.tokenizer.eos_token_id
        tokens = greedy_tokens(model, cells, scored, wanted, budget=self.budget, eos=eos)
        for c, f, row in zip(cell.tolist(), fact.tolist(), tokens, strict=True):
            self.said[c][f] = text_of(self.tokenizer, row)
            self.right[c, f] = float(matches(self.said[c][f], self.batch.prompts[f].answers))


def read_stored(model: TransformerBridge, batch: PromptBatch, golds: Golds, *, batch_tokens: int) -> Tally:
    """Read every answer from the subjects' values, summed over heads, in units of logits."""
    tally = Tally(golds, 1, log_probs=False)
    with torch.inference_mode():
        directions = {relation: answers.directions(model) for relation, answers in golds.sets.items()}
        for index, chunk in stream(batch, batch_tokens):
            sources = read_sources(model, chunk)
            for relation, here in golds.by_relation(index):
                targets, part = directions[relation], sources[here.tolist()]
                read: Float[Tensor, "fact answer"] = torch.zeros(len(here), len(targets))
                for layer in range(model.cfg.n_layers):
                    reader = readers(model, layer, targets)
                    vectors = part.stored[:, layer].to(reader.device)
                    summed = einsum(vectors, reader, "fact head d, answer head d -> fact answer")
                    scale = rearrange(part.scale(layer).to(reader.device), "fact -> fact 1")
                    read = read + (summed / scale).cpu()
                tally.add(relation, torch.zeros_like(here), index[here], read)
    return tally
