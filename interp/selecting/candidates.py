"""What candidate facts are scored with: the base, opened once, their wordings, and what was found already.

Facts are worded, tokenised and scored a slab at a time, so that beside the facts and one number a score and
fact nothing grows with how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from finetune.batching import BATCH_TOKENS, Budget
from finetune.facts import FactSet, InputError
from finetune.formats import PromptFormat, asked, fitting
from finetune.phrasebooks import phrasebook
from finetune.progress import task

if TYPE_CHECKING:
    from numpy import ndarray
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from finetune.prompts import Phrasebook, Prompt

SLAB = 2048  # facts that are worded and tokenised at a time
POOL = 64  # facts of a relation from which solved examples are drawn
Dtype = Literal["float32", "bfloat16"]


@dataclass(kw_only=True)
class Candidates:
    """Facts that might be trained on, and the base that would be.

    Attributes:
        facts: the candidates.
        base: a directory or hub id of the base model.
        book: how relations are worded; from the facts without it.
        style: how fine-tuning will ask.
        subjects_known: whether the facts say what their question is about; where they do not, a fact's
            subject is its whole question, and scores that need to know do without them.
        reference: facts that the base should go on to know, for gradients to be compared with; candidates
            that it answers right without them.
        seed: decides draws: solved examples, ties, what is random.
        batch_tokens: bound on the tokens of one forward pass.
        dtype: what the base is loaded in.
    """

    facts: FactSet
    base: str
    book: Phrasebook | None = None
    style: PromptFormat = field(default_factory=PromptFormat)
    subjects_known: bool = True
    reference: FactSet | None = None
    seed: int = 0
    batch_tokens: int = BATCH_TOKENS
    dtype: Dtype = "float32"
    _found: dict[str, ndarray] = field(default_factory=dict, init=False, repr=False)
    _plain: PreTrainedModel | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.facts):
            raise InputError(f"{self.facts.name}: holds no fact to choose from")
        self.book = phrasebook(self.facts) if self.book is None else self.book
        self.budget = Budget(tokens=self.batch_tokens)
        self._examples = self._pool()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's tokenizer."""
        from finetune.models import load_tokenizer

        return load_tokenizer(self.base)

    @cached_property
    def context(self) -> int:
        """How many tokens the base reads."""
        from finetune.models import context_of

        return context_of(self.base)

    def plain(self) -> PreTrainedModel:
        """Open the base as Hugging Face loads it, or return it if it is open."""
        if self._plain is None:
            import torch

            from finetune.models import load_weights

            where = "cuda" if torch.cuda.is_available() else "cpu"
            self._plain = load_weights(self.base, dtype=getattr(torch, self.dtype)).to(where).eval()
        return self._plain

    @contextmanager
    def hooked(self) -> Iterator[tuple[TransformerBridge, PreTrainedTokenizerBase]]:
        """Open the base as a hooked model; the plain one is let go, so that one copy is in memory."""
        from interp.checkpoints import load_pair

        self._plain = None
        pair = load_pair(self.base, dtype=self.dtype)
        with pair.base() as model:
            yield model, pair.tokenizer

    def remembered(self, name: str, work: Callable[[], ndarray]) -> ndarray:
        """Do a piece of work once, however many scores rest on it."""
        if name not in self._found:
            self._found[name] = work()
        return self._found[name]

    def by_slab(self, doing: str, work: Callable[[FactSet], ndarray]) -> ndarray:
        """Do ``work`` on a slab of facts at a time and put together what it returns: one row a fact."""
        parts = []
        with task(doing, total=len(self.facts)) as advance:
            for start in range(0, len(self.facts), SLAB):
                parts.append(work(self.facts[start : start + SLAB]))
                advance(start + len(parts[-1]))
        return np.concatenate(parts)

    def asked(self, facts: FactSet, *, shots: int = 0, seed: int = 0) -> list[Prompt | None]:
        """Ask facts as fine-tuning will, with up to so many solved examples in front; None: it does not fit.

        Where the base's context is too short for all the examples there are fewer.
        """
        made: dict[str, Prompt] = {}
        left = facts
        for count in range(shots, -1, -1):
            style = replace(self.style, shots=count)
            prompts = asked(
                left,
                self.book or {},
                style,
                tokenizer=self.tokenizer,
                examples=self._examples,
                seed=self.seed + seed,
            )
            fit, aside = fitting(self.tokenizer, prompts, self.context)
            made |= {prompt.fact_id: prompt for prompt in fit}
            if not aside:
                break
            left = left.subset([i for i, fact in enumerate(left) if fact.id not in made])
        return [made.get(fact.id) for fact in facts]

    def _pool(self) -> FactSet:
        """Draw the facts that solved examples are taken from: so many of every relation."""
        order = np.random.default_rng([self.seed, 50]).permutation(len(self.facts)).tolist()
        taken: dict[str, list[int]] = {}
        for i in order:
            some = taken.setdefault(self.facts[i].relation, [])
            if len(some) < POOL:
                some.append(i)
        return self.facts.subset(sorted(i for some in taken.values() for i in some))
