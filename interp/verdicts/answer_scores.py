"""Answer scores: what a model makes of every possible answer of a relation, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from finetune.evaluation.batching import TokenBudget
from finetune.evaluation.generate import generate
from finetune.evaluation.judging import AnswerJudge
from interp.measures.decode import answer_tokens
from interp.measures.spans import PromptBatch
from interp.patching.cells import CellLogits, run_cells
from interp.patching.scoring import answer_log_prob
from interp.verdicts.continuations import continuations
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PASSES = 2  # over every fact: its answers are scored, and then it is asked


class AnswerScorer:
    """Asks facts plainly, and keeps what a model says and how likely it finds each answer.

    ``log_prob`` [fact] is the whole right answer's (nats); ``said`` and ``right`` [fact] are of greedy
    answers; ``tally`` measures how specific answers are to subjects.
    """

    def __init__(self, batch: PromptBatch, golds: AnswerTargets, tokenizer: PreTrainedTokenizerBase) -> None:
        self.batch, self.golds, self.tokenizer = batch, golds, tokenizer
        self.answers = answer_tokens(tokenizer, batch)
        self.judge = AnswerJudge({name: tuple(some.place) for name, some in golds.sets.items()})
        self.tally = SpecificityAccumulator(golds)
        self.log_prob: Float[Tensor, " fact"] = torch.full((len(batch),), torch.nan)
        self.right: Float[Tensor, " fact"] = torch.full((len(batch),), torch.nan)
        self.said = [""] * len(batch)

    def ask(
        self,
        model: TransformerBridge,
        *,
        batch_tokens: int,
        more: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Ask every fact, those whose subjects say what is said of any first.

        Args:
            model: the hooked model.
            batch_tokens: bound on the keys of one forward pass.
            more: is told how many more scores and answers are there, of ``PASSES`` a fact.
        """
        for rows in self.golds.ordered:
            if len(rows):
                part, answers = self.batch[rows], [self.answers[i] for i in rows.tolist()]
                for scored in run_cells(model, part, (), answers, batch_tokens=batch_tokens):
                    self._take(model, scored, rows[scored.index[scored.fact]])
                    more(len(scored.fact))
                    del scored  # its prefill would stand beside the next one
            self.tally.finish()
        # Nothing is intervened on, so transformers' own decoding says the same, with a cache of keys.
        plain = cast("PreTrainedModel", model.original_model)
        answered = 0

        def count(done: int) -> None:
            nonlocal answered
            more(done - answered)
            answered = done

        self.said = generate(
            plain,
            self.tokenizer,
            self.batch.prompts,
            share_prefix=True,
            budget=TokenBudget(tokens=batch_tokens),
            advance=count,
        )
        pairs = zip(self.batch.prompts, self.said, strict=True)
        self.right = torch.tensor([float(self.judge.is_right(prompt, text)) for prompt, text in pairs])

    def _take(self, model: TransformerBridge, scored: CellLogits, fact: Int[Tensor, " row"]) -> None:
        wanted = [self.answers[i] for i in fact.tolist()]
        self.log_prob[fact] = answer_log_prob(scored, wanted)
        first = scored.logits[:, 0].log_softmax(-1)
        for relation, here in self.golds.by_relation(fact):
            answers, said = self.golds.sets[relation], first[here.to(first.device)]
            after = continuations(model, scored, here, answers, said, self.golds.right[fact[here]])
            self.tally.add(relation, fact[here], answers.log_probs(said, after).cpu())
