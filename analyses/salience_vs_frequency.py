"""Which facts survive fine-tuning: those met often, or those that the base's own values hold strongly?

    python analyses/salience_vs_frequency.py --out runs/survival
    python analyses/salience_vs_frequency.py --facts popqa.tsv --limit 4000 --out runs/survival-popqa

1. Make a world in levels of frequency: each fact is met 1, 2, 4 ... 4,096 times, whatever its answer's prior.
2. Pretrain the base on exactly as many rows; hold out about half of the subjects of every level.
3. Read every held-out fact at the base: frequency, answer's prior, value readout, log-probability of its
   statements and of its question, harm score m; and frequencies dealt out anew, as the placebo.
4. Fine-tune on the popular half, on the unpopular and on a random one; ask every held-out fact. A fact that
   the base states in every form survives if it is then answered right.
5. Rank facts by each predictor; fit survival to its rank on the other seeds and compare with this one.

With --facts: the same on real facts, where frequency is page views and levels are their quartiles.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.lab.experiment import Experiment, FactsOptions, main
from analyses.lab.grid import Cell
from analyses.making import SHUFFLED
from finetune.facts import InputError
from finetune.world import LevelsConfig

if TYPE_CHECKING:
    import pandas as pd

    from analyses.bench import Bench
    from analyses.checkpoints import Checkpoints
    from analyses.making import Setting
    from interp.study import Study

TUNED = ("top", "bottom", "random")
HELD_OUT = 0.5  # of the subjects: every level needs enough facts to be asked
DEFAULT = LevelsConfig()
FULL = LevelsConfig(subjects=36)
TINY = LevelsConfig(sightings=tuple(2.0**k for k in range(2, 9)), subjects=12, answers=5, relations=2)


@dataclass(frozen=True, kw_only=True)
class Options(FactsOptions):
    """Which facts survive fine-tuning: those met often, or those that the base's own values hold strongly?"""

    out: Path = Path("runs/salience_vs_frequency")
    """Run directory; the same command continues it."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.facts is None and self.exponent is not None:
            raise InputError("--exponent: goes with --facts; a world's levels are its expected sightings")

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return "world in levels of frequency"

    @property
    def levels(self) -> LevelsConfig:
        """The world's levels of frequency."""
        return TINY if self.world == "tiny" else FULL if self.full else DEFAULT


def cells(options: Options) -> list[Cell]:
    """One cell per arm and seed; seeds vary first, so that processes do not wait for one base."""
    arms = (*TUNED, *(f"{SHUFFLED}{arm}" for arm in TUNED[:2] if options.placebo))
    return [Cell.of(seed, arm=arm) for arm in arms for seed in options.seeds]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune one arm, ask the held-out facts, and read each of them at the base."""
    from analyses.bench import make_bench, tune
    from analyses.lab.measured import held_out

    setting = setting_of(options, cell.seed)
    bench = make_bench(setting, cache=options.bases, seed=cell.seed, test=HELD_OUT)
    name = cell.params["arm"]
    arm = tune(bench, options.arms(bench.parts.train, seed=cell.seed)[name], home / "arm", name=cell.key)
    checkpoints, frame = held_out(bench, {name: arm.path}, home, batch_tokens=options.batch_tokens)
    read = read_once(bench, checkpoints, options.batch_tokens, home.parents[1] / "predictors")
    frame = frame.merge(read, on="fact_id", validate="1:1")
    of_quartile = [f"q{quartile}" for quartile in frame["quartile"]]
    levels = of_quartile if options.facts else [f"{met:g}" for met in frame["popularity"]]
    return frame.assign(level=levels, step=arm.step, training_loss=arm.training_loss)


def setting_of(options: Options, seed: int) -> Setting:
    """Resolve one seed's facts and base; a world's pretraining has as many rows as its facts expect."""
    from analyses.making import setting_for
    from finetune.world import levelled_world

    if options.facts is not None:
        return setting_for(options, options.load(options.facts, limit=options.limit), seed)
    setting = setting_for(options, None, seed)
    steps = options.pretrain_steps or round(options.levels.rows / setting.base.batch)
    return replace(
        setting, facts=levelled_world(options.levels, seed=seed), base=replace(setting.base, steps=steps)
    )


def read_once(bench: Bench, checkpoints: Checkpoints, batch_tokens: int, folder: Path) -> pd.DataFrame:
    """Read a seed's held-out facts at the base; one process does it for all arms, which share both."""
    from filelock import FileLock

    from finetune.checksums import cached_frame

    path = folder / f"seed-{bench.seed}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        return cached_frame(path, lambda: predictors(bench, checkpoints, batch_tokens))


def predictors(bench: Bench, checkpoints: Checkpoints, batch_tokens: int) -> pd.DataFrame:
    """Read every held-out fact at the base: one row per fact."""
    import numpy as np
    import pandas as pd

    from analyses.visits import opened
    from finetune.popularity import shuffled
    from interp.salience import harm_score, value_readout
    from interp.selection import SCORES, Candidates

    facts, prompts = checkpoints.test, checkpoints.prompts
    with opened(checkpoints, "base") as found:
        asked_of = found.model, found.batch, found.tokenizer
        readout = value_readout(*asked_of, checkpoints.answer_sets, batch_tokens=batch_tokens).to_frame()
        harm = harm_score(*asked_of, batch_tokens=batch_tokens).to_frame()
    candidates = Candidates(
        facts=facts,
        base=checkpoints.base,
        book=checkpoints.phrasebook,
        prompts=prompts,
        batch_tokens=batch_tokens,
    )
    asked = {name: SCORES[name].compute(candidates) for name in ("statement", "question")}
    for item in candidates.left_out:
        raise InputError(f"fact {item.where!r}: {item.reason}; leave it out")
    everyone = bench.setting.facts.to_frame()
    answer = everyone["answers"].str[0]
    prior = answer.groupby([everyone["relation"], answer]).transform("size") / everyone.groupby("relation")[
        "id"
    ].transform("size")
    dealt = {fact.id: fact.popularity for fact in shuffled(facts, seed=bench.seed)}
    ids = [fact.id for fact in facts]
    table = pd.DataFrame(
        {
            "fact_id": ids,
            "frequency": np.log2(1 + np.array([fact.popularity for fact in facts], dtype=np.float64)),
            "answer_prior": prior.set_axis(everyone["id"]).loc[ids].to_numpy(),
            **asked,
            "shuffled": [dealt[each] for each in ids],
        }
    )
    read = readout.merge(harm, on="fact_id")[["fact_id", "stored", "used", "harm_score"]]
    return table.merge(read, on="fact_id", validate="1:1")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return storage by level, survival by arm and level, and how well each predictor foretells it."""
    from analyses.survival.numbers import summed

    return summed(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and curves."""
    from analyses.survival.page import page

    return page(results, real=str(frame["level"].iloc[0]).startswith("q"))


EXPERIMENT = Experiment(
    name="salience_vs_frequency",
    options=Options,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("salience_vs_frequency"))
