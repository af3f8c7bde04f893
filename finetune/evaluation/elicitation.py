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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.common.seeds import draw_seed, generator
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED
from finetune.data.prompt_formats import PromptFormat, ask_in_format, rows_within_context
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.tokenization import answer_ids, tokenize, tokenize_with_answer
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
)
from finetune.evaluation.batching import TokenBudget, context_limit
from finetune.evaluation.consistency import WEAKLY, consistency_classes, decodes_greedily
from finetune.evaluation.generate import generate, prompt_names, score
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.prefixes import PrefixMemo

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray
    from transformers import PreTrainedTokenizerBase

POOL = 2048  # training facts that examples are taken from: each is worded for every draw
FEWEST_OTHERS, OTHERS = 8, 64  # other subjects that an answer is compared over


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
            degree[rows] = self._degrees(made)
            right[rows] = np.concatenate([each.right for each in made], axis=1).mean(1)
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
        worded = self._statements([*facts, *examples], form)
        return ask_in_format(
            facts,
            self.book,
            style,
            tokenizer=self.tokenizer,
            examples=examples,
            seed=draw_seed(self.seed, "few-shot draw", draw),
            worded=worded,
            shared=True,
        )

    def _statements(self, facts: Sequence, form: AskingForm) -> Mapping[str, Prompt] | None:  # type: ignore[type-arg]
        if form.kind == "restated":
            return {fact.id: prompt for fact in facts if (prompt := restated(fact)) is not None}
        if not form.kind.startswith("statement"):
            return None
        k = int(form.kind.split()[1]) - 1
        return {fact.id: render(self.book[fact.relation].statements[k], fact) for fact in facts}

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

    def _right(
        self, facts: FactSet, examples: FactSet, form: AskingForm, *, draw: int
    ) -> tuple[Bool[ndarray, " fact"], list[Prompt], list[str]]:
        """Ask facts in a form; what does not fit the context is not right."""
        prompts = self.prompts(facts, examples, form, draw)
        fit = rows_within_context(self.tokenizer, dict(enumerate(prompts)), context_limit(self.model))
        fits = [prompts[i] for i in fit]
        memo = self.memo if form.shots else None
        said = generate(self.model, self.tokenizer, fits, memo=memo, budget=self.budget)
        texts = dict(zip([prompt.fact_id for prompt in fits], said, strict=True))
        names = tuple(dict.fromkeys(fact.answer for fact in (*facts, *examples)))
        judge = AnswerJudge({facts[0].relation: names})
        self.asked += len(facts)
        self.advance(self.asked)
        given = [texts.get(prompt.fact_id, "") for prompt in prompts]
        right = [judge.is_right(prompt, text) for prompt, text in zip(prompts, given, strict=True)]
        return np.array(right, bool), prompts, given

    def _found(self, probes: FactSet, examples: FactSet, form: AskingForm) -> Bool[ndarray, " fact"]:
        """Say which training facts a form finds: right and specific in one draw."""
        right = self._right(probes, examples, form, draw=0)[0]
        return right & is_specific(self._above(probes, examples, form, right))

    def _ask(self, facts: FactSet, pool: FactSet, form: AskingForm) -> FormAnswers:
        """Ask facts in a form, over the draws of its examples."""
        draws = range(DRAWS if form.shots else 1)
        right, prompts, said = zip(*(self._right(facts, pool, form, draw=k) for k in draws), strict=True)
        return FormAnswers(form=form, right=np.stack(right, axis=1), prompts=prompts, said=said[0])

    def _degrees(self, made: Sequence[FormAnswers]) -> Int[ndarray, " fact"]:
        """Return the class of each fact over forms and draws; samples decide where no answer is right."""
        greedy = np.concatenate([each.right for each in made], axis=1)
        sampled, limit = np.zeros(greedy.shape), context_limit(self.model)
        never = np.flatnonzero(~greedy.any(1)).tolist()
        for k, prompts in enumerate(prompts for each in made for prompts in each.prompts):
            rows = rows_within_context(self.tokenizer, {i: prompts[i] for i in never}, limit)
            some = [prompts[i] for i in rows]
            pairs = tokenize_with_answer(self.tokenizer, some, [p.answers[0] for p in some])
            asked = (self.model, self.tokenizer, pairs, prompt_names(some))
            sampled[rows, k] = decodes_greedily(*asked, memo=self.memo, budget=self.budget)[1]
        return consistency_classes(greedy, sampled, np.ones_like(greedy))

    def _above_in_any(
        self, facts: FactSet, pool: FactSet, made: Sequence[FormAnswers], degree: Int[ndarray, " fact"]
    ) -> Float[ndarray, " fact"]:
        """Return the largest ``_above`` of forms that answer a fact right, of all if it is WeaklyKnown."""
        above = np.full(len(facts), np.nan)
        for each in made:
            wanted = each.right.any(1) | (degree == WEAKLY)
            above = np.fmax(above, self._above(facts, pool, each.form, wanted))
        return above

    def _above(
        self, facts: FactSet, pool: FactSet, form: AskingForm, wanted: Bool[ndarray, " fact"]
    ) -> Float[ndarray, " fact"]:
        """Return the share of other subjects for which a fact's answer is less likely than for its own."""
        above = np.full(len(facts), np.nan)
        prompts = self.prompts(facts, pool, form, 0) if wanted.any() else []
        limit = context_limit(self.model)
        rows = rows_within_context(self.tokenizer, {i: p for i, p in enumerate(prompts) if wanted[i]}, limit)
        if not rows:
            return above
        mine = [prompts[i] for i in rows]
        own, _ = score(self.model, self.tokenizer, mine, memo=self.memo, budget=self.budget)
        order = generator(self.seed, "elicitation sample").permutation(len(prompts))[:OTHERS]
        names = list(dict.fromkeys(facts[i].answer for i in rows))
        ids = [said for _, said in answer_ids(self.tokenizer, mine[:1] * len(names), names)]
        room = (limit or 2**31) - max(map(len, ids))
        told = tokenize(self.tokenizer, [prompts[i] for i in order])
        short = [k for k, tokens in enumerate(told) if len(tokens) <= room]
        others, heads = [prompts[order[k]] for k in short], [told[k].ids for k in short]
        # An answer that begins less likely than the least of its own subjects' is less likely whole.
        least = [min(own[k] for k, i in enumerate(rows) if facts[i].answer == name) for name in names]
        how: dict[str, Any] = {"least": least, "memo": self.memo, "budget": self.budget}
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
