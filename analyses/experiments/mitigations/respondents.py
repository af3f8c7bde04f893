"""Cured models as something to ask: plain ones, and one whose attention is scaled whenever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from analyses.experiments.mitigations.case import MitigationCase
from finetune.checkpoints.loading import load_model
from finetune.data.prompts import Prompt
from finetune.evaluation.generate import generate, score
from finetune.evaluation.judging import AnswerJudge
from interp.measures.spans import encode
from interp.models.pair import CheckpointPair
from interp.patching.interventions import Edits
from interp.patching.patch import patch
from interp.patching.scoring import PatchResult


class Respondent(Protocol):
    """A cured model as something to ask."""

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """Say of greedy answers whether they are right, 0 or 1."""

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """Return log p of whole canonical answers, nats."""


@dataclass(frozen=True)
class PlainRespondent:
    """A model that needs no help at inference."""

    model: Any
    tokenizer: Any
    judge: AnswerJudge

    @classmethod
    def of(cls, case: MitigationCase, path: Path) -> PlainRespondent:
        """Load a checkpoint or an adapter of the case's base."""
        return cls(*load_model(path, base=case.setup.base), case.judge)

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Respondent`."""
        said = generate(self.model, self.tokenizer, prompts)
        return np.array([self.judge.is_right(p, text) for text, p in zip(said, prompts, strict=True)], float)

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Respondent`."""
        return score(self.model, self.tokenizer, prompts)[0]


@dataclass(frozen=True)
class ScaledRespondent:
    """A hooked model whose attention is scaled whenever it is asked.

    A prompt without a token to scale is not treated: its answer is missing (NaN), for cure and placebo alike.
    """

    pair: CheckpointPair
    cell: Edits
    batch_tokens: int
    judge: AnswerJudge

    def right(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Respondent`; a prompt that cannot be aligned counts as wrong."""
        result, asked = self._under(prompts, None)
        made = (~result.log_prob[0].isnan()).tolist()
        said = zip(asked, result.said[0], made, strict=True)
        found = {prompt: self.judge.is_right(prompt, text) if here else np.nan for prompt, text, here in said}
        return np.array([found.get(prompt, False) for prompt in prompts], float)

    def log_prob(self, prompts: Sequence[Prompt]) -> Float[ndarray, " prompt"]:
        """See :class:`Respondent`."""
        result, asked = self._under(prompts, 0)
        found = dict(zip(asked, result.log_prob[0].tolist(), strict=True))
        return np.array([found.get(prompt, np.nan) for prompt in prompts])

    def _under(
        self, prompts: Sequence[Prompt], max_new_tokens: int | None
    ) -> tuple[PatchResult, tuple[Prompt, ...]]:
        batch = encode(self.pair.tokenizer, prompts)
        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_tokens": self.batch_tokens}
        with self.pair.finetuned() as model:
            return patch(model, batch, [self.cell], self.pair.tokenizer, **options), batch.prompts
