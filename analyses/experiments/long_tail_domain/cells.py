"""Cells of long_tail_domain: what is trained, and what each cell measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.common.held_out import measure_held_out
from analyses.common.options import SHUFFLED
from analyses.common.training_setup import (
    FEWEST,
    TrainingSetup,
    WorldSetting,
    fine_tune,
    make_training_setup,
    setting_for,
)
from analyses.experiments.long_tail_domain.options import LongTailDomainOptions
from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.splits import Partition, quartiles, split
from finetune.data.synthetic_domains import domain_world, rare_relations
from finetune.training.examples import sampling_weights

BASE = "base"
WITHIN = ("top", "bottom", "random", "whole")
OUTSIDE = ("general_top", "mixed")
FEWEST_OF_RELATION = 10  # facts below which a real relation is in neither half


def cells(options: LongTailDomainOptions) -> list[GridCell]:
    """One cell per arm, or base, and seed; seeds vary first, so that processes do not wait for one base."""
    dealt = tuple(SHUFFLED + half for half in WITHIN[:2]) if options.placebo else ()
    return [GridCell.of(seed, arm=arm) for arm in (BASE, *WITHIN, *OUTSIDE, *dealt) for seed in options.seeds]


def measure(options: LongTailDomainOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune one arm and ask the held-out facts of the domain and the general ones."""
    setting, domain, general, rows = setting_of(options, cell.seed)
    setup = make_training_setup(setting, cache=options.bases, seed=cell.seed)
    # The domain is what is to be served, so its facts choose the checkpoint.
    setup = replace(
        setup, parts=replace(setup.parts, validation=facts_of_relations(setup.parts.validation, domain))
    )
    test = facts_of_relations(setup.parts.test, (*domain, *general))
    name, paths, about = cell.params["arm"], {}, {}
    if name != BASE:
        made = arms(options, setup.parts, domain, general, seed=cell.seed)[name]
        arm = fine_tune(setup, made, home / "arm", name=cell.key)
        paths[name] = arm.path
        about = {"size": len(made), "step": arm.step, "training_loss": arm.training_loss}
    _, frame = measure_held_out(
        setup, paths, home, test=test, names=(name,), batch_tokens=options.batch_tokens
    )
    return place_facts(frame, setup, domain, rows).assign(**about)


def setting_of(
    options: LongTailDomainOptions, seed: int
) -> tuple[WorldSetting, tuple[str, ...], tuple[str, ...], int]:
    """Resolve one seed's facts and base; the domain's relations, the general ones, and pretraining's rows."""
    if options.facts is not None:
        facts = options.load(options.facts, limit=options.limit)
        setting = setting_for(options, facts, seed)
        rows = setting.base.steps * setting.base.batch
        return setting, *rare_relations(facts, fewest=FEWEST_OF_RELATION), rows
    setting = setting_for(options, None, seed)
    rows = setting.base.steps * setting.base.batch
    facts, domain = domain_world(options.domain, rows=rows, seed=seed)
    general = tuple(relation for relation in facts.relations if relation not in domain)
    return replace(setting, facts=facts), domain, general, rows


def facts_of_relations(facts: FactSet, relations: tuple[str, ...]) -> FactSet:
    """Keep the facts of some relations."""
    return facts.subset([i for i, fact in enumerate(facts) if fact.relation in relations])


def arms(
    options: LongTailDomainOptions,
    parts: Partition,
    domain: tuple[str, ...],
    general: tuple[str, ...],
    *,
    seed: int,
) -> dict[str, FactSet]:
    """Split the domain's training facts, and take as many general ones, the most popular.

    Args:
        options: how a half is chosen.
        parts: the facts, split by subject.
        domain: the relations of the domain.
        general: the relations that general facts are of.
        seed: of the halves.

    Raises:
        InputError: there are too few facts for that.
    """
    inside, outside = facts_of_relations(parts.train, domain), facts_of_relations(parts.train, general)
    test = facts_of_relations(parts.test, domain)
    if min(len(inside) // 2, len(test)) < FEWEST or not len(parts.validation):
        raise InputError(
            f"the domain ({', '.join(domain)}) has {len(inside)} facts to train on, "
            f"{len(parts.validation)} to validate and {len(test)} to test; give more facts"
        )
    made = options.arms(inside, seed=seed)
    size = len(made["top"])
    if len(outside) < size:
        raise InputError(
            f"there are {len(outside)} general facts to train on, and {size} are needed; give more"
        )
    made["general_top"] = split(outside, "top", fraction=size / len(outside), seed=seed)
    made["mixed"] = mix_halves(made["top"], made["general_top"], seed=seed)
    return made


def mix_halves(first: FactSet, second: FactSet, *, seed: int) -> FactSet:
    """Draw half of each of two sets of one size; the first gives the odd fact."""
    rng = generator(seed, "mixed halves")
    shares = ((first, (len(first) + 1) // 2), (second, len(first) // 2))
    drawn = [some[int(i)] for some, n in shares for i in sorted(rng.permutation(len(some))[:n])]
    return FactSet(facts=tuple(drawn), name="half domain, half general")


def place_facts(
    frame: pd.DataFrame, setup: TrainingSetup, domain: tuple[str, ...], rows: int
) -> pd.DataFrame:
    """Say of each held-out fact if it is of the domain, its quartile there, and its expected sightings.

    Args:
        frame: a row a held-out fact.
        setup: the base and its facts.
        domain: the relations of the domain.
        rows: how many texts the base was pretrained on.
    """
    setting = setup.setting
    weights = sampling_weights(setting.facts, setting.text.exponent) * rows
    sightings = {fact.id: weight for fact, weight in zip(setting.facts, weights.tolist(), strict=True)}
    inside = facts_of_relations(setup.parts.test, domain)
    quartile = dict(zip((fact.id for fact in inside), quartiles(inside).tolist(), strict=True))
    return frame.assign(
        domain=frame["relation"].isin(domain),
        domain_quartile=frame["fact_id"].map(quartile).astype("Int64"),
        sightings=frame["fact_id"].map(sightings),
    )
