"""Does "train on the popular half" still hold in a domain whose facts are nearly all rare?

    python analyses/long_tail_domain.py --out runs/domain
    python analyses/long_tail_domain.py --facts popqa.tsv --limit 4000 --out runs/domain-popqa

1. Make a world of general subjects with popular facts, and of a domain: other subjects, other relations, each
   fact met a few times. Pretrain one base on both.
2. From it fine-tune, in sets of one size, on the domain's popular, unpopular or a random half; on the general
   facts that are most popular; and on an even mix of these and the domain's popular half. Also on all of the
   domain, for as many steps.
3. Ask held-out facts of the domain, by quartile of its own popularity, and general ones as the cost.

With --facts: the domain is the half of the relations whose median popularity is lowest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.lab.experiment import Experiment, FactsOptions, main
from analyses.lab.grid import Cell
from analyses.making import SHUFFLED
from finetune.domains import DomainConfig, domain_world, rare_relations
from finetune.facts import FactSet, InputError
from finetune.options import Positive, refuse_unread
from finetune.popularity import Partition, quartiles, split
from finetune.presets import WORLDS

if TYPE_CHECKING:
    import pandas as pd

    from analyses.bench import Bench
    from analyses.making import Setting
    from interp.study import Study

BASE = "base"
WITHIN = ("top", "bottom", "random", "whole")
OUTSIDE = ("general_top", "mixed")
FEWEST_OF_RELATION = 10  # facts below which a real relation is in neither half


@dataclass(frozen=True, kw_only=True)
class Options(FactsOptions):
    """Does "train on the popular half" still hold in a domain whose facts are nearly all rare?"""

    out: Path = Path("runs/long_tail_domain")
    """Run directory; the same command continues it."""
    sightings: Positive = 20.0
    """How often pretraining meets the median fact of a world's domain."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.facts is None and self.exponent is not None:
            raise InputError("--exponent: goes with --facts; a world's popularity is its expected sightings")
        if self.facts is not None:
            refuse_unread(self, ("sightings",), "is a setting of a world's domain; leave it or --facts out")

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return f"world {self.world} with a domain of rare facts"

    @property
    def domain(self) -> DomainConfig:
        """Three fifths of the world's subjects and relations are general, the rest are the domain's."""
        world = WORLDS[self.world].world
        if self.full:
            world = replace(world, subjects=2 * world.subjects)
        return DomainConfig(
            world=world,
            general=world.subjects * 3 // 5,
            relations=max(1, world.relations * 3 // 5),
            sightings=self.sightings,
        )


def cells(options: Options) -> list[Cell]:
    """One cell per arm, or base, and seed; seeds vary first, so that processes do not wait for one base."""
    dealt = tuple(SHUFFLED + half for half in WITHIN[:2]) if options.placebo else ()
    return [Cell.of(seed, arm=arm) for arm in (BASE, *WITHIN, *OUTSIDE, *dealt) for seed in options.seeds]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune one arm and ask the held-out facts of the domain and the general ones."""
    from analyses.bench import make_bench, tune
    from analyses.lab.measured import held_out

    setting, domain, general, rows = setting_of(options, cell.seed)
    bench = make_bench(setting, cache=options.bases, seed=cell.seed)
    # The domain is what is to be served, so its facts choose the checkpoint.
    bench = replace(bench, parts=replace(bench.parts, validation=of(bench.parts.validation, domain)))
    test = of(bench.parts.test, (*domain, *general))
    name, paths, about = cell.params["arm"], {}, {}
    if name != BASE:
        made = arms(options, bench.parts, domain, general, seed=cell.seed)[name]
        arm = tune(bench, made, home / "arm", name=cell.key)
        paths[name] = arm.path
        about = {"size": len(made), "step": arm.step, "training_loss": arm.training_loss}
    _, frame = held_out(bench, paths, home, test=test, names=(name,), batch_tokens=options.batch_tokens)
    return placed(frame, bench, domain, rows).assign(**about)


def setting_of(options: Options, seed: int) -> tuple[Setting, tuple[str, ...], tuple[str, ...], int]:
    """Resolve one seed's facts and base; the domain's relations, the general ones, and pretraining's rows."""
    from analyses.making import setting_for

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


def of(facts: FactSet, relations: tuple[str, ...]) -> FactSet:
    """Keep the facts of some relations."""
    return facts.subset([i for i, fact in enumerate(facts) if fact.relation in relations])


def arms(
    options: Options, parts: Partition, domain: tuple[str, ...], general: tuple[str, ...], *, seed: int
) -> dict[str, FactSet]:
    """Split the domain's training facts, and take as many general ones, the most popular.

    Raises:
        InputError: there are too few facts for that.
    """
    from analyses.bench import FEWEST

    inside, outside = of(parts.train, domain), of(parts.train, general)
    test = of(parts.test, domain)
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
    made["mixed"] = mixed(made["top"], made["general_top"], seed=seed)
    return made


def mixed(first: FactSet, second: FactSet, *, seed: int) -> FactSet:
    """Draw half of each of two sets of one size; the first gives the odd fact."""
    rng = np.random.default_rng([seed, 33])
    shares = ((first, (len(first) + 1) // 2), (second, len(first) // 2))
    drawn = [some[int(i)] for some, n in shares for i in sorted(rng.permutation(len(some))[:n])]
    return FactSet(facts=tuple(drawn), name="half domain, half general")


def placed(frame: pd.DataFrame, bench: Bench, domain: tuple[str, ...], rows: int) -> pd.DataFrame:
    """Say of each held-out fact if it is of the domain, its quartile there, and its expected sightings."""
    from finetune.examples import sampling_weights

    setting = bench.setting
    weights = sampling_weights(setting.facts, setting.text.exponent) * rows
    sightings = {fact.id: weight for fact, weight in zip(setting.facts, weights.tolist(), strict=True)}
    inside = of(bench.parts.test, domain)
    quartile = dict(zip((fact.id for fact in inside), quartiles(inside).tolist(), strict=True))
    return frame.assign(
        domain=frame["relation"].isin(domain),
        domain_quartile=frame["fact_id"].map(quartile).astype("Int64"),
        sightings=frame["fact_id"].map(sightings),
    )


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each arm's accuracy and attention in the domain and outside, and what arms differ by."""
    from analyses.lab.numbers import summed_up
    from analyses.pages.domain import bounds, one_seed

    return summed_up(frame, one_seed, bounds)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and the quartiles as curves."""
    from analyses.pages.domain import page

    return page(frame, results)


EXPERIMENT = Experiment(
    name="long_tail_domain", options=Options, cells=cells, measure=measure, summarise=summarise, study=study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("long_tail_domain"))
