"""Proxies for how often a fact was met in pretraining, by name, for data that bring no popularity.

Each gives one number a fact: counts where something can be counted, a score of :mod:`interp.selection` where
the base model is asked. They are put in place of ``Fact.popularity`` by :func:`with_popularity`; numbers that
may be below zero go through the exponential, which keeps their order.
:mod:`analyses.experiments.popularity_proxies.numbers` says how far they agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import rankdata

from analyses.experiments.popularity_proxies.inputs import ProxyInputs
from finetune.common.errors import InputError, LeftOut
from finetune.common.progress import progress_bar
from finetune.data.corpus_counts import answer_frequency, subject_frequency
from finetune.data.facts import FactSet
from finetune.data.splits import shuffle_popularity
from interp.selection.scores import SCORES

PLACEBO = "shuffled"
_FARTHEST = 700.0  # nats; beyond them the exponential of a float is 0 or infinite


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One proxy: what it measures, what it needs, and whether its numbers may be below zero."""

    what: str
    values: Callable[[ProxyInputs], Float[ndarray, " fact"]]
    needs: Literal["", "base", "corpus"] = ""
    signed: bool = False


def measure(
    name: str,
    facts: FactSet,
    *,
    base: str | Path | None = None,
    corpus: str | Path | None = None,
    **settings: Any,
) -> Float[ndarray, " fact"]:
    """Measure one proxy; a fact that it says nothing about is NaN.

    Args:
        name: one of :data:`PROXIES`.
        facts: what to measure.
        base: checkpoint directory or hub id, for proxies that ask the base model.
        corpus: text file, JSON lines, either gzipped, or a directory of them, for counts.
        settings: further fields of :class:`ProxyInputs`.

    Raises:
        InputError: an unknown proxy, one that needs what is not given, or what that thing itself raises.
    """
    require_proxies((name,), base=base, corpus=corpus)
    material = ProxyInputs(facts=facts, base=base, corpus=corpus, **settings)
    return np.asarray(PROXIES[name].values(material), dtype=np.float64)


def measure_proxies(names: Iterable[str], material: ProxyInputs) -> pd.DataFrame:
    """Measure several proxies and, as the placebo, the first one dealt out among the subjects anew.

    Returns:
        A row a fact: fact_id, subject, relation, and a column for each proxy.
    """
    names = tuple(dict.fromkeys(names))
    require_proxies(names, base=material.base, corpus=material.corpus)
    facts = material.facts
    columns: dict[str, Any] = {
        "fact_id": [fact.id for fact in facts],
        "subject": [fact.subject for fact in facts],
        "relation": [fact.relation for fact in facts],
    }
    with progress_bar("Measuring proxies", total=len(names)) as advance:
        for done, name in enumerate(names):
            columns[name] = np.asarray(PROXIES[name].values(material), dtype=np.float64)
            advance(done + 1)
    return pd.DataFrame({**columns, PLACEBO: _placebo(facts, columns[names[0]], material.seed)})


def with_popularity(facts: FactSet, values: Float[ndarray, " fact"], name: str) -> FactSet:
    """Put a proxy's numbers in the place of popularity.

    Popularity must not be below zero: numbers of a proxy in nats or logits go through the exponential (so
    that log p(answer) becomes p(answer)), which changes no order. A fact without a number is left out.

    Raises:
        InputError: not one number a fact, no fact has one, or one is below zero and ``name`` is no proxy
            that may be.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(facts),):
        raise InputError(
            f"{facts.name}: {len(facts)} facts but {values.size} numbers of {name}; give one each"
        )
    if name in PROXIES and PROXIES[name].signed:
        values = np.exp(np.clip(values, -_FARTHEST, _FARTHEST))
    if (below := np.flatnonzero(values < 0)).size:
        raise InputError(
            f"{name}: {values[below[0]]:g} of fact {facts[int(below[0])].id!r} is below zero, which "
            "popularity cannot be; give numbers of at least 0, such as the exponentials of these"
        )
    there = np.isfinite(values)
    if not there.any():
        raise InputError(f"{facts.name}: {name} says nothing of any fact; choose another proxy")
    made = tuple(
        replace(fact, popularity=float(value))
        for fact, value, kept in zip(facts, values, there, strict=True)
        if kept
    )
    missing = tuple(
        LeftOut(where=fact.id, reason=f"{name} says nothing of it")
        for fact, kept in zip(facts, there, strict=True)
        if not kept
    )
    return replace(facts, facts=made, name=f"{facts.name} by {name}", left_out=(*facts.left_out, *missing))


def require_proxies(
    names: Iterable[str], *, base: str | Path | None = None, corpus: str | Path | None = None
) -> None:
    """Refuse proxies that are unknown or lack what they need.

    Raises:
        InputError: names the proxy and the option to give.
    """
    given = {"": True, "base": base is not None, "corpus": corpus is not None}
    for name in names:
        if name not in PROXIES:
            raise InputError(f"popularity = {name!r}: choose one of {', '.join(PROXIES)}")
        if not given[PROXIES[name].needs]:
            need = PROXIES[name].needs
            raise InputError(f"popularity = {name!r}: needs a {need}; give --{need}, or choose another proxy")


def _views(material: ProxyInputs) -> Float[ndarray, " fact"]:
    facts = material.facts
    found = np.array([np.nan if f.popularity is None else f.popularity for f in facts], dtype=np.float64)
    if np.isnan(found).all():
        raise InputError(
            f"{facts.name}: brings no popularity; add a column popularity, or choose another proxy"
        )
    return found


def _asking(what: str, score: str) -> Proxy:
    # Computed and not called, for a call refuses facts that name no relation: what the base knows of those is
    # decided in the same statement forms.
    def values(material: ProxyInputs) -> Float[ndarray, " fact"]:
        return SCORES[score].compute(material.candidates)

    return Proxy(what=what, values=values, needs="base", signed=True)


def _placebo(facts: FactSet, values: Float[ndarray, " fact"], seed: int) -> Float[ndarray, " fact"]:
    """Deal the ranks of the subjects' largest values out among the subjects; ranks are never below zero."""
    ranks = rankdata(np.nan_to_num(values, nan=-np.inf))
    held = tuple(replace(fact, popularity=float(rank)) for fact, rank in zip(facts, ranks, strict=True))
    return np.array(
        [fact.popularity for fact in shuffle_popularity(replace(facts, facts=held), seed=seed)], np.float64
    )


PROXIES: dict[str, Proxy] = {
    "views": Proxy(what="the data's own popularity, such as page views", values=_views),
    "corpus": Proxy(
        what="mentions of the subject in a corpus", values=lambda m: m.counts.subject, needs="corpus"
    ),
    "cooccurrence": Proxy(
        what="documents of a corpus that name both subject and answer",
        values=lambda m: m.counts.together,
        needs="corpus",
    ),
    "subject_frequency": Proxy(
        what="facts of the data set about the subject", values=lambda m: subject_frequency(m.facts)
    ),
    "answer_frequency": Proxy(
        what="facts of the data set with the answer", values=lambda m: answer_frequency(m.facts)
    ),
    "confidence": _asking("log p(answer) after the question, at the base", "question"),
    "confidence_few": _asking("the same after solved examples of the relation", "few_shot"),
    "statement": _asking(
        "log p(answer) after a statement, averaged over statement forms, at the base", "statement"
    ),
    "salience": _asking(
        "value readout of the answer from the subject, summed over heads, at the base", "readout"
    ),
}
