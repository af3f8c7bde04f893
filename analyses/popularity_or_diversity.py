"""Is it popularity, or diversity of relations and answers? And why does a random half do nearly as well?

    python analyses/popularity_or_diversity.py --out runs/diversity

1. Halve the training facts by popularity within each relation; a third pool is all of them.
2. Draw fine-tuning sets of one size from each pool, of one relation or of all, with the relation's three
   commonest answers or with all. The size is what the smallest of these can have; which relation is the one
   rotates with the seed.
3. Fine-tune on each, ask held-out facts, and average each factor's effect over the other two.
4. Take the loss's gradient on disjoint batches of popular, unpopular and random facts: how long it is, and
   which way it points, in each group of parameters. Two batches of one kind are the placebo. This is done at
   the base, where all facts ask for the same new question form, and where a random half has taught that.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.diversity.claims import STATES
from analyses.diversity.crossed import ALL, FEW, batches, commonest, drawn, largest_size, rotated
from analyses.lab.experiment import Experiment, LabOptions, main
from analyses.lab.grid import Cell
from analyses.making import SHUFFLED
from finetune.facts import FactSet, InputError
from finetune.options import Count
from finetune.presets import WORLDS

if TYPE_CHECKING:
    import pandas as pd

    from analyses.bench import Bench
    from interp.study import Study

POOLS = {"popular": "top", "unpopular": "bottom", "random": "whole"}
DEALT = {f"shuffled {name}": SHUFFLED + POOLS[name] for name in ("popular", "unpopular")}
ARMS = "arms"
PAIRS = {
    "popular_unpopular": ("popular1", "unpopular1"),
    "random_popular": ("random1", "popular1"),
    "random_unpopular": ("random1", "unpopular1"),
    "random_random": ("random1", "random2"),
    "popular_popular": ("popular1", "popular2"),
    "unpopular_unpopular": ("unpopular1", "unpopular2"),
}


@dataclass(frozen=True, kw_only=True)
class Options(LabOptions):
    """Is it popularity, or diversity of relations and answers? Why does a random half do nearly as well?"""

    out: Path = Path("runs/popularity_or_diversity")
    """Run directory; the same command continues it."""
    relations: tuple[Count, ...] = ()
    """Numbers of relations in a set (default: 1 and all five, with --full also 2 and 3)."""
    draws: Count = 8
    """How often batches are drawn for gradients, per seed."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        have = WORLDS[self.world].world.relations
        given = self.relations
        if given and (len(set(given)) < 2 or not 1 <= min(given) <= max(given) <= have):
            raise InputError(
                f"--relations {' '.join(map(str, given))}: give two or more numbers between 1 and {have}, "
                f"which world {self.world} has"
            )

    @property
    def chosen(self) -> tuple[int, ...]:
        """The numbers of relations to measure."""
        have = WORLDS[self.world].world.relations
        some = self.relations or ((1, 2, 3, 5) if self.full else (1, 5))
        return tuple(sorted({min(count, have) for count in some}))


def cells(options: Options) -> list[Cell]:
    """One cell per fine-tuning set and seed, and two for each seed's gradients."""
    names = (*POOLS, *(DEALT if options.placebo else ()))
    crossed = [(name, count, few) for name in names for count in options.chosen for few in (ALL, FEW)]
    trained = [
        Cell.of(seed, part=ARMS, popularity=name, relations=count, answers=few)
        for name, count, few in crossed
        for seed in options.seeds
    ]
    return [*trained, *(Cell.of(seed, part=state) for state in STATES for seed in options.seeds)]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune on one set and ask the held-out facts, or take gradients at the base or a taught model."""
    from analyses.bench import make_bench, tune
    from analyses.making import setting_for

    bench = make_bench(setting_for(options, None, cell.seed), cache=options.bases, seed=cell.seed)
    part = cell.params["part"]
    if part == ARMS:
        return arm(bench, options, cell, home)
    source = bench.base
    if part == "gradients_taught":
        half = options.arms(bench.parts.train, seed=cell.seed)["random"]
        source = tune(bench, half, home / "arm", name=cell.key).path
    return gradients(bench, source, pools(options, bench.parts.train, cell.seed), options)


def pools(options: Options, train: FactSet, seed: int) -> dict[str, FactSet]:
    """Name what sets are drawn from; halves have the same mix of relations, or of answers on demand."""
    match = "relation" if options.match == "none" else options.match
    halves = replace(options, match=match).arms(train, seed=seed)
    return {name: halves[arm] for name, arm in {**POOLS, **DEALT}.items() if arm in halves}


def arm(bench: Bench, options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune on one set of the cross; say of each held-out fact whether the set had its relation.

    ``common`` is whether an answer is the one that the set has most often in the fact's relation; missing
    where the set has none of that relation.
    """
    import pandas as pd

    from analyses.bench import tune
    from analyses.lab.measured import held_out
    from finetune.evaluate import matches

    train = bench.parts.train
    pool = pools(options, train, cell.seed)
    relations = rotated(train.relations, cell.params["relations"], seed=cell.seed)
    made = drawn(
        train,
        pool[cell.params["popularity"]],
        relations,
        cell.params["answers"],
        size=largest_size(train, pool),
        seed=cell.seed,
    )
    trained = tune(bench, made, home / "arm", name=cell.key)
    _, frame = held_out(bench, {"arm": trained.path}, home, batch_tokens=options.batch_tokens)
    mode = {relation: commonest(made, relation, 1) for relation in relations}
    said = zip(frame["relation"], frame["prediction"], strict=True)
    common = [matches(text, mode[relation]) if relation in mode else None for relation, text in said]
    return frame.assign(
        common=pd.array(common, dtype="boolean"),
        trained=frame["relation"].isin(relations),
        first=frame["relation"] == relations[0],
        size=len(made),
        subjects=len({fact.subject for fact in made}),
        step=trained.step,
        training_loss=trained.training_loss,
    )


def gradients(bench: Bench, source: Path, pool: dict[str, FactSet], options: Options) -> pd.DataFrame:
    """Take a model's gradients on batches of every kind: rows of draw, group, kind, name and value."""
    import pandas as pd

    from analyses.diversity.gradients import EVERYTHING, compared
    from finetune.models import load_model
    from interp.gradients import mean_gradient

    model, tokenizer = load_model(str(source), base=str(bench.base))
    rows: list[dict[str, Any]] = []
    for draw in range(options.draws):
        made = batches(pool["popular"], pool["unpopular"], seed=(bench.seed, draw))
        taken = {
            name: mean_gradient(model, tokenizer, bench.asked(facts), batch_tokens=options.batch_tokens)
            for name, facts in made.items()
        }
        some = compared({name: gradient for name, (_, gradient) in taken.items()}, PAIRS)
        losses: list[dict[str, str | float]] = [
            {"group": EVERYTHING, "kind": "loss", "name": name, "value": loss}
            for name, (loss, _) in taken.items()
        ]
        rows += [{"draw": draw, "batch": len(made["random1"]), **row} for row in (*some, *losses)]
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy in every cell of the cross, each factor's effect, and what gradients have in common."""
    from analyses.diversity.numbers import bounds, one_seed
    from analyses.lab.numbers import summed_up

    return summed_up(frame, one_seed, bounds)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    from analyses.diversity.page import page

    return page(frame, results)


EXPERIMENT = Experiment(
    name="popularity_or_diversity",
    options=Options,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("popularity_or_diversity"))
