"""Asking a loaded model held-out facts: what it states, and a row for everything that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common.progress import progress_bar
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt
from finetune.data.splits import quartiles
from finetune.evaluation.generate import ask, states_fact


def knows_statements(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    phrasebook: Phrasebook,
    *,
    told: str,
) -> np.ndarray:
    """Return which facts a model completes every statement form of, Bool [fact].

    Args:
        model: the plain model.
        tokenizer: its own.
        facts: what to ask.
        phrasebook: the statement forms of every relation.
        told: the model's name beside a progress bar.
    """
    n = sum(len(phrasebook[fact.relation].statements) for fact in facts)
    with progress_bar(f"Asking {told} for statements", total=n) as advance:
        return states_fact(model, tokenizer, facts, phrasebook, advance=advance)


def answer_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    prompts: Sequence[Prompt],
    *,
    told: str,
    **options: Any,
) -> pd.DataFrame:
    """Ask a model facts, one prompt each: a row a fact with what it said and whether that is right.

    Args:
        model: the plain model.
        tokenizer: its own.
        facts: what to ask.
        prompts: how, one for each fact.
        told: what the model is called in the progress bar.
        options: further ones of :func:`finetune.evaluation.generate.ask`.
    """
    with progress_bar(f"Asking {told}", total=len(prompts)) as advance:
        said = ask(model, tokenizer, prompts, advance=advance, **options)
    return pd.DataFrame(
        {
            "fact_id": [fact.id for fact in facts],
            "subject": [fact.subject for fact in facts],
            "relation": [fact.relation for fact in facts],
            "answer": [fact.answer for fact in facts],
            "popularity": pd.array([fact.popularity for fact in facts], dtype="Float64"),
            "quartile": pd.array(_quartiles(facts), dtype="Int64"),
            "prediction": said.predictions,
            "given": said.given,
            "correct": said.correct,
            "exact": said.exact,
            "contains": said.contained,
            "log_prob": said.log_prob,
        }
    )


def with_known(frame: pd.DataFrame, known: Sequence[bool]) -> pd.DataFrame:
    """Add which facts the base knows, in front of what was said."""
    rest = frame.drop(columns="known", errors="ignore")
    rest.insert(rest.columns.get_loc("prediction"), "known", list(known))  # type: ignore[arg-type]
    return rest


def lost_facts(top: pd.DataFrame, bottom: pd.DataFrame) -> list[str]:
    """Name the facts that only the top arm gets right."""
    one, other = (rows.set_index("fact_id")["correct"] for rows in (top, bottom))
    lost = one & ~other
    return list(lost[lost].index)


def with_recovery(frame: pd.DataFrame, outcome: Mapping[str, Mapping[str, bool]]) -> pd.DataFrame:
    """Add the transplant's outcome to the rows of the bottom arm that only the top arm gets right."""
    facts = frame["fact_id"].where(frame["arm"] == "bottom")
    columns = {
        name: facts.map({i: found.get(name) for i, found in outcome.items()}).astype("boolean")
        for name in ("recovered", "placebo_recovered")
    }
    return frame.assign(**columns)


def _quartiles(facts: FactSet) -> list[int | None]:
    """Return popularity quartiles (1 = most popular), or None for all where popularity is unknown."""
    if any(fact.popularity is None for fact in facts):
        return [None] * len(facts)
    return [int(q) for q in quartiles(facts)]
