"""How many popular facts should a fine-tuning set hold, and in which order?

    python analyses/mixture_sweep.py --out runs/mixture

1. Halve the training facts by popularity.
2. Make sets of one size with 0 to 100% of their facts from the popular half, drawn at random from each.
3. Fine-tune on each, shuffled; on the even mix also with the popular facts first, and last.
4. Ask held-out facts: the popular ones (first two quartiles) and the unpopular ones.
5. Compare the best mixture with popular facts alone; which one is best for a seed is chosen on the others,
   so that it is not chosen on its own noise.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.lab.experiment import Experiment, LabOptions, main
from analyses.lab.grid import Cell
from finetune.facts import FactSet, InputError
from finetune.options import Share

if TYPE_CHECKING:
    import pandas as pd

    from analyses.trees import Tree
    from interp.stats import Estimate
    from interp.study import Claim, Study

SHUFFLED, FIRST, LAST = "shuffled", "popular first", "popular last"
TESTS = ("popular", "unpopular")
BY = ("popularity", "chance")  # what the halves were made by


@dataclass(frozen=True, kw_only=True)
class Options(LabOptions):
    """How many popular facts should a fine-tuning set hold, and in which order?"""

    out: Path = Path("runs/mixture_sweep")
    """Run directory; the same command continues it."""
    shares: tuple[Share, ...] = ()
    """Shares of popular facts (default: 0 to 1 in quarters, with --full in tenths)."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        if len(self.shares) == 1:
            given = " ".join(map(str, self.shares))
            raise InputError(f"--shares {given}: give two or more different shares between 0 and 1")

    @property
    def chosen(self) -> tuple[float, ...]:
        """The shares to measure."""
        parts = 10 if self.full else 4
        return self.shares or tuple(i / parts for i in range(parts + 1))


