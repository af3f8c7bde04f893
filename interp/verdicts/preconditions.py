"""What a verdict needs, checked as soon as both models were asked, before any evidence is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from finetune.common.errors import InputError
from interp.measures.spans import PromptBatch
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.base_knowledge import BaseKnowledge
from interp.verdicts.controls import FEWEST_CONTROLS, NOTHING_KEPT
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair


def ask_finetuned(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    base: BaseKnowledge,
    on_asked: Callable[[pd.DataFrame], None],
    *,
    knows: float,
    batch_tokens: int,
) -> None:
    """Ask the fine-tuned model plainly, and refuse facts from which no verdict could come.

    Args:
        pair: the models.
        asked: the prompts.
        golds: their answers.
        base: what the base knew.
        on_asked: is given what both answer, a row a fact.
        knows: the share of forms from which on the base knew a fact.
        batch_tokens: bound on the keys of one forward pass.
    """
    scorer = AnswerScorer(asked, golds, pair.tokenizer, say=True)
    with pair.finetuned() as model:
        scorer.ask_all(model, batch_tokens=batch_tokens)
    knew, right = base.share.numpy(), scorer.right[0].nan_to_num().numpy() > 0
    told = {"base_knew": knew, "base_said": base.said, "right": right, "said": scorer.said[0]}
    on_asked(pd.DataFrame({"fact_id": asked.fact_ids, **told}))
    require_measurable_facts(knew >= knows, base.never.numpy(), right)


def require_measurable_facts(
    known: Bool[ndarray, " fact"], never: Bool[ndarray, " fact"], right: Bool[ndarray, " fact"]
) -> None:
    """Refuse, before evidence is measured, facts from which no verdict could come.

    Raises:
        InputError: says how many facts, known ones and controls there are, and how many it takes.
    """
    if not known.any():
        raise InputError(
            f"the base knows none of the {len(known)} facts, so none can be lost, and there is no fact that "
            "both models know to say what a stored one looks like; give facts that the base states"
        )
    free = int((never & ~right).sum())
    if max(int(known.sum()), int((~known & ~right).sum())) < FEWEST_CONTROLS:
        raise InputError(
            f"only {free} of {len(known)} facts are right in no form of the base and wrong after fine-tuning,"
            f" and {known.sum()} are known, whose wrong answers could stand in: too few controls: give at "
            f"least {FEWEST_CONTROLS} of either"
        )
    if not (known & right).any():
        raise InputError(NOTHING_KEPT)
