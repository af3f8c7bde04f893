"""Internal scores of candidate facts: salience in the base's values, the harm score m, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from finetune.common.seeds import generator
from finetune.data.loaders.table import UNNAMED
from interp.selection.behavioural_scores import question, spread_over_prompts, statement
from interp.selection.candidates import Candidates

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray
    from torch import Tensor

    from finetune.data.facts import FactSet
    from finetune.data.prompts import Prompt
    from interp.measures.score_gradient import HarmScore
    from interp.measures.value_readout import ValueReadout

REFERENCE = 256  # facts that gradients are compared with


def readout(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the value-readout salience: the answer's logit from the subject's values over the set's mean."""
    answers = candidates.facts.answer_sets

    def read(model, batch, tokenizer) -> ValueReadout:  # type: ignore[no-untyped-def]
        from interp.measures.value_readout import value_readout

        return value_readout(model, batch, tokenizer, answers, batch_tokens=candidates.batch_tokens)

    return _read_with_bridge(candidates, "Reading values", read, "stored_total")


def harm(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the harm score m: below zero, a step on the example pushes attention off its subject."""

    def read(model, batch, tokenizer) -> HarmScore:  # type: ignore[no-untyped-def]
        from interp.measures.score_gradient import harm_score

        return harm_score(model, batch, tokenizer, batch_tokens=candidates.batch_tokens)

    return _read_with_bridge(candidates, "Scoring harm", read, "values")


def gradient_agreement(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the inner product of a fact's gradient with the mean one of facts to be known.

    To first order, a small step on the fact lowers their loss by so much.
    """
    from interp.measures.gradients import gradient_alignment, mean_gradient

    model, tokenizer = candidates.open_model(), candidates.tokenizer
    prompts = [p for p in candidates.prompts_for(reference_facts(candidates)) if p is not None]
    _, direction = mean_gradient(model, tokenizer, prompts, batch_tokens=candidates.batch_tokens)

    def work(facts: FactSet) -> Float[ndarray, " fact"]:
        def slopes(fit: Sequence[Prompt]) -> Tensor:
            return gradient_alignment(
                model, tokenizer, fit, direction, batch_tokens=candidates.batch_tokens // 4
            )

        return spread_over_prompts(candidates.prompts_for(facts), slopes)

    return candidates.in_chunks("Comparing gradients", work)


def reference_facts(candidates: Candidates) -> FactSet:
    """Return the facts that gradients are compared with: those given, or a draw of the best known candidates.

    Known are a quarter of the candidates, by statements or, where none can be made, by questions.
    """
    if candidates.reference is not None:
        return candidates.reference
    stated = candidates.subjects_known and all(fact.relation != UNNAMED for fact in candidates.facts)
    name, by = ("statement", statement) if stated else ("question", question)
    values = np.nan_to_num(candidates.cached(name, lambda: by(candidates)), nan=-np.inf)
    best = np.argsort(-values, kind="stable")[: max(1, len(values) // 4)]
    drawn = generator(candidates.seed, "reference facts").permutation(best)[:REFERENCE]
    return candidates.facts.subset(sorted(drawn.tolist()))


def _read_with_bridge(
    candidates: Candidates, doing: str, read: Callable[..., HarmScore | ValueReadout], part: str
) -> Float[ndarray, " fact"]:
    """Read a part of a result of every fact's question from the hooked base; NaN where it is not aligned."""
    from interp.measures.spans import encode

    with candidates.open_bridge() as (model, tokenizer):

        def work(facts: FactSet) -> Float[ndarray, " fact"]:
            some = [p for p in candidates.prompts_for(facts) if p is not None]
            values = np.full(len(facts), np.nan)
            if some:
                batch = encode(tokenizer, some)
                candidates.leave_out(batch.left_out)
                # What a prompt's first token draws is not its subject's.
                if not bool((~batch.sunk).any()):
                    return values
                batch = batch[~batch.sunk]
                result = read(model, batch, tokenizer)
                found = dict(zip(result.fact_ids, getattr(result, part).tolist(), strict=True))
                values[:] = [found.get(fact.id, np.nan) for fact in facts]
            return values

        return candidates.in_chunks(doing, work)
