"""Elicitation: what a base model knows, asked in the forms in which it answers best, over draws of examples.

1. Each relation is asked in several forms: its question, its statements and the tokenizer's chat, each with
   0, 2, 4 or 8 solved examples in front. On *training* facts, half of which are the examples, the forms are
   compared; those that find the most facts, specifically, are kept, as long as one more form finds others.
2. The facts in question are asked in the kept forms, under several draws of examples, greedily. A fact is
   HighlyKnown if every answer is right, MaybeKnown if one is, WeaklyKnown if only a sampled answer would be
   right, else Unknown (Gekhman et al. 2024; :mod:`finetune.evaluation.consistency`).
3. A known fact is *specific* if, in a form in which it is answered right, its answer is likelier for this
   subject than for 95% of the relation's other subjects, those with other answers, asked in the same form:
   what is said of any subject is no knowledge.

No fact that is asked is ever an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.common.seeds import draw_seed, generator
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED
from finetune.data.prompt_formats import PromptFormat, ask_in_format, rows_within_context
from finetune.data.prompts import Phrasebook, Prompt, prompt_names
from finetune.data.tokenization import answer_ids, tokenize
from finetune.evaluation.answer_grid import score_grid
from finetune.evaluation.asking_forms import (
    DRAWS,
    PROBES,
    SHOTS,
    AskingForm,
    Elicited,
    FormAnswers,
    FormYield,
    cover,
    is_specific,
    restated,
    split_pool,
    statement_prompts,
)
from finetune.evaluation.batching import TokenBudget, context_limit
from finetune.evaluation.consistency import TEMPERATURE, WEAKLY, consistency_classes
from finetune.evaluation.generate import generate_and_score
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.prefixes import PrefixMemo
from finetune.evaluation.prompt_cache import RanPrompts

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray
    from transformers import PreTrainedTokenizerBase

POOL = 2048  # training facts that examples are taken from: each is worded for every draw
FEWEST_OTHERS, OTHERS = 8, 64  # other subjects that an answer is compared over
_DRAWN = ("right", "sampled")


@dataclass
class Elicitation:
    """Asks a plain model in forms; ``examples`` are training facts, none of which is asked about later.

    Attributes:
        model: the base; None where only its prompts are made.
        tokenizer: its own.
        book: how relations are worded.
        examples: training facts: solved examples, and facts to compare forms on.
        template: what stands around a question.
        seed: of draws.
        budget: how many tokens a forward pass takes.
        advance: is told how many prompts are done.
    """

    model: Any  # a PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    book: Phrasebook
    examples: FactSet
    template: str = ASKED
    seed: int = 0
    budget: TokenBudget = field(default_factory=TokenBudget)
    advance: Callable[[int], None] = lambda done: None
    asked: int = field(default=0, init=False)
    memo: PrefixMemo = field(default_factory=PrefixMemo, init=False)  # its forms' solved examples

    def elicit(self, facts: FactSet) -> Elicited:
        """Choose forms on the training facts and ask ``facts`` in them."""
        n = len(facts)
        degree, right = np.zeros(n, np.int64), np.zeros(n)
        above, said = np.full(n, np.nan), [""] * n
        yields: list[FormYield] = []
        for relation in facts.relations:
            rows = [i for i, fact in enumerate(facts) if fact.relation == relation]
            some, pool = facts.subset(rows), self.pool(relation, facts.subset(rows))
            found = self.compare(relation, pool)
            yields += found
            kept = [each.form for each in found if each.kept]
            made = [self._ask(some, pool, form) for form in kept]
            greedy, sampled = (np.concatenate([getattr(each, of) for each in made], axis=1) for of in _DRAWN)
            degree[rows] = consistency_classes(greedy, sampled, np.ones_like(greedy))
            right[rows] = greedy.mean(1)
            for i, text in zip(rows, made[0].said, strict=True):
                said[i] = text
            above[rows] = self._above_in_any(some, pool, made, degree[rows])
        return Elicited(degree=degree, right=right, above=above, said=tuple(said), forms=tuple(yields))

    def forms(self, relation: str, pool: int) -> list[AskingForm]:
        """List the forms in which a relation can be asked, with as many examples as there are facts for."""
        restates = any(restated(fact) for fact in self.examples if fact.relation == relation)
        kinds = [
            "question",
            *(["restated"] if restates else []),
            *(f"statement {k + 1}" for k in range(len(self.book[relation].statements))),
        ]
        kinds += ["chat"] if self.tokenizer.chat_template else []
        return [AskingForm(kind, shots) for shots in SHOTS if shots <= pool // 2 for kind in kinds]

    def compare(self, relation: str, pool: FactSet) -> list[FormYield]:
        """Say how many of a relation's training facts each form finds, and which are kept, best first."""
        probes, examples = split_pool(pool)
        probes = probes[:PROBES]
        forms = self.forms(relation, len(pool))
        if not len(probes):
            kept = [form for form in forms if form.kind in ("question", "statement 1", "chat")]
            return [FormYield(relation=relation, form=form, found=0, n=0, kept=True) for form in kept]
        found = np.stack([self._found(probes, examples, form) for form in forms])
        best = cover(found)
        order = [*best, *(i for i in np.argsort(-found.sum(1), kind="stable").tolist() if i not in best)]
        return [
            FormYield(
                relation=relation, form=forms[i], found=int(found[i].sum()), n=len(probes), kept=i in best
            )
            for i in order
        ]

    def prompts(self, facts: FactSet, examples: FactSet, form: AskingForm, draw: int) -> list[Prompt]:
        """Word facts in a form, behind the examples of a draw.

        Args:
            facts: what to ask.
            examples: the facts that solved examples are taken from.
            form: how to ask.
            draw: which draw of the examples, from 0.
        """
        chat = form.kind == "chat"
        style = PromptFormat(template=self.template, shots=form.shots, chat=chat)
        return ask_in_format(
            facts,
            self.book,
            style,
            tokenizer=self.tokenizer,
            examples=examples,
            seed=draw_seed(self.seed, "few-shot draw", draw),
            worded=statement_prompts([*facts, *examples], self.book, form),
            shared=True,
        )

    def pool(self, relation: str, asked: FactSet) -> FactSet:
        """Return some training facts of a relation, none of an asked subject, in an order of their own."""
        subjects = {fact.subject.casefold() for fact in asked}
        rows = [
            i
            for i, fact in enumerate(self.examples)
            if fact.relation == relation and fact.subject.casefold() not in subjects
        ]
        order = generator(self.seed, "elicitation order").permutation(len(rows))
        return self.examples.subset([rows[i] for i in order[:POOL]])

    def _answers(
        self,
        facts: FactSet,
        examples: FactSet,
        form: AskingForm,
        *,
        draws: Sequence[int],
        ran: RanPrompts | None = None,
    ) -> FormAnswers:
        """Ask facts in a form behind the examples of some draws, and score their answers in the same pass."""
        names = tuple(dict.fromkeys(fact.answer for fact in (*facts, *examples)))
        judge = AnswerJudge({facts[0].relation: names})
        right = np.zeros((len(facts), len(draws)), bool)
        log_prob, said = np.full((len(facts), len(draws), 2), np.nan), [[""] * len(facts) for _ in draws]
        told: dict[str, Any] = {"memo": self.memo if form.shots else None, "budget": self.budget, "ran": ran}
        for k, draw in enumerate(draws):
            prompts = self.prompts(facts, examples, form, draw)
            # What does not fit the context is not right.
            fit = rows_within_context(self.tokenizer, dict(enumerate(prompts)), context_limit(self.model))
            some = [prompts[i] for i in fit]
            texts, log_prob[fit, k] = generate_and_score(
                self.model, self.tokenizer, some, temperatures=(1.0, TEMPERATURE), **told
            )
            for i, text in zip(fit, texts, strict=True):
                said[k][i], right[i, k] = text, judge.is_right(prompts[i], text)
            self.asked += len(facts)
            self.advance(self.asked)
        own, sampled = log_prob[:, 0, 0], np.nan_to_num(np.exp(log_prob[..., 1]))
        return FormAnswers(form=form, right=right, said=said[0], own=own, sampled=sampled)

    def _found(self, probes: FactSet, examples: FactSet, form: AskingForm) -> Bool[ndarray, " fact"]:
        """Say which training facts a form finds: right and specific in one draw."""
        ran = RanPrompts()
        made = self._answers(probes, examples, form, draws=(0,), ran=ran)
        right = made.right[:, 0]
        return right & is_specific(self._above(probes, examples, made, right, ran))

    def _ask(self, facts: FactSet, pool: FactSet, form: AskingForm) -> FormAnswers:
        """Ask facts in a form, over the draws of its examples."""
        return self._answers(facts, pool, form, draws=range(DRAWS if form.shots else 1))

    def _above_in_any(
        self, facts: FactSet, pool: FactSet, made: Sequence[FormAnswers], degree: Int[ndarray, " fact"]
    ) -> Float[ndarray, " fact"]:
        """Return the largest ``_above`` of forms that answer a fact right, of all if it is WeaklyKnown."""
        above = np.full(len(facts), np.nan)
        for each in made:
            wanted = each.right.any(1) | (degree == WEAKLY)
            above = np.fmax(above, self._above(facts, pool, each, wanted))
        return above

    def _above(
        self,
        facts: FactSet,
        pool: FactSet,
        made: FormAnswers,
        wanted: Bool[ndarray, " fact"],
        ran: RanPrompts | None = None,
    ) -> Float[ndarray, " fact"]:
        """Return the share of other subjects for which a fact's answer is less likely than for its own."""
        above, limit = np.full(len(facts), np.nan), context_limit(self.model)
        rows = np.flatnonzero(wanted & ~np.isnan(made.own)).tolist()
        if not rows:
            return above
        prompts, own = self.prompts(facts, pool, made.form, 0), made.own[rows]
        mine = [prompts[i] for i in rows]
        order = generator(self.seed, "elicitation sample").permutation(len(prompts))[:OTHERS]
        names = list(dict.fromkeys(facts[i].answer for i in rows))
        ids = [said for _, said in answer_ids(self.tokenizer, mine[:1] * len(names), names)]
        room = (limit or 2**31) - max(map(len, ids))
        told = tokenize(self.tokenizer, [prompts[i] for i in order])
        short = [k for k, tokens in enumerate(told) if len(tokens) <= room]
        others, heads = [prompts[order[k]] for k in short], [told[k].ids for k in short]
        # An answer that begins less likely than the least of its own subjects' is less likely whole.
        least = [min(own[k] for k, i in enumerate(rows) if facts[i].answer == name) for name in names]
        how: dict[str, Any] = {"least": least, "memo": self.memo, "budget": self.budget, "ran": ran}
        grid = score_grid(self.model, heads, ids, prompt_names(others), **how)
        for value, i in zip(own.tolist(), rows, strict=True):
            accepted, subject = set(facts[i].answers), prompts[i].text[slice(*prompts[i].subject)]
            apart = [
                k
                for k, p in enumerate(others)
                if not accepted & set(p.answers) and p.text[slice(*p.subject)] != subject
            ]
            if len(apart) >= FEWEST_OTHERS:
                above[i] = float((grid[apart, names.index(facts[i].answer)] < value).mean())
        return above
