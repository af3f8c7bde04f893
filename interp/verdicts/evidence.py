"""Evidence that a fine-tuned model still stores a fact: what it makes of it in other wordings.

A fact is asked in statement forms, or behind solved examples, but not as fine-tuning asked. Where the answer
is right, the model still *states* the fact in that form. How specific to the subject the right answer is
(:mod:`interp.verdicts.specificity`), in nats, stands beside it.

No model is intervened on, no cut is fitted, and no answer has to be specific: none of these foretold better
which facts a lesson brings back (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.prompts import Form

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the fine-tuned model makes of each fact in each held-out form; NaN where it was not asked.

    ``specificity`` is the right answer's, in nats; ``states`` is 1 where what the model says is
    right.
    """

    specificity: Float[Tensor, "fact form"]
    states: Float[Tensor, "fact form"]

    def kept(self, forms: Bool[Tensor, "fact form"]) -> Evidence:
        """Keep some forms of each fact, and put NaN in the others' place."""
        some, states = (values.where(forms, torch.nan) for values in (self.specificity, self.states))
        return Evidence(specificity=some, states=states)


def measure_evidence(
    pair: CheckpointPair,
    forms: Sequence[Form],
    facts: int,
    *,
    batch_tokens: int,
    more: Callable[[int], None] = lambda done: None,
) -> Evidence:
    """Ask the fine-tuned model of a pair in every held-out form.

    Args:
        pair: base and fine-tuned model.
        forms: the prompts of each form with their answers, and which fact each is of.
        facts: how many there are.
        batch_tokens: bound on the tokens of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.
    """
    specificity, states = (torch.full((facts, len(forms)), torch.nan) for _ in range(2))
    with pair.finetuned() as model:
        for k, (batch, golds, owner) in enumerate(forms):
            asker = AnswerScorer(batch, golds, pair.tokenizer)
            asker.ask(model, batch_tokens=batch_tokens, more=more)
            specificity[owner, k] = asker.tally.specificity
            states[owner, k] = asker.right.where(asker.log_prob.isfinite(), torch.nan)  # NaN is not wrong
    return Evidence(specificity=specificity, states=states)
