"""Does the gap between arms close where every fact is well stored, and grow with long-tailedness?

    python analyses/pretraining_sweep.py --out runs/pretraining

1. Pretrain a base for each length (training steps) in the same world, and for each Zipf exponent of the
   subjects' popularity at the world's own length.
2. Fine-tune the popular and the unpopular half of the training facts from each.
3. Compare them on the same held-out facts: those that this base states, and all.
4. Relate the gap to the share of held-out facts that the base states.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from analyses.lab.experiment import Experiment, LabOptions, main
from analyses.lab.grid import Cell
from finetune.facts import InputError
from finetune.options import Positive, Within

if TYPE_CHECKING:
    import pandas as pd

    from analyses.making import Setting
    from analyses.trees import Bounds, Tree
    from interp.stats import Estimate
    from interp.study import Claim, Study

LENGTH, EXPONENT = "length", "exponent"


@dataclass(frozen=True, kw_only=True)
class Options(LabOptions):
    """Does the gap between arms close where every fact is well stored, and grow with long-tailedness?"""

    out: Path = Path("runs/pretraining_sweep")
    """Run directory; the same command continues it."""
    lengths: tuple[Positive, ...] = (1 / 3, 1, 2)
    """Pretraining lengths, in units of the world's own."""
    exponents: tuple[Annotated[float, Within(0, 10, open_low=True)], ...] = (1.0, 1.3, 1.5)
    """Zipf exponents of the subjects' popularity, at the world's own length."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        for name in ("lengths", "exponents"):
            values = getattr(self, name)
            if len(values) < 2:
                raise InputError(f"--{name} {' '.join(map(str, values))}: give two or more")

    @property
    def points(self) -> list[tuple[str, float]]:
        """What is varied, and how far."""
        lengths, exponents = list(self.lengths), list(self.exponents)
        if self.full:
            lengths, exponents = sorted({*lengths, 1 / 6, 4, 8}), sorted({*exponents, 0.7, 1.15, 1.4, 1.7})
        return [(LENGTH, value) for value in lengths] + [(EXPONENT, value) for value in exponents]


def cells(options: Options) -> list[Cell]:
    """One cell per setting and seed: a base and its arms."""
    return [
        Cell.of(seed, axis=axis, x=round(value, 4))
        for axis, value in options.points
        for seed in options.seeds
    ]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Pretrain one base, fine-tune the halves, and ask the held-out facts."""
    from analyses.bench import make_bench
    from analyses.lab.halves import measure_halves

    setting = setting_at(options, cell.params["axis"], cell.params["x"], seed=cell.seed)
    bench = make_bench(setting, cache=options.bases, seed=cell.seed)
    return measure_halves(options, bench, home).assign(pretraining_steps=setting.base.steps)


