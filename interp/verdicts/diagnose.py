"""The verdict: which facts fine-tuning lost, and which of those are still stored but suppressed.

    table = diagnose(pair, facts).to_frame()

1. The base is asked in several forms. It *knew* a fact if it completes every statement form with a right
   answer (``knows`` lowers that share); if it is right in no form at all it did not; in between the fact is
   undetermined. To call a fact lost, one right answer must also be the most specific to the subject, not only
   the commonest of its relation.
2. The fine-tuned model is asked as it was fine-tuned.
3. Evidence of storage is gathered for every fact (:mod:`interp.verdicts.evidence`).
4. Facts that the base is right about in *no* form and that the fine-tuned model answers wrong, matched to the
   lost ones, are the controls; where they are too few, decoys are: wrong answers for facts that the base
   knew, and at last all that it did not know (:mod:`interp.verdicts.controls`). Those of one half of the
   subjects fit a threshold at a stated false-positive rate, the other half says which rate was reached
   (:mod:`interp.verdicts.calibration`). What other controls would have shown is told beside it.
5. A lost fact above the threshold is *suppressed*. Below it is *erased*: its storage is not shown. In a
   band under the threshold, which more controls reach, it is undetermined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook as default_phrasebook
from finetune.data.prompts import Phrasebook, Prompt, fact_prompt
from interp.measures.result import Result
from interp.measures.spans import PromptBatch, encode
from interp.models.identity import Fingerprint, pair_fingerprints
from interp.patching.engine import answer_readings
from interp.verdicts.base_knowledge import BaseKnowledge, KnownFacts, base_knowledge
from interp.verdicts.calibration import Calibration, evidence_table, halve_subjects
from interp.verdicts.controls import CONTROLS, KnownAndSaid, fit_controls
from interp.verdicts.evidence import Evidence, measure_evidence
from interp.verdicts.preconditions import ask_finetuned, require_measurable_facts
from interp.verdicts.prompts import statement_form_prompts
from interp.verdicts.specificity import AnswerTargets

if TYPE_CHECKING:
    from interp.models.pair import CheckpointPair

RETAINED, SUPPRESSED, ERASED = "retained", "suppressed", "erased"
LEARNED, NEVER_STORED, UNDETERMINED = "learned", "never stored", "undetermined"
NOT_FINITE = "its logits are not numbers"
VERDICTS = (RETAINED, SUPPRESSED, ERASED, LEARNED, NEVER_STORED, UNDETERMINED)
USED = ("asked", "forms", "boost", "patterns", "all_patterns")
KINDS = (*USED, "sibling", "all_sibling", "readout", "knockout")
PLACEBOS = ("boost_placebo", "placebo", "all_placebo", "sibling_placebo", "all_sibling_placebo")


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """One verdict a fact, with the evidence and the controls that it rests on.

    ``knew`` is the share of statement forms in which the base answers right, ``right`` whether the fine-tuned
    model does. ``evidence`` and ``decoys`` are [fact, kind], nats (``readout``: logits), the same measure for
    the right answer and for a wrong one; ``kinds`` are all that was measured, placebos among them, and
    ``used`` those that the verdict rests on. ``strength`` is -ln of the (harmonic mean) share of controls
    with as much evidence; above ``threshold`` a fact is held to be stored, between ``doubt`` and it
    undetermined.
    ``recovered`` [fact, pattern] says which facts are answered right under other attention, NaN where the
    intervention could not be made. ``held_out`` marks the facts of the subjects that no threshold was fitted
    on; ``false_positives`` is value, low, high and n on the controls among them. ``controls`` says who they
    are. ``control_sets`` are all sets of them (:mod:`interp.verdicts.controls`): ``shown`` [fact, set] says
    whose evidence lies above each one's threshold (NaN where it is too small for one), ``is_control`` who is
    in it.
    """

    subjects: tuple[str, ...]
    relations: tuple[str, ...]
    answers: tuple[str, ...]
    verdicts: tuple[str, ...]
    knew: Float[Tensor, " fact"]
    right: Float[Tensor, " fact"]
    log_prob: Float[Tensor, " fact"]
    base_said: tuple[str, ...]
    said: tuple[str, ...]
    kinds: tuple[str, ...]
    used: tuple[str, ...]
    evidence: Float[Tensor, "fact kind"]
    decoys: Float[Tensor, "fact kind"]
    patterns: tuple[str, ...]
    recovered: Float[Tensor, "fact pattern"]
    strength: Float[Tensor, " fact"]
    threshold: float
    doubt: float
    alpha: float
    controls: str
    control_sets: tuple[str, ...]
    shown: Float[Tensor, "fact set"]
    is_control: Bool[Tensor, "fact set"]
    held_out: Bool[Tensor, " fact"]
    false_positives: tuple[float | None, float | None, float | None, int]
    left_out: tuple[tuple[str, str], ...]
    finetuned: Fingerprint | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per fact: verdict, what was known and said, every kind of evidence and its control."""
        columns: dict[str, Any] = {
            "fact_id": self.fact_ids,
            "subject": self.subjects,
            "relation": self.relations,
            "answer": self.answers,
            "verdict": self.verdicts,
            "base_knew": self.knew.numpy(),
            "base_said": self.base_said,
            "right": self.right.numpy().astype(bool),
            "said": self.said,
            "log_prob": self.log_prob.numpy(),
            "strength": self.strength.numpy(),
            "held_out": self.held_out.numpy(),
        }
        columns |= {f"evidence_{kind}": self.evidence[:, k].numpy() for k, kind in enumerate(self.kinds)}
        columns |= {f"decoy_{kind}": self.decoys[:, k].numpy() for k, kind in enumerate(self.kinds)}
        columns |= {f"recovered_{name}": self.recovered[:, k].numpy() for k, name in enumerate(self.patterns)}
        for k, name in enumerate(self.control_sets):
            columns[f"shown_by_{name}"] = self.shown[:, k].numpy()
            columns[f"control_{name}"] = self.is_control[:, k].numpy()
        return pd.DataFrame(columns)

    def counts(self) -> dict[str, int]:
        """Count the facts of each verdict."""
        return {verdict: self.verdicts.count(verdict) for verdict in VERDICTS}


