"""The verdict: which facts fine-tuning lost, and which of those are still stored but suppressed.

    table = diagnose(pair, facts).to_frame()

1. The base is asked in all statement forms of a relation (:mod:`interp.verdicts.prompts`). It *knew* a fact
   if it completes all of these with a right answer (``knows`` lowers that share); if it is right in none and
   the right answer is at chance among the relation's, it did not (:mod:`interp.verdicts.base_knowledge`); in
   between the fact is undetermined. To call a fact lost, one right answer must also be the most specific to
   the subject, not only the commonest of its relation.
2. The fine-tuned model is asked as it was fine-tuned. An answer that is right and no more likely for this
   subject than for others is *generic*: it shows no knowledge.
3. It is asked again in the same statement forms (:mod:`interp.verdicts.evidence`), which fine-tuning did not
   use. Where its answer is right there, it still *states* the fact. Each form is held out in its turn: what
   the base knew is then what the others say, and all turns must say the same.
4. A lost fact that is stated in every held-out form is *suppressed, intact*, one that is in some is *eroded*,
   and one that is in none *erased* (:mod:`interp.verdicts.diagnosis`). Nothing is fitted. How
   often facts that nothing stores (:mod:`interp.verdicts.controls`) are stated is the false-positive rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from finetune.common.progress import increments, progress_bar
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED
from finetune.data.phrasebooks import phrasebook as default_phrasebook
from finetune.data.prompts import Phrasebook, Prompt, fact_prompt
from interp.measures.answer_sets import answer_readings
from interp.measures.spans import PromptBatch, encode
from interp.models.identity import model_fingerprint
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.base_knowledge import BaseKnowledge, KnownFacts, base_knowledge
from interp.verdicts.controls import CONTROLS, NEVER, control_sets
from interp.verdicts.diagnosis import UNDETERMINED, Diagnosis, KnownAndSaid, judge, rates
from interp.verdicts.evidence import Evidence, measure_evidence
from interp.verdicts.preconditions import (
    ask_finetuned,
    require_comparable_facts,
    require_inputs,
)
from interp.verdicts.prompts import Form, encode_forms, statement_forms
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair

NOT_FINITE = "its logits are not numbers"


def diagnose(
    pair: CheckpointPair,
    facts: FactSet,
    *,
    phrasebook: Phrasebook | None = None,
    prompts: Sequence[Prompt] | None = None,
    prompt_format: str = ASKED,
    answer_sets: Mapping[str, Sequence[str]] | None = None,
    knows: float = 1.0,
    shots: int = 0,
    known: KnownFacts | None = None,
    on_asked: Callable[[pd.DataFrame], None] = lambda frame: None,
    batch_tokens: int = 8192,
    seed: int = 0,
) -> Diagnosis:
    """Say of every fact whether fine-tuning kept it, and if not, whether it is still stored.

    Args:
        pair: base and fine-tuned model.
        facts: what to ask, both what the base knew and what it did not: the latter are the controls.
        phrasebook: statement forms and the asked form of each relation; from the facts without it.
        prompts: the prompts that fine-tuning asked in, one per fact; from questions or the phrasebook.
        prompt_format: what stands around a fact's own question.
        answer_sets: each relation's possible answers; those of the facts without it.
        knows: the share of statement forms that the base must complete right to have known a fact.
        shots: as evidence, also ask with this many solved examples in front.
        known: what the base knows, where that was found out otherwise, and prompts to ask in besides.
        on_asked: is given what both models answer, a row a fact, before evidence is measured.
        batch_tokens: bound on the keys of one forward pass.
        seed: of the draws of examples and of reference subjects.

    Raises:
        InputError: a setting that cannot be, shared ids, no fact that the base knows, or too few to compare.
    """
    require_inputs(facts, prompts, knows=knows, shots=shots, batch_tokens=batch_tokens)
    book = default_phrasebook(facts) if phrasebook is None else phrasebook
    asked = encode(pair.tokenizer, prompts or [fact_prompt(fact, book, prompt_format) for fact in facts])
    require_comparable_facts(asked.prompts, known)
    golds, knowing, forms = _word_forms(pair, facts, book, asked, answer_sets, known, shots, seed)
    rows = 2 * len(asked) + sum(len(batch) for batch, _, _ in (*knowing, *forms))
    with progress_bar("Scoring answers and asking, in every form", total=rows) as advance:
        more = increments(advance)
        base = base_knowledge(pair, asked, golds, knowing, forms, known, batch_tokens=batch_tokens, more=more)
        told = ask_finetuned(
            pair, asked, golds, base, on_asked, knows=knows, batch_tokens=batch_tokens, more=more
        )
        found = measure_evidence(pair, forms, len(asked), batch_tokens=batch_tokens, more=more)
    return _judged(pair, facts, base, told, found, knows)


def _word_forms(
    pair: CheckpointPair,
    facts: FactSet,
    book: Phrasebook,
    asked: PromptBatch,
    answer_sets: Mapping[str, Sequence[str]] | None,
    known: KnownFacts | None,
    shots: int,
    seed: int,
) -> tuple[AnswerTargets, list[Form], list[Form]]:
    """Return the right answers' places in their relations' sets, and the forms of knowing and of evidence.

    Statements are both: what was found out elsewhere has prompts of its own for either.
    """
    sets = answer_sets or facts.answer_sets
    readings = answer_readings(pair.tokenizer, asked, sets, "distinct")
    golds = AnswerTargets.of(pair.tokenizer, asked, readings, seed=seed)
    if known:
        sides = known.knowing, known.prompts
    else:
        kept = set(asked.fact_ids)
        some = [fact for fact in facts if fact.id in kept]
        sides = statement_forms(some, book, asked.prompts, shots=shots, seed=seed)
    knowing, further = (encode_forms(pair.tokenizer, side, asked, sets, seed=seed) for side in sides)
    # A statement form is evidence where there are others to say what the base knew.
    return golds, knowing, further if known or len(knowing) < 2 else [*knowing, *further]


def _judged(
    pair: CheckpointPair,
    facts: FactSet,
    base: BaseKnowledge,
    told: AnswerScorer,
    evidence: Evidence,
    knows: float,
) -> Diagnosis:
    asked = told.batch
    by_id = {fact.id: fact for fact in facts}
    ordered = [by_id[fact_id] for fact_id in asked.fact_ids]
    subjects, finite = np.array([fact.subject for fact in ordered]), told.log_prob.isfinite().numpy()
    # A fact whose logits are not numbers as asked has no evidence, either: it is no control.
    evidence = evidence.kept(base.has_others & told.log_prob.isfinite()[:, None])
    state = _known_and_said(base, told, evidence, knows)
    sets = control_sets(state, ordered)
    verdicts = np.where(finite, judge(state), UNDETERMINED)
    odd = [(fact_id, NOT_FINITE) for fact_id, fine in zip(asked.fact_ids, finite, strict=True) if not fine]
    of_base, of_finetuned = pair.read_both(model_fingerprint)
    return Diagnosis(
        subjects=tuple(subjects.tolist()),
        relations=tuple(prompt.relation for prompt in asked.prompts),
        answers=tuple(prompt.answers[0] for prompt in asked.prompts),
        verdicts=tuple(verdicts.tolist()),
        knew=base.share,
        base_right=base.right,
        base_rank=base.rank,
        base_said=base.said,
        right=told.right,
        tied=told.tally.first,
        asked=told.tally.specificity,
        log_prob=told.log_prob,
        said=tuple(told.said),
        evidence=evidence.specificity,
        states=evidence.states,
        known_apart=(base.share_apart >= knows) & base.specific_apart & evidence.states.isfinite(),
        never_apart=base.never_apart & evidence.states.isfinite(),
        control_sets=tuple(CONTROLS),
        is_control=torch.from_numpy(sets),
        **rates(state, sets[:, list(CONTROLS).index(NEVER)], subjects),
        left_out=(*((item.where, item.reason) for item in asked.left_out), *odd),
        fact_ids=asked.fact_ids,
        model=of_base,
        finetuned=of_finetuned,
    )


def _known_and_said(
    base: BaseKnowledge, told: AnswerScorer, evidence: Evidence, knows: float
) -> KnownAndSaid:
    """Bring together what the base knew and what the fine-tuned model says; NaN is never right."""
    return KnownAndSaid(
        known=base.share.numpy() >= knows,
        specific=base.specific.numpy(),
        never=base.never.numpy(),
        right=((told.right > 0) & told.log_prob.isfinite()).numpy(),
        tied=told.tally.first.numpy(),
        compared=told.tally.specificity.isfinite().numpy(),
        stated_share=evidence.states.nanmean(1).numpy(),
    )
