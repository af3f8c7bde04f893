"""What a verdict needs of facts: checked before any model runs, and as soon as both models were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from jaxtyping import Bool
from numpy import ndarray

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt
from interp.measures.spans import PromptBatch
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.base_knowledge import BaseKnowledge, KnownFacts
from interp.verdicts.controls import FEWEST_CONTROLS, NOTHING_KEPT
from interp.verdicts.specificity import FEWEST_OTHERS, AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair

NO_LOSS = (
    "so none can be lost, and there is no fact that both models know to say what a stored one looks like; "
    "give facts that the base states"
)

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
    """Ask the fine-tuned model as it was fine-tuned, and refuse facts from which no verdict could come.

    Args:
        pair: the models.
        asked: the prompts.
        golds: their answers.
        base: what the base knew.
        on_asked: is given what both answer, a row a fact.
        knows: the share of forms from which on the base knew a fact.
        batch_tokens: bound on the keys of one forward pass.
        more: is told how much more is done, see :class:`AnswerScorer`.
    """
    scorer = AnswerScorer(asked, golds, pair.tokenizer)
    with pair.finetuned() as model:
        scorer.ask(model, batch_tokens=batch_tokens, more=more)
    knew, right = base.share.numpy(), scorer.right.nan_to_num().numpy() > 0
    of_base = {"base_knew": knew, "base_right": base.right.numpy(), "base_said": base.said}
    on_asked(pd.DataFrame({"fact_id": asked.fact_ids, **of_base, "right": right, "said": scorer.said}))
    require_measurable_facts(knew >= knows, base.never.numpy(), right, elicited=base.elicited)
    return scorer


def require_inputs(
    facts: FactSet,
    prompts: Sequence[Prompt] | None,
    *,
    alpha: float,
    knows: float,
    shots: int,
    batch_tokens: int,
) -> None:
    """Refuse settings of a diagnosis that cannot be, facts that share an id, and prompts not one a fact.

    Args:
        facts: what is to be asked.
        prompts: how, if that was given.
        alpha: the share of never-stored facts that may be called stored.
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
        f"alpha = {alpha}: give a share between 0 and 1": 0 < alpha < 1,
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
    """Refuse, before any model runs, facts of which too few can be compared, known, or controls.

    Raises:
        InputError: says how many there are, relation by relation, and how many it takes.
    """
    answers: dict[str, Counter[str]] = {}
    for prompt in prompts:
        answers.setdefault(prompt.relation, Counter())[prompt.answers[0]] += 1
    others = [answers[p.relation].total() - answers[p.relation][p.answers[0]] for p in prompts]
    comparable = sum(n >= FEWEST_OTHERS for n in others)
    if comparable < FEWEST_CONTROLS:
        listed = ", ".join(f"{name}: {a.total()} facts, {len(a)} answers" for name, a in answers.items())
        raise InputError(
            f"only {comparable} of {len(prompts)} facts are of relations in which {FEWEST_OTHERS} others "
            f"have another answer, and answers are compared over those; it takes {FEWEST_CONTROLS} ({listed})"
        )
    if known is not None:
        ids = [prompt.fact_id for prompt in prompts]
        counts = [sum(found[fact_id] for fact_id in ids) for found in (known.known, known.unknown)]
        if not counts[0]:
            raise InputError(f"the base knows none of the {len(ids)} facts, {NO_LOSS}")
        if max(counts) < FEWEST_CONTROLS:
            raise InputError(
                f"the base knows {counts[0]} of {len(ids)} facts and {counts[1]} in no form: too few "
                f"controls: give at least {FEWEST_CONTROLS} of either"
            )


def require_measurable_facts(
    known: Bool[ndarray, " fact"],
    never: Bool[ndarray, " fact"],
    right: Bool[ndarray, " fact"],
    *,
    elicited: bool = True,
) -> None:
    """Refuse, before evidence is measured, facts from which no verdict could come.

    Args:
        known: whether the base knew each fact.
        never: whether it is right about it in no form, and at chance.
        right: whether the fine-tuned model is right as asked.
        elicited: whether what the base knew was found out in forms that suit it.

    Raises:
        InputError: says how many facts, known ones and controls there are, and how many it takes.
    """
    if not known.any():
        hint = "" if elicited else ASK_OTHERWISE
        raise InputError(f"the base knows none of the {len(known)} facts, {NO_LOSS}{hint}")
    free = int((never & ~right).sum())
    if max(int(known.sum()), int((~known & ~right).sum())) < FEWEST_CONTROLS:
        raise InputError(
            f"only {free} of {len(known)} facts are right in no form of the base and wrong after fine-tuning,"
            f" and {known.sum()} are known, whose wrong answers could stand in: too few controls: give at "
            f"least {FEWEST_CONTROLS} of either{'' if elicited else ASK_OTHERWISE}"
        )
    if not (known & right).any():
        raise InputError(NOTHING_KEPT)