def diagnose(
    pair: CheckpointPair,
    facts: FactSet,
    *,
    phrasebook: Phrasebook | None = None,
    prompts: Sequence[Prompt] | None = None,
    prompt_format: str = "Question: {question} Answer:",
    siblings: Mapping[str, CheckpointPair] | None = None,
    answer_sets: Mapping[str, Sequence[str]] | None = None,
    used: Sequence[str] = USED,
    alpha: float = 0.05,
    knows: float = 1.0,
    shots: int = 0,
    known: KnownFacts | None = None,
    on_asked: Callable[[pd.DataFrame], None] = lambda frame: None,
    batch_tokens: int = 8192,
    seed: int = 0,
) -> Diagnosis:
    """Say of every fact whether fine-tuning kept it, and if not, whether it is still stored.

    Args:
        pair: base and fine-tuned model; attention must be editable.
        facts: what to ask, both what the base knew and what it did not: the latter are the controls.
        phrasebook: statement forms and the asked form of each relation; from the facts without it.
        prompts: the prompts that fine-tuning asked in, one per fact; from questions or the phrasebook.
        prompt_format: what stands around a fact's own question.
        siblings: other fine-tunings of the same base, whose attention is tried too.
        answer_sets: each relation's possible answers; those of the facts without it.
        used: the kinds of evidence that the verdict rests on, of ``KINDS``.
        alpha: the share of facts that are not stored which may be called stored.
        knows: the share of statement forms that the base must complete right to have known a fact.
        shots: also ask with this many solved examples in front, as one more statement form.
        known: what the base knows, where that was found out otherwise, and prompts to ask in besides.
        on_asked: is given what both models answer, a row a fact, before evidence is measured.
        batch_tokens: bound on the keys of one forward pass.
        seed: of placebos, decoys, examples and the halves of the controls.

    Raises:
        InputError: no fact that both models know, too few controls (said before evidence is gathered, as far
            as the base alone tells), or an unknown kind of evidence.
        InterventionError: the model ignores edits of its attention.
    """
    if odd := [kind for kind in used if kind not in KINDS]:
        raise InputError(f"used = {odd}: choose kinds of evidence from {', '.join(KINDS)}")
    book = default_phrasebook(facts) if phrasebook is None else phrasebook
    asked = encode(pair.tokenizer, prompts or [fact_prompt(fact, book, prompt_format) for fact in facts])
    sets = answer_sets or {relation: facts.answer_set(relation) for relation in facts.relations}
    golds = AnswerTargets.of(asked, answer_readings(pair.tokenizer, asked, sets, "distinct"), seed=seed)
    texts: dict[str, Any] = {"shots": shots, "seed": seed, "prompts": known.prompts if known else ()}
    forms = statement_form_prompts(pair.tokenizer, facts, book, asked, golds, sets, **texts)
    base = base_knowledge(pair, asked, golds, forms, batch_tokens=batch_tokens)
    base = known.merged(asked, base) if known else base
    knew, right = ask_finetuned(pair, asked, golds, base, on_asked, batch_tokens=batch_tokens)
    require_measurable_facts(knew >= knows, base.never.numpy(), right)
    bounds: dict[str, Any] = {"batch_tokens": batch_tokens, "seed": seed}
    evidence = measure_evidence(pair, asked, forms, golds, siblings or {}, **bounds)
    kinds = [kind for kind in (*KINDS, *PLACEBOS) if kind in evidence.values]
    chosen = [kind for kind in kinds if kind in {*used, *(("sibling", "all_sibling") if siblings else ())}]
    return _score_and_judge(pair, facts, asked, base, evidence, kinds, chosen, alpha, knows, seed)