def setting_at(options: Options, axis: str, x: float, *, seed: int) -> Setting:
    """Take the world's setting with one thing changed."""
    from analyses.making import setting_for
    from finetune.presets import WORLDS
    from finetune.world import make_world

    setting = setting_for(options, None, seed)
    if axis == LENGTH:
        return replace(setting, base=replace(setting.base, steps=max(1, round(setting.base.steps * x))))
    return replace(setting, facts=make_world(replace(WORLDS[options.world].world, alpha=x), seed=seed))


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the gap at every setting, how it changes along each axis, and its slope in what is stored."""
    from analyses.lab.numbers import summed_up

    return summed_up(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    if path[0] in ("contrasts", "fall"):
        return (-2, 2) if path[0] == "contrasts" else None
    return (-1, 1) if "gap" in path[-1] else (0, 1)


def _one_seed(rows: pd.DataFrame) -> Tree:
    from analyses.lab.halves import gaps
    from analyses.lab.numbers import less

    tree: Tree = {
        str(axis): {f"{x:g}": gaps(some) for x, some in part.groupby("x")}
        for axis, part in rows.groupby("axis")
    }
    points = [part for axis in (LENGTH, EXPONENT) for part in tree[axis].values()]
    ends = {axis: [part[end(part, key=float)] for end in (min, max)] for axis, part in tree.items()}
    (shortest, longest), (flattest, steepest) = ends[LENGTH], ends[EXPONENT]
    keys = ("gap_known", "gap_all", "gap_attention")
    tree["contrasts"] = {
        key: {
            "shortest_minus_longest": less(shortest[key], longest[key]),
            "steepest_minus_flattest": less(steepest[key], flattest[key]),
        }
        for key in keys
    }
    tree["fall"] = {key: _fall(points, key) for key in keys}
    return tree


def _fall(points: list[Tree], key: str) -> Estimate:
    """Fit the gap against the share of facts that the base states, over settings; return minus the slope."""
    from scipy.stats import linregress

    from interp.stats import Estimate

    pairs = [(p["stated"].value, p[key].value) for p in points if p[key].value is not None]
    if len({stated for stated, _ in pairs}) < 3:
        return Estimate(value=None, low=None, high=None, n=0)
    stated, gap = np.array(pairs, dtype=np.float64).T
    return Estimate(value=-float(linregress(stated, gap).slope), low=None, high=None, n=len(pairs))


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the curves."""
    from interp.curves import Curve, curves
    from interp.study import Study, StudyFigure, StudyTable, of, sentence

    made = claims(results)
    titles = {LENGTH: "Pretraining length", EXPONENT: "Zipf exponent"}
    labels = {"gap_known": "facts that the base states", "gap_all": "all held-out facts"}

    def drawn(axis: str) -> list[Curve]:
        part = results[axis]
        return [
            Curve(label=label, x=[float(x) for x in part], y=[point[key] for point in part.values()])
            for key, label in labels.items()
        ]

    figure = curves(
        {titles[axis]: drawn(axis) for axis in titles},
        x="times the world's own, or exponent",
        y="popular less unpopular half (points)",
        percent=True,
        zero=True,
    )
    rows = [
        (
            f"{titles[axis]} {x}",
            of(point["stated"], unit="%"),
            of(point["top"], unit="%"),
            of(point["bottom"], unit="%"),
            of(point["gap_known"], unit="%", signed=True),
            of(point["gap_attention"], digits=3, signed=True),
        )
        for axis in titles
        for x, point in results[axis].items()
    ]
    columns = ("Setting", "Base states", "Popular half", "Unpopular half", "Gap", "Gap in attention")
    note = "Accuracy on held-out facts that the base states, and of attention to the subject on all."
    table = StudyTable(title="The gap at every setting, %", columns=columns, rows=tuple(rows), note=note)
    return Study(
        title="Pretraining length and long-tailedness",
        question="Does the gap between arms close where facts are well stored, and grow with the long tail?",
        finding=sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(table,),
        figures=(StudyFigure(name="gap", figure=figure, caption=_CAPTION),),
        notes=(_KNOWN,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory says."""
    from interp.study import claimed

    made = []
    for key, what in (("gap_known", "facts that the base states"), ("gap_all", "all held-out facts")):
        changes = results["contrasts"][key]
        made += [
            claimed(
                f"on {what}, the gap between halves shrinks with longer pretraining",
                "theory (break condition)",
                changes["shortest_minus_longest"],
                unit="points",
            ),
            claimed(
                f"on {what}, the gap between halves grows with the Zipf exponent",
                "theory (long tail)",
                changes["steepest_minus_flattest"],
                unit="points",
            ),
            claimed(
                f"on {what}, the gap falls as the base states more facts (points per 100 points stated)",
                "theory (break condition)",
                results["fall"][key],
                unit="points",
            ),
        ]
    return tuple(made)


_CAPTION = (
    "How much better the popular half does than the unpopular one on held-out facts, along pretraining "
    "length (in units of the world's own) and the exponent of the subjects' popularity. 95% over trainings."
)
_KNOWN = (
    "Which facts the base states changes with the setting, so each setting is measured on other facts of the "
    "same held-out subjects; the numbers on all held-out facts do not depend on that."
)

EXPERIMENT = Experiment(
    name="pretraining_sweep", options=Options, cells=cells, measure=measure, summarise=summarise, study=study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("pretraining_sweep"))