def cells(options: Options) -> list[Cell]:
    """One cell per mixture, order and seed; the placebo's are the extremes of shuffled popularity."""
    mixes = [(share, SHUFFLED, BY[0]) for share in options.chosen] + [(0.5, FIRST, BY[0]), (0.5, LAST, BY[0])]
    if options.placebo:
        mixes += [(share, SHUFFLED, BY[1]) for share in (0.0, 1.0)]
    return [
        Cell.of(seed, share=share, order=order, by=by) for share, order, by in mixes for seed in options.seeds
    ]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune on one mixture and ask the held-out facts."""
    from analyses.bench import make_bench, tune
    from analyses.lab.measured import held_out
    from analyses.making import SHUFFLED as DEALT
    from analyses.making import setting_for

    bench = make_bench(setting_for(options, None, cell.seed), cache=options.bases, seed=cell.seed)
    halves = options.arms(bench.parts.train, seed=cell.seed)
    prefix = "" if cell.params["by"] == BY[0] else DEALT
    top, bottom = halves[f"{prefix}top"], halves[f"{prefix}bottom"]
    chosen, popular = mixture(top, bottom, cell.params["share"], seed=cell.seed)
    order = cell.params["order"]
    stages = None if order == SHUFFLED else [int(is_popular != (order == FIRST)) for is_popular in popular]
    arm = tune(bench, chosen, home / "arm", name=cell.key, stages=stages)
    _, frame = held_out(bench, {"arm": arm.path}, home, batch_tokens=options.batch_tokens)
    return frame.assign(step=arm.step, training_loss=arm.training_loss)


def mixture(top: FactSet, bottom: FactSet, share: float, *, seed: int) -> tuple[FactSet, list[bool]]:
    """Draw a set as large as a half, ``share`` of it from the popular one; say of each fact whether it is."""
    import numpy as np

    size = min(len(top), len(bottom))
    taken = round(share * size)
    rng = np.random.default_rng([seed, 30])
    # One order a half, so that a larger share holds all that a smaller one does.
    from_top, from_bottom = (
        sorted(rng.permutation(len(half))[:n].tolist()) for half, n in ((top, taken), (bottom, size - taken))
    )
    facts = (*(top[i] for i in from_top), *(bottom[i] for i in from_bottom))
    made = FactSet(facts=facts, name=f"{share:.0%} popular")
    return made, [True] * taken + [False] * (size - taken)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy by mixture and by order, what extremes differ by, and what the chosen share gains."""
    from analyses.lab.numbers import summed_up

    frame = frame.assign(test=["popular" if q <= 2 else "unpopular" for q in frame["quartile"]])
    best = {test: _best_elsewhere(frame[frame["by"] == BY[0]], test) for test in TESTS}
    return summed_up(frame, lambda rows: _one_seed(rows, best), _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (-1, 1) if path[0] in ("contrasts", "gain", "placebo") else (0, 1)


def _best_elsewhere(frame: pd.DataFrame, test: str) -> dict[int, float]:
    """For each seed, the mixture (but the largest share) that is best on the others, if there are any."""
    rows = frame[(frame["test"] == test) & (frame["order"] == SHUFFLED) & frame["known"]]
    table = rows.groupby(["seed", "share"])["correct"].mean().unstack("share")
    table = table.drop(columns=table.columns.max())
    others = {seed: table.drop(index=seed) if len(table) > 1 else table for seed in table.index}
    return {int(seed): float(str(some.mean().idxmax())) for seed, some in others.items()}


def _one_seed(rows: pd.DataFrame, best: dict[str, dict[int, float]]) -> Tree:
    from analyses.lab.numbers import mean, paired

    seed = int(rows["seed"].iloc[0])
    shares = sorted(rows["share"].unique())
    tree: Tree = {"shares": {}, "orders": {}, "contrasts": {}, "gain": {}, "placebo": {}}
    dealt, rows = rows[rows["by"] == BY[1]], rows[rows["by"] == BY[0]]
    for test in TESTS:
        all_of = rows[rows["test"] == test]
        known = all_of[all_of["known"]]
        mixed = known[known["order"] == SHUFFLED]
        for share in shares:
            here = all_of[(all_of["share"] == share) & (all_of["order"] == SHUFFLED)]
            tree["shares"].setdefault(f"{share:g}", {})[test] = {
                "accuracy": mean(here, "correct"),
                "accuracy_known": mean(here[here["known"]], "correct"),
                "subject_attention": mean(here, "subject_attention"),
            }
        for order in (SHUFFLED, FIRST, LAST):
            here = known[(known["share"] == 0.5) & (known["order"] == order)]
            tree["orders"].setdefault(order.replace(" ", "_"), {})[test] = mean(here, "correct")
        ends = {"share": shares[-1]}, {"share": shares[0]}
        tree["contrasts"][f"all_minus_none_{test}"] = paired(mixed, *ends, "correct")
        tree["contrasts"][f"all_minus_none_{test}_all"] = paired(
            all_of[all_of["order"] == SHUFFLED], *ends, "correct"
        )
        if len(dealt):
            some = dealt[dealt["known"] & (dealt["test"] == test)]
            name = f"all_minus_none_{test}"
            tree["placebo"][name] = paired(some, {"share": 1.0}, {"share": 0.0}, "correct")
        for order in (FIRST, LAST):
            name = f"{order.replace(' ', '_')}_minus_shuffled_{test}"
            tree["contrasts"][name] = paired(
                known[known["share"] == 0.5], {"order": order}, {"order": SHUFFLED}, "correct"
            )
        tree["gain"][test] = paired(mixed, {"share": best[test][seed]}, {"share": shares[-1]}, "correct")
        tree.setdefault("best_mixture", {})[test] = _number(best[test][seed])
    return tree


def _number(value: float) -> Estimate:
    from interp.stats import Estimate

    return Estimate(value=value, low=None, high=None, n=1)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the curves."""
    from interp.experiments import mixture_curves
    from interp.study import Study, StudyFigure, StudyTable, of, sentence

    made, shares = claims(results), results["shares"]

    keys = ("accuracy_known", "accuracy")
    table = StudyTable(
        title="Accuracy on held-out facts by mixture, %",
        columns=("Popular facts", *(f"{test}, {known}" for test in TESTS for known in ("known", "all"))),
        rows=tuple(
            (
                f"{100 * float(share):.0f}%",
                *(of(part[t][k], unit="%") for t in TESTS for k in keys),
            )
            for share, part in shares.items()
        ),
    )
    return Study(
        title="Mixture ratio",
        question="How many popular facts should a fine-tuning set hold, and in which order?",
        finding=sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(table,),
        figures=(StudyFigure(name="mixture", figure=mixture_curves(results), caption=_CAPTION),),
        notes=(_CHOSEN,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    from interp.study import claimed

    contrasts = results["contrasts"]
    paper = [
        claimed(
            f"popular facts alone serve {test} held-out facts{known} better than unpopular ones alone do",
            "paper, claim 1",
            contrasts[f"all_minus_none_{test}{key}"],
            unit="points",
        )
        for key, known in (("", " that the base states"), ("_all", ", all of them,"))
        for test in reversed(TESTS)
    ]
    mixed = [
        claimed(
            f"for {test} held-out facts some mixture beats popular facts alone",
            "open: mixture ratio",
            results["gain"][test],
            unit="points",
        )
        for test in TESTS
    ]
    ordered = [
        claimed(
            f"on the even mix, {order} serves {test} held-out facts better than shuffled",
            "open: order",
            contrasts[f"{order.replace(' ', '_')}_minus_shuffled_{test}"],
            unit="points",
        )
        for order in (FIRST, LAST)
        for test in TESTS
    ]
    return (*paper, *mixed, *ordered)


_CAPTION = "Held-out accuracy by the share of popular facts in a fine-tuning set of one size."
_CHOSEN = (
    "The mixture that is compared with popular facts alone was chosen, for each seed, on the other seeds."
)

EXPERIMENT = Experiment(
    name="mixture_sweep", options=Options, cells=cells, measure=measure, summarise=summarise, study=study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("mixture_sweep"))
