"""A domain whose facts are nearly all rare: made beside popular subjects, or found among real relations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.synthetic_world import WorldConfig, make_world, zipf


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """A world of general subjects on some relations, and of a domain's subjects on the others.

    ``general`` of the ``world``'s subjects have facts of its first ``relations``, the rest those of the
    remaining ones. ``sightings`` is how often pretraining meets the domain's median fact, and ``alpha`` the
    Zipf exponent of popularity within the domain.
    """

    world: WorldConfig
    general: int = 900
    relations: int = 3
    sightings: float = 20.0
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 8 <= self.general <= self.world.subjects - 8:
            raise InputError(
                f"domain.general = {self.general}: leave at least 8 of {self.world.subjects} subjects "
                "on each side"
            )
        if not 1 <= self.relations < self.world.relations:
            raise InputError(
                f"domain.relations = {self.relations}: leave at least one of {self.world.relations} "
                "relations to the domain"
            )
        if self.sightings <= 0:
            raise InputError(f"domain.sightings = {self.sightings}: give a number above 0")


def domain_world(config: DomainConfig, *, rows: int, seed: int = 0) -> tuple[FactSet, tuple[str, ...]]:
    """Draw general facts and a domain's, no subject in both; a fact's popularity is its expected sightings.

    They are expected in ``rows`` rows of pretraining: the domain's median fact has the wanted number, and
    general facts share the rows that are left by Zipf's law.

    Returns:
        The facts, and the domain's relations.

    Raises:
        InputError: the domain alone needs as many rows as there are.
    """
    drawn = make_world(config.world, seed=seed)
    # Facts of one subject follow one another, in the order of the world's relations.
    relations = tuple(fact.relation for fact in drawn[: config.world.relations])
    common, own = relations[: config.relations], relations[config.relations :]
    rare = zipf(config.world.subjects - config.general, config.alpha)
    rare *= config.sightings / np.median(rare)
    left = rows - len(own) * rare.sum()
    if left <= 0:
        raise InputError(
            f"domain.sightings = {config.sightings:g}: the domain alone needs {len(own) * rare.sum():.0f} of "
            f"{rows} rows; give fewer sightings or more pretraining steps"
        )
    popularity = np.concatenate([zipf(config.general, config.world.alpha) * left / len(common), rare])
    facts = tuple(
        replace(fact, popularity=float(popularity[subject]))
        for subject in range(config.world.subjects)
        for fact in drawn[subject * len(relations) : (subject + 1) * len(relations)]
        if fact.relation in (common if subject < config.general else own)
    )
    return FactSet(facts=facts, name="embedded world with a domain of rare facts"), own


def rare_relations(facts: FactSet, *, fewest: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part real relations into those whose median popularity is lowest, and the others.

    Only relations with ``fewest`` facts count; of an odd number the middle one is with the popular ones.

    Returns:
        The rare half and the popular half, each from the rarest on.

    Raises:
        InputError: fewer than two relations are left, or a fact has no popularity.
    """
    if missing := [fact.id for fact in facts if fact.popularity is None]:
        raise InputError(
            f"{facts.name}: relations are ranked by popularity, which fact {missing[0]!r} lacks "
            f"({len(missing)} in all); add a column popularity, filled in every row"
        )
    found: dict[str, list[float]] = {}
    for fact in facts:
        found.setdefault(fact.relation, []).append(fact.popularity or 0.0)
    medians = {relation: median(some) for relation, some in found.items() if len(some) >= fewest}
    if len(medians) < 2:
        raise InputError(
            f"{facts.name}: {len(medians)} relations have {fewest} or more facts, and a rare and a "
            "popular one are needed; give more facts"
        )
    ranked = sorted(medians, key=lambda relation: (medians[relation], relation))
    half = len(ranked) // 2
    return tuple(ranked[:half]), tuple(ranked[half:])