def _score_and_judge(
    pair: CheckpointPair,
    facts: FactSet,
    asked: PromptBatch,
    base: BaseKnowledge,
    evidence: Evidence,
    kinds: list[str],
    chosen: list[str],
    alpha: float,
    knows: float,
    seed: int,
) -> Diagnosis:
    by_id = {fact.id: fact for fact in facts}
    ordered = [by_id[fact_id] for fact_id in asked.fact_ids]
    subjects = np.array([fact.subject for fact in ordered])
    held_out, finite = halve_subjects(subjects, seed), evidence.log_prob.isfinite().numpy()
    told = KnownAndSaid(
        known=base.share.numpy() >= knows,
        specific=base.specific.numpy(),
        never=base.never.numpy(),
        right=evidence.right.numpy() > 0,
    )
    tables = evidence_table(evidence.values, chosen), evidence_table(evidence.decoys, chosen)
    fitted = fit_controls(*tables, told, ordered, held_out, alpha=alpha)
    calibration = fitted.calibration
    flags = (told.known, told.specific, told.never, told.right & finite)
    verdicts = np.where(finite, judge(*flags, fitted.strength, calibration), UNDETERMINED)
    odd = [(fact_id, NOT_FINITE) for fact_id, fine in zip(asked.fact_ids, finite, strict=True) if not fine]
    rate = calibration.false_positives
    of_base, of_finetuned = pair_fingerprints(pair)
    return Diagnosis(
        subjects=tuple(subjects.tolist()),
        relations=tuple(prompt.relation for prompt in asked.prompts),
        answers=tuple(prompt.answers[0] for prompt in asked.prompts),
        verdicts=tuple(verdicts.tolist()),
        knew=base.share,
        base_said=base.said,
        used=tuple(chosen),
        kinds=tuple(kinds),
        **evidence.columns(kinds),
        strength=torch.from_numpy(fitted.strength).float(),
        threshold=calibration.threshold,
        doubt=calibration.doubt,
        alpha=alpha,
        controls=CONTROLS[fitted.relied],
        control_sets=tuple(CONTROLS),
        shown=torch.from_numpy(fitted.shown).float(),
        is_control=torch.from_numpy(fitted.members),
        held_out=torch.from_numpy(held_out),
        false_positives=(rate.value, rate.low, rate.high, rate.n),
        left_out=(*((item.where, item.reason) for item in asked.left_out), *odd),
        fact_ids=asked.fact_ids,
        model=of_base,
        finetuned=of_finetuned,
    )


def judge(
    known: Bool[ndarray, " fact"],
    told_apart: Bool[ndarray, " fact"],
    unknown: Bool[ndarray, " fact"],
    right: Bool[ndarray, " fact"],
    strength: Float[ndarray, " fact"],
    calibration: Calibration,
) -> ndarray:
    """Turn what was known and said, and the evidence, into verdicts.

    A fact that the base did not know, whose answer is wrong and for which there is yet evidence of storage is
    undetermined: the base was asked in the wrong way, or it is one of the false positives.

    Args:
        known: whether the base knew the fact.
        told_apart: whether a right answer of the base was also the most specific one.
        unknown: whether the base was right in no form at all.
        right: whether the fine-tuned model is.
        strength: of the evidence of storage.
        calibration: the threshold, and what is in doubt.
    """
    shown, gone = strength > calibration.threshold, strength <= calibration.doubt
    lost = known & told_apart & ~right
    cases = [
        (known & right, RETAINED),
        (lost & shown, SUPPRESSED),
        (lost & gone, ERASED),
        (unknown & right, LEARNED),
        (unknown & ~right & gone, NEVER_STORED),
    ]
    return np.select([case for case, _ in cases], [name for _, name in cases], default=UNDETERMINED)
