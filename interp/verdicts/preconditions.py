"""What a verdict needs of facts: checked before any model runs, and as soon as both models were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt
from interp.measures.spans import PromptBatch
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.base_knowledge import BaseKnowledge, KnownFacts
from interp.verdicts.specificity import FEWEST_OTHERS, AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair

FEWEST_FACTS = 40  # whose answers can be compared; of fewer no share says anything
NO_LOSS = "so none can be lost; give facts that the base states"

ASK_OTHERWISE = (
    ", or ask the base in forms that suit it, behind solved examples: factscope diagnose does, and known= "
    "takes what was found"
)


def ask_finetuned(
    pair: CheckpointPair,
    asked: PromptBatch,
    golds: AnswerTargets,
    base: BaseKnowledge,
    on_asked: Callable[[pd.DataFrame], None],
    *,
    knows: float,
    batch_tokens: int,
    more: Callable[[int], None] = lambda done: None,
) -> AnswerScorer:
    """Ask the fine-tuned model as it was fine-tuned, and refuse facts of which the base knows none.

    Args:
        pair: the models.
        asked: the prompts.
        golds: their answers.
        base: what the base knew.
        on_asked: is given what both answer, a row a fact.
        knows: the share of forms from which on the base knew a fact.
        batch_tokens: bound on the keys of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.

    Raises:
        InputError: the base knows no fact.
    """
    scorer = AnswerScorer(asked, golds, pair.tokenizer)
    with pair.finetuned() as model:
        scorer.ask(model, batch_tokens=batch_tokens, more=more)
    knew, right = base.share.numpy(), scorer.right.nan_to_num().numpy() > 0
    of_base = {"base_knew": knew, "base_right": base.right.numpy(), "base_said": base.said}
    of_base["control_never"] = base.never.numpy() & ~right
    on_asked(pd.DataFrame({"fact_id": asked.fact_ids, **of_base, "right": right, "said": scorer.said}))
    if not (knew >= knows).any():
        hint = "" if base.elicited else ASK_OTHERWISE
        raise InputError(f"the base knows none of the {len(knew)} facts, {NO_LOSS}{hint}")
    return scorer


def require_inputs(
    facts: FactSet,
    prompts: Sequence[Prompt] | None,
    *,
    knows: float,
    shots: int,
    batch_tokens: int,
) -> None:
    """Refuse settings of a diagnosis that cannot be, facts that share an id, and prompts not one a fact.

    Args:
        facts: what is to be asked.
        prompts: how, if that was given.
        knows: the share of forms that the base must complete right.
        shots: solved examples of a further form.
        batch_tokens: bound on a forward pass.

    Raises:
        InputError: names the setting or the id, or says that these are no facts.
    """
    checks = {
        f"facts: give a FactSet, as FactSet.load reads one, and no {type(facts).__name__}": isinstance(
            facts, FactSet
        ),
        f"knows = {knows}: give a share above 0, up to 1": 0 < knows <= 1,
        f"shots = {shots}: give a number of examples, 0 for none": shots >= 0,
        f"batch_tokens = {batch_tokens}: give 1 or more": batch_tokens >= 1,
    }
    for problem, holds in checks.items():
        if not holds:
            raise InputError(problem)
    asked = [fact.id for fact in facts]
    for what, ids in (
        ("facts", asked),
        ("prompts", asked if prompts is None else [prompt.fact_id for prompt in prompts]),
    ):
        fact_id, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
        if count > 1:
            raise InputError(f"{what}: {count} have the id {fact_id!r}; give each fact an id of its own")
        if odd := sorted(set(asked) ^ set(ids)):
            raise InputError(f"{what}: not one for each fact, as {odd[0]!r} tells; give a prompt a fact")


def require_comparable_facts(prompts: Sequence[Prompt], known: KnownFacts | None = None) -> None:
    """Refuse, before any model runs, facts of which too few can be compared, or none is known.

    Raises:
        InputError: says how many there are, relation by relation, and how many it takes.
    """
    answers: dict[str, Counter[str]] = {}
    for prompt in prompts:
        answers.setdefault(prompt.relation, Counter())[prompt.answers[0]] += 1
    others = [answers[p.relation].total() - answers[p.relation][p.answers[0]] for p in prompts]
    comparable = sum(n >= FEWEST_OTHERS for n in others)
    if comparable < FEWEST_FACTS:
        listed = ", ".join(f"{name}: {a.total()} facts, {len(a)} answers" for name, a in answers.items())
        raise InputError(
            f"only {comparable} of {len(prompts)} facts are of relations in which {FEWEST_OTHERS} others "
            f"have another answer, and answers are compared over those; it takes {FEWEST_FACTS} ({listed}): "
            "give more facts of the same relations"
        )
    if known is not None and not any(known.known[prompt.fact_id] for prompt in prompts):
        raise InputError(f"the base knows none of the {len(prompts)} facts, {NO_LOSS}")
