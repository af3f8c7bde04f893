"""Candidate facts and the base that is asked about them: opened once, with wordings and results.

Facts are worded, tokenised and scored a chunk at a time, so that beside the facts and one number a score and
fact nothing grows with how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from finetune.common.errors import InputError, LeftOut
from finetune.common.progress import progress_bar
from finetune.common.seeds import draw_seed, generator
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import PromptFormat, ask_in_format, prompts_within_context
from finetune.data.records.fact import Fact
from finetune.evaluation.batching import BATCH_TOKENS, TokenBudget

if TYPE_CHECKING:
    from numpy import ndarray
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from finetune.checkpoints.loading import Source
    from finetune.data.prompts import Phrasebook, Prompt

CHUNK, FEWEST_AT_A_TIME = 2048, 64  # facts that are worded and tokenised at a time: at most, at least
SHOTS = 2  # solved examples in front
POOL = 64  # facts of a relation from which solved examples are drawn
Dtype = Literal["float32", "bfloat16"]


@dataclass(kw_only=True)
class Candidates:
    """Facts that might be trained on, and the base that would be, as it is asked about them.

    Attributes:
        facts: the candidates.
        base: a directory or hub id of the base model, or an adapter's directory.
        book: how relations are worded; from the facts without it.
        style: how fine-tuning will ask.
        prompts: one a fact, to be asked as they are instead of in a template.
        shots: how many solved examples few-shot scores show, at most, whatever ``style`` says.
        subjects_known: whether the facts say what their question is about; where they do not, a fact's
            subject is its whole question, and scores that need to know do without them.
        reference: facts that the base should go on to know, for gradients to be compared with; candidates
            that it answers right without them.
        seed: decides draws: solved examples, ties, what is random.
        batch_tokens: bound on the tokens of one forward pass.
        dtype: what the base is loaded in.
    """

    facts: FactSet
    base: Source
    book: Phrasebook | None = None
    style: PromptFormat = field(default_factory=PromptFormat)
    prompts: Sequence[Prompt] | None = None
    shots: int = SHOTS
    subjects_known: bool = True
    reference: FactSet | None = None
    seed: int = 0
    batch_tokens: int = BATCH_TOKENS
    dtype: Dtype = "float32"
    _found: dict[str, ndarray] = field(default_factory=dict, init=False, repr=False)
    _model: PreTrainedModel | None = field(default=None, init=False, repr=False)
    _left_out: dict[str, LeftOut] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.facts):
            raise InputError(f"{self.facts.name}: holds no fact to choose from")
        if self.shots < 1:
            raise InputError(f"shots = {self.shots}: give at least 1 example, or choose a score without any")
        self.book = phrasebook(self.facts) if self.book is None else self.book
        self.budget = TokenBudget(tokens=self.batch_tokens)
        self._own_prompts = self._prompts_by_fact()

    def subset(self, indices: Sequence[int]) -> Candidates:
        """Keep some of the facts, asked of the same model."""
        prompts = None if self.prompts is None else [self.prompts[i] for i in indices]
        some = replace(self, facts=self.facts.subset(indices), prompts=prompts)
        some._model = self.open_model()
        return some

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Facts that could not be asked in some way that was tried, each with its first reason."""
        return tuple(self._left_out.values())

    def leave_out(self, left_out: Iterable[LeftOut]) -> None:
        """Note facts that cannot be asked."""
        for item in left_out:
            self._left_out.setdefault(item.where, item)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's tokenizer."""
        from finetune.checkpoints.loading import tokenizer_for

        return tokenizer_for(self.base)

    @cached_property
    def context(self) -> int:
        """How many tokens the base reads."""
        from finetune.checkpoints.loading import context_of

        return context_of(self.base)

    def open_model(self) -> PreTrainedModel:
        """Open the base as Hugging Face loads it, or return it if it is open."""
        if self._model is None:
            import torch

            from finetune.checkpoints.loading import load_model

            self._model, _ = load_model(self.base, dtype=getattr(torch, self.dtype))
        return self._model

    @contextmanager
    def open_bridge(self) -> Iterator[tuple[TransformerBridge, PreTrainedTokenizerBase]]:
        """Open the base as a hooked model; the plain one is let go, so that one copy is in memory."""
        from interp.models.load_pair import load_pair

        self._model = None
        pair = load_pair(self.base, dtype=self.dtype)
        with pair.finetuned() as model:  # an adapter's own side; of a whole model both are the same
            yield model, pair.tokenizer

    def cached(self, name: str, work: Callable[[], ndarray]) -> ndarray:
        """Do a piece of work once, however many scores rest on it."""
        if name not in self._found:
            self._found[name] = work()
        return self._found[name]

    def in_chunks(self, doing: str, work: Callable[[FactSet], ndarray]) -> ndarray:
        """Do ``work`` on a chunk of facts at a time and put together what it returns: one row a fact."""
        parts, done = [], 0
        size = min(CHUNK, max(FEWEST_AT_A_TIME, len(self.facts) // 10))  # so that it is seen to move
        with progress_bar(doing, total=len(self.facts)) as advance:
            for start in range(0, len(self.facts), size):
                parts.append(work(self.facts[start : start + size]))
                done += len(parts[-1])
                advance(done)
        return np.concatenate(parts)

    def prompts_for(self, facts: FactSet, *, shots: int = 0, draw: int | None = None) -> list[Prompt | None]:
        """Ask facts as fine-tuning will, with up to so many solved examples in front; None: it cannot be.

        Where the base's context is too short for all the examples there are fewer. With ``shots`` there is
        one at least, for an answer's probability with an example in front says nothing of one without.
        """
        made: dict[str, Prompt] = {}
        aside: tuple[LeftOut, ...] = ()
        left = self._with_others(facts) if shots else facts
        for count in range(shots, min(shots, 1) - 1, -1):
            prompts = ask_in_format(
                left,
                self.book or {},
                replace(self.style, shots=count),
                tokenizer=self.tokenizer,
                examples=self._examples if shots else None,
                seed=self.seed if draw is None else draw_seed(self.seed, "few-shot draw", draw),
                worded=self._own_prompts,
            )
            fit, aside = prompts_within_context(self.tokenizer, prompts, self.context)
            made |= {prompt.fact_id: prompt for prompt in fit}
            if not aside:
                break
            left = left.subset([i for i, fact in enumerate(left) if fact.id not in made])
        self.leave_out(aside)
        return [made.get(fact.id) for fact in facts]

    def _with_others(self, facts: FactSet) -> FactSet:
        """Keep the facts that have a solved example: one of their relation, of another subject."""
        shown: dict[str, set[str]] = {}
        for fact in self._examples:
            shown.setdefault(fact.relation, set()).add(fact.subject.casefold())

        def alone(fact: Fact) -> bool:
            return not shown.get(fact.relation, set()) - {fact.subject.casefold()}

        reason = "no example can be shown: its relation has no other subject"
        self.leave_out(LeftOut(where=fact.id, reason=reason) for fact in facts if alone(fact))
        return facts.subset([i for i, fact in enumerate(facts) if not alone(fact)])

    def _prompts_by_fact(self) -> dict[str, Prompt] | None:
        """Return the given prompts by fact id, each with its fact's own id and relation."""
        if self.prompts is None:
            return None
        if len(self.prompts) != len(self.facts):
            raise InputError(f"{len(self.prompts)} prompts for {len(self.facts)} facts; give one each")
        both = zip(self.facts, self.prompts, strict=True)
        return {fact.id: replace(prompt, fact_id=fact.id, relation=fact.relation) for fact, prompt in both}

    @cached_property
    def _examples(self) -> FactSet:
        """Draw the facts that solved examples are taken from: so many of every relation, if they fit."""
        order = generator(self.seed, "candidate examples").permutation(len(self.facts)).tolist()
        taken: dict[str, list[int]] = {}
        for i in order:
            some = taken.setdefault(self.facts[i].relation, [])
            if len(some) < POOL:
                some.append(i)
        pool = self.facts.subset(sorted(i for some in taken.values() for i in some))
        return pool.subset([i for i, prompt in enumerate(self.prompts_for(pool)) if prompt is not None])
