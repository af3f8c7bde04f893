"""What a verdict needs, checked as soon as both models were asked, before any evidence is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from finetune.common.errors import InputError
from interp.measures.spans import PromptBatch
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.base_knowledge import BaseKnowledge
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair

FEWEST_CONTROLS = 40  # a 5% threshold fitted on a half of fewer would be set by one fact
NOTHING_KEPT = (
    "there is no fact that both models know, so nothing says what a stored fact looks like; "
    "give facts that the base states, in the wording that the model was fine-tuned on"
)
TOO_FEW = (
    f"only {{most}} controls: give at least {FEWEST_CONTROLS} facts, of relations with several subjects "
    "and answers"
)


def ask_finetuned(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    base: BaseKnowledge,
    on_asked: Callable[[pd.DataFrame], None],
    *,
    batch_tokens: int,
) -> tuple[Float[ndarray, " fact"], Bool[ndarray, " fact"]]:
    """Ask the fine-tuned model plainly; return how far the base knew facts, and what this one answers right.

    Args:
        pair: the models.
        asked: the prompts.
        golds: their answers.
        base: what the base knew.
        on_asked: is given what both answer, a row a fact.
        batch_tokens: bound on the keys of one forward pass.
    """
    scorer = AnswerScorer(asked, golds, pair.tokenizer, say=True)
    with pair.finetuned() as model:
        scorer.ask_all(model, batch_tokens=batch_tokens)
    knew, right = base.share.numpy(), scorer.right[0].nan_to_num().numpy() > 0
    told = {"base_knew": knew, "base_said": base.said, "right": right, "said": scorer.said[0]}
    on_asked(pd.DataFrame({"fact_id": asked.fact_ids, **told}))
    return knew, right


def require_measurable_facts(known: Bool[ndarray, " fact"], right: Bool[ndarray, " fact"]) -> None:
    """Refuse, before evidence is measured, facts from which no verdict could come.

    Raises:
        InputError: no fact that both models know, or too few controls.
    """
    if not (known & right).any():
        raise InputError(NOTHING_KEPT)
    most = max(int((~known & ~right).sum()), int(known.sum()))
    if most < FEWEST_CONTROLS:
        raise InputError(TOO_FEW.format(most=most))
