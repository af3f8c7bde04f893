"""Answer scores: what a model makes of every possible answer of a relation, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor

from finetune.data.prompts import prompt_names
from finetune.evaluation.answer_budget import LEAD_TOKENS, answer_budget
from finetune.evaluation.batching import TokenBudget, pad_id, require_embedded, rows_within
from finetune.evaluation.decoding import complete_cached, run_tight_rows_alone
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.prefixes import PrefixMemo, front_of_all
from finetune.evaluation.prompt_cache import log_prob_behind, run_prompts
from finetune.evaluation.unembedding import vocabulary
from interp.measures.context import require_room
from interp.measures.spans import PromptBatch
from interp.verdicts.continuations import UsualContinuations, continuations
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class AnswerScorer:
    """Asks facts plainly, and keeps what a model says and how likely it finds each answer.

    Each prompt is run once: answers are scored and decoded from the keys and values that it leaves.

    ``log_prob`` [fact] is the whole right answer's (nats); ``said`` and ``right`` [fact] are of greedy
    answers; ``tally`` measures how specific answers are to subjects.
    """

    def __init__(self, batch: PromptBatch, golds: AnswerTargets, tokenizer: PreTrainedTokenizerBase) -> None:
        self.batch, self.golds, self.tokenizer = batch, golds, tokenizer
        self.judge = AnswerJudge({name: tuple(some.place) for name, some in golds.sets.items()})
        self.tally = SpecificityAccumulator(golds)
        self.usual = {name: UsualContinuations() for name in golds.sets}
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
            model: the hooked model, which nothing intervenes on.
            batch_tokens: bound on the keys of one forward pass.
            more: is told how many more facts are done.
        """
        plain, prompts = cast("PreTrainedModel", model.original_model), self.batch.prompts
        rows = self.batch.token_rows()
        require_embedded(plain, self.tokenizer, rows, prompt_names(prompts))
        tails, longest = self.golds.tails, answer_budget(self.tokenizer, prompts)
        limit = require_room(model, self.batch, tails.clamp_min(1))
        # A row that has no room for its neighbours' tails goes alone.
        width = max(longest, int(tails.max()))
        budget, most = TokenBudget(tokens=batch_tokens), rows_within(vocabulary(plain))
        memo = PrefixMemo()
        front = front_of_all(plain, rows, max(width, longest + LEAD_TOKENS), memo)
        plain.eval()
        sample, references, others = self.golds.ordered
        for part in (sample, references, others):
            facts = part.tolist()

            def work(chunk: list[int], facts: list[int] = facts) -> None:
                some = [facts[i] for i in chunk]
                shared, asked = front(some), [rows[i] for i in some]
                self._take(plain, some, asked, longest + LEAD_TOKENS, limit, shared, memo)
                more(len(some))

            widths = [len(rows[i]) + width for i in facts]
            run_tight_rows_alone(widths, limit, work, budget, most)
            if part is not sample:
                self.tally.finish()

    def _take(
        self,
        model: PreTrainedModel,
        facts: Sequence[int],
        rows: Sequence[Sequence[int]],
        room: int,
        limit: int | None,
        front: int,
        memo: PrefixMemo,
    ) -> None:
        """Score and ask some facts; nothing is kept of them before all is there, should memory run out."""
        fact = torch.tensor(facts)
        pad = pad_id(self.tokenizer, model)
        cache, logits = run_prompts(model, rows, pad, front=front, memo=memo)
        first = logits.float().log_softmax(-1)
        del logits
        log_prob = log_prob_behind(cache, first, [self.golds.tokens[i] for i in facts])[:, 0]
        told = []
        for relation, here in self.golds.by_relation(fact):
            answers, said = self.golds.sets[relation], first[here.to(first.device)]
            into = UsualContinuations() if self.golds.sample[facts[0]] else None
            own, usual = self.golds.place[fact[here]], self.usual[relation]
            after = continuations(cache, here, answers, said, own, usual, into=into)
            told.append((relation, fact[here], answers.log_probs(said, after).cpu(), into))
        del first
        lines = complete_cached(cache, self.tokenizer, room=room, limit=limit)
        self.log_prob[fact] = log_prob
        for relation, some, log_probs, into in told:
            self.tally.add(relation, some, log_probs)
            if into is not None:
                self.usual[relation].merge(into)
        for i, line in zip(facts, lines, strict=True):
            self.said[i], self.right[i] = line, float(self.judge.is_right(self.batch.prompts[i], line))
