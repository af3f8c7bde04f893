"""Forms of asking: their wording, how many facts each finds, which are kept, and what is known by them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import find_subject
from finetune.evaluation.consistency import HIGHLY, MAYBE, WEAKLY

Known = Literal["highly", "maybe", "weakly"]
CUTS: dict[Known, int] = {"highly": HIGHLY, "maybe": MAYBE, "weakly": WEAKLY}
SHOTS, DRAWS, PROBES = (0, 2, 4, 8), 4, 48  # examples, draws of them, training facts that compare forms
MOST_FORMS, WORTH = 4, 0.02  # forms that are kept a relation, and the share of facts that one more must add
SPECIFIC = 0.95  # the share of other subjects for which a specific answer is less likely
_IS = re.compile(r"(what|who|which) (?P<verb>is|was|are|were) the (?P<what>.+?)\s*\?", re.I)


@dataclass(frozen=True, order=True)
class AskingForm:
    """One way to ask: a kind of wording (a statement by its number) and how many solved examples."""

    kind: str
    shots: int

    @classmethod
    def parse(cls, text: str) -> AskingForm:
        """Read what ``str`` writes."""
        kind, _, shots = text.partition(", ")
        return cls(kind, int(shots.split()[0]) if shots else 0)

    def __str__(self) -> str:
        return f"{self.kind}, {self.shots} examples" if self.shots else self.kind


@dataclass(frozen=True, kw_only=True)
class FormYield:
    """How many training facts of a relation a form finds, right and specific, and whether it is kept."""

    relation: str
    form: AskingForm
    found: int
    n: int
    kept: bool


@dataclass(frozen=True, kw_only=True)
class FormAnswers:
    """What was said of facts in one form, by draw of its examples, the texts of the first draw.

    ``own`` is log p (nats) of the canonical answers in the first draw, ``sampled`` how probably a sample says
    them in each; NaN and 0 where a prompt does not fit the context.
    """

    form: AskingForm
    right: Bool[ndarray, "fact draw"]
    said: list[str]
    own: Float[ndarray, " fact"]
    sampled: Float[ndarray, "fact draw"]


@dataclass(frozen=True, kw_only=True)
class Elicited:
    """What the base knows of each fact.

    ``degree`` is a place in :data:`finetune.evaluation.consistency.CLASSES`; ``right`` the share of answers
    that are right; ``above`` the share of other subjects for which the answer is less likely, in the best of
    the forms in which it is right, NaN where it was not compared. ``said`` is what was said in the best form,
    ``forms`` what each form finds.
    """

    degree: Int[ndarray, " fact"]
    right: Float[ndarray, " fact"]
    above: Float[ndarray, " fact"]
    said: tuple[str, ...]
    forms: tuple[FormYield, ...]

    @property
    def specific(self) -> Bool[ndarray, " fact"]:
        """Whether an answer is tied to its subject; true where too few other subjects could tell."""
        return is_specific(self.above)

    def known(self, cut: Known = "maybe") -> Bool[ndarray, " fact"]:
        """Return which facts are known to a degree, and specifically."""
        return (self.degree >= CUTS[cut]) & self.specific


def is_specific(above: Float[ndarray, " fact"]) -> Bool[ndarray, " fact"]:
    """Say which answers are likelier than for enough other subjects; true where these are too few to tell."""
    return ~(above < SPECIFIC)


def statement_prompts(facts: Iterable[Fact], book: Phrasebook, form: AskingForm) -> dict[str, Prompt] | None:
    """Word facts as a form's statement; None where the form asks a question."""
    if form.kind == "restated":
        return {fact.id: prompt for fact in facts if (prompt := restated(fact)) is not None}
    if not form.kind.startswith("statement"):
        return None
    k = int(form.kind.split()[1]) - 1
    return {fact.id: render(book[fact.relation].statements[k], fact) for fact in facts}


def restated(fact: Fact) -> Prompt | None:
    """Turn a fact's own question into the beginning of its answer; None where that needs grammar.

    Examples:
        >>> question = "What is the capital of Kenya?"
        >>> fact = Fact(id="1", subject="Kenya", relation="fact", answers=("Nairobi",), question=question)
        >>> restated(fact).text
        'The capital of Kenya is'
    """
    found = _IS.fullmatch(unicodedata.normalize("NFC", fact.question or "").strip())
    text = "" if found is None else f"The {found['what']} {found['verb'].lower()}"
    span = find_subject(fact.subject, text)
    if span is None:
        return None
    return Prompt(text=text, subject=span, answers=fact.answers, fact_id=fact.id, relation=fact.relation)


def told_known(cut: Known) -> str:
    """Say what counts as known, for pages and tables."""
    under = {
        "highly": "under every one of several prompts with solved examples",
        "maybe": "under at least one of several prompts with solved examples",
        "weakly": "under one of several prompts with solved examples, or in a likely sample",
    }
    return (
        f"known is what the base answers right {under[cut]}, and more likely for this subject than for others"
    )


def split_pool(pool: FactSet) -> tuple[FactSet, FactSet]:
    """Split training facts into those that forms are compared on, and those that are shown."""
    names = list(dict.fromkeys(fact.subject.casefold() for fact in pool))
    shown = set(names[: max(8, len(names) // 2)])
    sides: tuple[list[int], list[int]] = [], []
    for i, fact in enumerate(pool):
        sides[fact.subject.casefold() in shown].append(i)
    return pool.subset(sides[0]), pool.subset(sides[1])


def cover(found: Bool[ndarray, "form fact"], worth: float = WORTH) -> list[int]:
    """Choose forms greedily by how many facts each adds, as long as that is ``worth`` a form."""
    kept: list[int] = []
    covered = np.zeros(found.shape[1], bool)
    while len(kept) < MOST_FORMS:
        gains = (found & ~covered).sum(1)
        best = int(gains.argmax())
        if kept and gains[best] < max(1.0, worth * found.shape[1]):
            break
        kept.append(best)
        covered |= found[best]
    return kept


def bound_prompts(facts: FactSet, book: Phrasebook) -> int:
    """Bound how many prompts are asked: training facts in every form, the facts in the kept ones."""
    forms = sum(len(SHOTS) * (3 + len(book[relation].statements)) for relation in facts.relations)
    return forms * PROBES + MOST_FORMS * DRAWS * len(facts)
