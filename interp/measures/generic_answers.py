"""Generic against specific answers: the modal answer's share, entropy, and information about the subject.

A right answer that is its relation's commonest shows no knowledge of the subject, and a model that gives one
answer to all questions of a relation is right as often as that answer is common. So, within each relation:

- ``modal``: the answer given is the one that this model gives most often (share: 1 if it knows no other);
- ``surprisal``: -log2 of how often this answer is given; its mean is the entropy of the answers (bits);
- ``information``: log2 p(given, right) / (p(given) p(right)), less what answers dealt out at random would
  have by chance (Vinh, Epps & Bailey 2010); its mean is how much what is said tells of the right answer,
  hence of the subject (bits; 0 of a generic model, negative by chance);
- ``uncommon``: the right answer is not the relation's commonest.

Each is a number a fact, so that means over facts and their intervals are made as those of any other column.
The mean of the pointwise values is the entropy and the mutual information itself, and they are its influence
function, so the interval of their mean is that of the measure to first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information


@dataclass(frozen=True, kw_only=True)
class AnswerGenericness:
    """What each answer that a model gave says of its subject; every array is [fact], bits where not Bool."""

    modal: Bool[ndarray, " fact"]
    surprisal: Float[ndarray, " fact"]
    information: Float[ndarray, " fact"]
    uncommon: Bool[ndarray, " fact"]


def answer_genericness(
    relations: Sequence[str], given: Sequence[str], right: Sequence[str]
) -> AnswerGenericness:
    """Compare, within each relation, what a model said with how often it says so and with what is right.

    Of answers that are equally common the alphabetically first counts as the commonest.

    Args:
        relations: of each fact.
        given: what the model answered, the same string for the same answer.
        right: the right answer.
    """
    n = len(relations)
    modal, uncommon = np.zeros(n, bool), np.zeros(n, bool)
    surprisal, information = np.zeros(n), np.zeros(n)
    for relation in sorted(set(relations)):
        rows = np.array([i for i, each in enumerate(relations) if each == relation])
        said, gold = (np.array([column[i] for i in rows], dtype=object) for column in (given, right))
        modal[rows], uncommon[rows] = said == _commonest(said), gold != _commonest(gold)
        p_said, p_gold = _shares(said), _shares(gold)
        both = _shares(np.array([f"{len(s)} {s}{g}" for s, g in zip(said, gold, strict=True)], dtype=object))
        surprisal[rows] = -np.log2(p_said)
        table = contingency_matrix(gold.astype(str), said.astype(str), sparse=True)
        by_chance = expected_mutual_information(table, len(rows)) / np.log(2)
        information[rows] = np.log2(both / (p_said * p_gold)) - by_chance
    return AnswerGenericness(modal=modal, surprisal=surprisal, information=information, uncommon=uncommon)


def _commonest(values: ndarray) -> str:
    """Return the commonest value, the alphabetically first of several."""
    names, counts = np.unique(values.astype(str), return_counts=True)
    return str(names[counts.argmax()])


def _shares(values: ndarray) -> Float[ndarray, " row"]:
    """Return how large a share of the rows has each row's value."""
    _, member, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    return counts[member] / len(values)
