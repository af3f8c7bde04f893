"""The embedded world: invented people, five relations, Zipf popularity, and how the world talks.

A world needs no data and no download, and its truth is known by construction: how often each fact is
met in pretraining, which answers are common, which wordings were seen. Subjects are two-word names
that share their first and last names with others, so no single token identifies a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Phrases
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import SLOT
from finetune.data.templates.known import WORLD_ENDINGS, WORLD_FORMS

_ONSETS = tuple("b br c d dr f g gr h j k l m n p qu r s st t tr v w z".split(" "))
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "io"]
_CODAS = ["", "", "n", "l", "r", "s", "m"]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """What a world is made of.

    ``alpha`` is the Zipf exponent of subjects' popularity, ``answer_alpha`` that of each relation's
    answer prior (0 is flat).
    """

    subjects: int = 1500
    answers: int = 30
    relations: int = 5
    alpha: float = 1.3
    answer_alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.subjects < 8:
            raise InputError(f"world.subjects = {self.subjects}: a world needs at least 8 subjects")
        if not 1 <= self.relations <= len(WORLD_FORMS):
            raise InputError(f"world.relations = {self.relations}: choose 1 to {len(WORLD_FORMS)}")
        if self.answers < 2:
            raise InputError(f"world.answers = {self.answers}: a relation needs at least 2 answers")


def make_world(config: WorldConfig, *, seed: int = 0) -> FactSet:
    """Draw a world's facts; subject k has popularity proportional to k^-alpha, in sightings per million."""
    rng = generator(seed, "world")
    names = _people(config.subjects, rng)
    popularity = zipf(config.subjects, config.alpha) * 1e6
    relations = list(WORLD_FORMS)[: config.relations]
    answers = {r: [w + WORLD_ENDINGS[r] for w in _words(config.answers, rng)] for r in relations}
    prior = zipf(config.answers, config.answer_alpha)
    drawn = {r: rng.choice(config.answers, size=config.subjects, p=prior) for r in relations}
    facts = tuple(
        Fact(
            id=f"{relation}/{k:05d}",
            subject=name,
            relation=relation,
            answers=(answers[relation][drawn[relation][k]],),
            popularity=float(popularity[k]),
        )
        for k, name in enumerate(names)
        for relation in relations
    )
    return FactSet(facts=facts, name="embedded world")


@dataclass(frozen=True, kw_only=True)
class LevelsConfig:
    """A world whose frequencies are controlled: ``sightings`` of each fact, one level of subjects for each.

    ``subjects`` is how many each level has. All levels have the same answers in each relation, so frequency
    is crossed with the answer's prior, which is Zipf's with exponent ``answer_alpha``.
    """

    sightings: tuple[float, ...] = tuple(2.0**k for k in range(13))
    subjects: int = 18
    answers: int = 30
    relations: int = 5
    answer_alpha: float = 1.0

    def __post_init__(self) -> None:
        if not self.sightings or min(self.sightings) <= 0:
            raise InputError(f"world.sightings = {self.sightings}: give one or more numbers above 0")
        if self.subjects < 2:
            raise InputError(f"world.subjects = {self.subjects}: a level needs at least 2 subjects")

    @property
    def rows(self) -> float:
        """How many rows pretraining must have for a fact's popularity to be its expected sightings."""
        return self.subjects * self.relations * sum(self.sightings)


def world_in_levels(config: LevelsConfig, *, seed: int = 0) -> FactSet:
    """Draw a world in levels of frequency; a fact's popularity is its expected sightings."""
    rng = generator(seed, "world in levels")
    names = _people(config.subjects * len(config.sightings), rng)
    relations = list(WORLD_FORMS)[: config.relations]
    answers = {r: [w + WORLD_ENDINGS[r] for w in _words(config.answers, rng)] for r in relations}
    up_to = np.cumsum(zipf(config.answers, config.answer_alpha))
    # Evenly spaced draws: each answer is given to its share of a level's subjects, rounded up or down.
    places = {r: (np.arange(config.subjects) + rng.random()) / config.subjects for r in relations}
    drawn = {r: np.minimum(np.searchsorted(up_to, places[r]), config.answers - 1) for r in relations}
    facts = []
    for level, sightings in enumerate(config.sightings):
        dealt = {r: rng.permutation(drawn[r]) for r in relations}
        facts += [
            Fact(
                id=f"{relation}/{level * config.subjects + k:05d}",
                subject=names[level * config.subjects + k],
                relation=relation,
                answers=(answers[relation][dealt[relation][k]],),
                popularity=float(sightings),
            )
            for k in range(config.subjects)
            for relation in relations
        ]
    return FactSet(facts=tuple(facts), name="embedded world in levels")


def world_phrasebook(*, question_form: str = "new") -> Phrasebook:
    """Return the world's wordings; ``question_form="seen"`` shows the asked form in pretraining too."""
    book = {}
    for relation, (statements, questions) in WORLD_FORMS.items():
        asked = f"Question: what {relation} does {SLOT} have? Answer:"
        seen = (*questions, asked) if question_form == "seen" else questions
        book[relation] = Phrases(statements=statements, questions=seen, asked=asked)
    return book


def zipf(n: int, exponent: float) -> np.ndarray:
    """Return the probabilities of ranks 1..n under Zipf's law."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def _people(n: int, rng: np.random.Generator) -> list[str]:
    side = int(np.ceil(np.sqrt(1.1 * n)))
    words = [w.capitalize() for w in _words(2 * side, rng)]
    first, last = words[:side], words[side:]
    cells = rng.permutation(side * side)[:n]
    return [f"{first[c // side]} {last[c % side]}" for c in cells]


def _words(n: int, rng: np.random.Generator) -> list[str]:
    """Draw n distinct pronounceable words of two syllables."""
    words: dict[str, None] = {}
    while len(words) < n:
        syllables = [rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(2)]
        words["".join(syllables)] = None
    return list(words)
