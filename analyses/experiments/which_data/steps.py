"""The steps of a choice: load and set aside, score or take the scores that are there, choose."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from analyses.experiments.which_data.advice import knowledge_classes
from analyses.experiments.which_data.options import WhichDataOptions
from analyses.experiments.which_data.output_rows import require_writable
from finetune.common.checksums import are_valid, recorded_file
from finetune.common.errors import InputError, LeftOut
from finetune.common.progress import notice
from finetune.data.facts import FactSet
from finetune.data.load_facts import FactsWithRows, load_with_rows
from finetune.data.loaders.columns import mapping
from finetune.data.phrasebooks import load_phrasebook
from finetune.data.prompts import Phrasebook
from finetune.training.next_steps import warn_of_one_answer
from finetune.training.training_format import remembered_format
from interp.models.preflight import require_measurable
from interp.selection.candidates import Candidates
from interp.selection.choose import Choice, answer_types, choose
from interp.selection.scores import DEFAULT, SCORES, WITHOUT_SUBJECT

TABLE = "scores.parquet"
CLASS = "base_class"  # a place in CLASSES of finetune.evaluation.consistency; -1: not asked


@dataclass(frozen=True, kw_only=True)
class ReadyCandidates:
    """Candidates that can be asked, the rows that they came from, and by which score they are kept."""

    traced: FactsWithRows
    candidates: Candidates
    score: str
    left_out: tuple[LeftOut, ...]
    unavailable: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ChosenFacts:
    """A choice with all that the report tells of it; arrays are in the order of the facts."""

    options: WhichDataOptions
    ready: ReadyCandidates
    values: dict[str, Float[ndarray, " fact"]]
    choice: Choice
    classes: Int[ndarray, " fact"]

    @property
    def facts(self) -> FactSet:
        """The candidates."""
        return self.ready.candidates.facts

    @property
    def score(self) -> str:
        """The score that facts were kept by."""
        return self.ready.score

    @property
    def kept(self) -> list[int]:
        """The chosen facts, in their order."""
        return self.choice.indices.tolist()

    @property
    def others(self) -> list[int]:
        """The facts that were not chosen, in their order."""
        return np.flatnonzero(~self.choice.kept).tolist()

    @property
    def own(self) -> Float[ndarray, " fact"]:
        """The values of the score that facts were kept by."""
        return self.values[self.score]

    @property
    def setting(self) -> str:
        """What was chosen among and by what, in a phrase."""
        options, book = self.options, self.options.phrasebook
        worded = f" as {book.name} words them" if book else ""
        how = "drawn at random" if SCORES[self.score].is_placebo else f"by {self.score}"
        return f"{self.facts.name}{worded}, {100 * options.share:g}% {how}, base {options.base}"

    @property
    def columns(self) -> dict[str, list[Any]]:
        """What is written beside each fact: its score, and in words why it was kept or not."""
        if SCORES[self.score].is_placebo:  # a draw has no ranks, and its numbers are no merit
            drawn = self.choice.kept
            reasons = ["kept: drawn at random" if kept else "dropped: not drawn" for kept in drawn]
            return {"score": [None] * len(reasons), "reason": reasons}

        n = f"{len(self.facts):,}"
        values = [None if np.isnan(value) else float(f"{value:.6g}") for value in self.own]
        reasons = []
        told = {
            "dropped": "dropped",
            "no score": "dropped",
            "others' shares": "dropped for others' shares",
            "to fill up": "kept to fill the share",
        }
        for i, why in enumerate(self.choice.why):
            what = told.get(why, f"kept for {why}")
            by = f"rank {self.choice.rank[i]:,} of {n} by {self.score}"
            reasons.append(f"{what}: {f'{self.score} says nothing of it' if np.isnan(self.own[i]) else by}")
        return {"score": values, "reason": reasons}


def prepare_candidates(options: WhichDataOptions) -> ReadyCandidates:
    """Load the candidates and set aside what the base cannot be asked.

    Raises:
        InputError: the facts or the base cannot be used, or the output cannot hold what would be chosen.
    """
    require_measurable(options.base)
    columns = mapping(options.columns)
    traced = load_with_rows(options.facts, limit=options.limit, seed=options.seed, columns=columns)
    for option, out in (("--out", options.out), ("--dropped", options.dropped)):
        if out is not None:
            require_writable(traced, options.facts, out, option)
    _require_enough(options, traced.facts)
    warn_of_one_answer(traced.facts)
    candidates = Candidates(
        facts=traced.facts,
        base=options.base,
        book=_own_book(options, traced.facts),
        style=remembered_format(options.base, options.style),
        shots=options.shots,
        subjects_known=traced.subjects_known,
        reference=None if options.reference is None else FactSet.load(options.reference, subjects=False),
        seed=options.seed,
        batch_tokens=options.batch_tokens,
        dtype=options.dtype or "float32",
    )
    unavailable = {name: why for name, score in SCORES.items() if (why := score.unavailable(candidates))}
    for name in filter(None, (options.score, *options.also)):
        SCORES[name].require(candidates)
    score = options.score or (DEFAULT if DEFAULT not in unavailable else WITHOUT_SUBJECT)
    if not options.score and score == WITHOUT_SUBJECT:
        notice(_drawn_at_random(traced.subjects_known))
    traced, too_long = _askable(traced, candidates)
    return ReadyCandidates(
        traced=traced,
        candidates=replace(candidates, facts=traced.facts),
        score=score,
        left_out=(*traced.facts.left_out, *too_long),
        unavailable=tuple(unavailable.items()),
    )


def _drawn_at_random(subjects_known: bool) -> str:
    """Say what cannot be done without subjects or relations, and what is done instead."""
    column, about = (
        ("relation", "how a fact is stated") if subjects_known else ("subject", "what each question is about")
    )
    return (
        f"the facts have no column {column}, so that nothing says {about}: they cannot be chosen by what the "
        "base knows of them, and what is kept is drawn at random (scores that do without chose worse than "
        f"chance where they were measured); add a column {column} to have them chosen"
    )


def _require_enough(options: WhichDataOptions, facts: FactSet) -> None:
    """Refuse facts so few that none would be kept."""
    if int(options.share * len(facts) + 1e-9):
        return
    aside = facts.left_out
    rows = f"{len(aside)} rows were" if len(aside) > 1 else "1 row was"
    why = f" ({rows} set aside: {aside[0].where}: {aside[0].reason})" if aside else ""
    raise InputError(
        f"{options.facts}: {len(facts)} fact{'s' * (len(facts) != 1)}{why}; to keep {options.share:g} of "
        f"them takes {math.ceil(1 / options.share)} or more"
    )


def _own_book(options: WhichDataOptions, facts: FactSet) -> Phrasebook | None:
    if options.phrasebook is None:
        return None
    named = None
    if options.limit is not None:  # own wordings may name any relation that the whole file has
        columns = mapping(options.columns)
        named = FactSet.load(options.facts, columns=columns, subjects=False).relations
    return load_phrasebook(options.phrasebook, facts, relations=named)


def choose_facts(options: WhichDataOptions, ready: ReadyCandidates, home: Path) -> ChosenFacts:
    """Score the candidates, or take the scores that an earlier run left in ``home``, and choose.

    Raises:
        InputError: the score that is to choose says nothing of any fact.
    """
    facts = ready.candidates.facts
    names = tuple(dict.fromkeys((ready.score, *options.also)))
    values, classes = _scored(ready.candidates, names, home / TABLE)
    if np.isnan(values[ready.score]).all():
        raise InputError(
            f"--score {ready.score}: says nothing of any of the {len(facts)} facts; choose another score, or "
            "give more facts"
        )
    choice = choose(values[ready.score], facts, options.share, floor=options.floor, seed=options.seed)
    made = ChosenFacts(options=options, ready=ready, values=values, choice=choice, classes=classes)
    with recorded_file(home / TABLE) as temporary:
        choice_frame(made).to_parquet(temporary)
    return made


def _askable(traced: FactsWithRows, candidates: Candidates) -> tuple[FactsWithRows, list[LeftOut]]:
    """Set aside facts whose question does not fit the base with its answer."""
    fits = candidates.in_chunks(
        "Wording questions", lambda facts: np.array([p is not None for p in candidates.prompts_for(facts)])
    )
    if not fits.any():
        raise InputError(
            f"{traced.facts.name}: no question fits the base's context of {candidates.context} tokens; "
            "use another base, or a shorter --prompt-format"
        )
    index = np.flatnonzero(fits).tolist()
    reason = f"its question and answer are longer than the base's context of {candidates.context} tokens"
    aside = [LeftOut(where=traced.rows[i][1].where, reason=reason) for i in np.flatnonzero(~fits).tolist()]
    return traced.subset(index), aside


def _scored(
    candidates: Candidates, names: tuple[str, ...], path: Path
) -> tuple[dict[str, Float[ndarray, " fact"]], Int[ndarray, " fact"]]:
    """Return each score of the facts, and the class of what the base knows of each."""
    if are_valid([path], lambda: pd.read_parquet(path)):
        table, ids = pd.read_parquet(path), tuple(fact.id for fact in candidates.facts)
        if {*names, CLASS} <= set(table) and tuple(table["fact_id"]) == ids:
            return {name: table[name].to_numpy(np.float64) for name in names}, table[CLASS].to_numpy(np.int64)
    classes = knowledge_classes(candidates)
    return {name: SCORES[name](candidates) for name in names}, classes


def choice_frame(made: ChosenFacts) -> pd.DataFrame:
    """Lay a choice out, a row a candidate."""
    facts = made.facts
    return pd.DataFrame(
        {
            "fact_id": [fact.id for fact in facts],
            "where": [row.where for _, row in made.ready.traced.rows],
            "subject": [fact.subject for fact in facts],
            "relation": [fact.relation for fact in facts],
            "answer": [fact.answer for fact in facts],
            "answer_type": answer_types(facts),
            "popularity": pd.array([fact.popularity for fact in facts], dtype="Float64"),
            CLASS: made.classes,
            **made.values,
            "rank": made.choice.rank,
            "kept": made.choice.kept,
            "why": made.choice.why,
        }
    )
