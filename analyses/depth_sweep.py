"""Does the attention imbalance persist in deeper models, where, and does pattern-only recovery?

    python analyses/depth_sweep.py --out runs/depth

1. Pretrain bases of several depths whose layers hold the same number of parameters together: the deeper the
   narrower. Text, steps and learning rate are the same.
2. Fine-tune the popular and the unpopular half of the training facts from each.
3. Compare what both attend to, layer by layer, on the same held-out facts, and what they answer.
4. Put the popular half's attention rows into the unpopular one, with another subject's as the placebo.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from analyses.lab.experiment import Experiment, LabOptions, main
from analyses.lab.grid import Cell
from finetune.facts import InputError
from finetune.options import Within

if TYPE_CHECKING:
    import pandas as pd

    from analyses.trees import Bounds, Tree
    from finetune.pretrain import BaseConfig
    from interp.study import Claim, Study


@dataclass(frozen=True, kw_only=True)
class Options(LabOptions):
    """Does the attention imbalance persist in deeper models, where, and does pattern-only recovery?"""

    out: Path = Path("runs/depth_sweep")
    """Run directory; the same command continues it."""
    depths: tuple[Annotated[int, Within(1, 1000)], ...] = ()
    """Numbers of layers (default: 1 2 4 8, with --full also 12)."""

    @property
    def chosen(self) -> tuple[int, ...]:
        """The depths to measure."""
        return self.depths or ((1, 2, 4, 8, 12) if self.full else (1, 2, 4, 8))


def cells(options: Options) -> list[Cell]:
    """One cell per depth and seed, the deep ones first: they take longest."""
    return [Cell.of(seed, layers=depth) for depth in sorted(options.chosen)[::-1] for seed in options.seeds]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Pretrain one base, fine-tune the halves, read their attention and transplant it."""
    from analyses.bench import make_bench
    from analyses.lab.halves import measure_halves
    from analyses.making import setting_for

    setting = setting_for(options, None, cell.seed)
    setting = replace(setting, base=reshaped(setting.base, cell.params["layers"]))
    bench = make_bench(setting, cache=options.bases, seed=cell.seed)
    frame = measure_halves(options, bench, home, layers=True, recovery=True)
    return frame.assign(width=setting.base.width, parameters=in_layers(setting.base))


def reshaped(base: BaseConfig, layers: int) -> BaseConfig:
    """Give a base another depth and a width at which its layers hold as many parameters, within 1%.

    The width goes with 1 / sqrt(layers), in steps that rotary embeddings allow (an even number a head); the
    MLP takes up what is left over.

    Raises:
        InputError: there is no such width.
    """
    step = 2 * base.heads
    width = step * max(1, round(base.width * (base.layers / layers) ** 0.5 / step))
    mlp = round((in_layers(base) / layers - 4 * width**2) / (3 * width))
    made = replace(base, layers=layers, width=width, mlp=mlp)
    if mlp < width or abs(in_layers(made) / in_layers(base) - 1) > 0.01:
        raise InputError(f"--depths {layers}: no width gives it as many parameters; choose fewer layers")
    return made


def in_layers(base: BaseConfig) -> int:
    """Count the weights of attention and MLPs: W_Q, W_K, W_V, W_O, and the three of a gated MLP."""
    return base.layers * (4 * base.width**2 + 3 * base.width * base.mlp)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy, imbalance by layer and recovery at every depth, and how deep and shallow differ."""
    from analyses.lab.numbers import summed_up

    return summed_up(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds:
    if path[0] == "contrasts":
        return (-2, 2)
    signed = any("gap" in part or part in ("imbalance", "difference") for part in path)
    return (-1, 1) if signed else (0, 1)


def _one_seed(rows: pd.DataFrame) -> Tree:
    from analyses.lab.halves import gaps
    from analyses.lab.numbers import less, paired
    from analyses.summary import recovery

    tree: Tree = {"depths": {}}
    for depth in sorted(set(rows["layers"].tolist())):
        some = rows[rows["layers"] == depth]
        by_layer = {
            str(i): paired(some, {"arm": "top"}, {"arm": "bottom"}, f"attention_{i}") for i in range(depth)
        }
        part = {**gaps(some), "imbalance": by_layer, "recovery": recovery(some)}
        part["gap_front"], part["gap_back"] = (_half(some, depth, front=front) for front in (True, False))
        tree["depths"][str(depth)] = part
    shallow, deep = (tree["depths"][str(end(map(int, tree["depths"])))] for end in (min, max))
    tree["contrasts"] = {key: less(deep[key], shallow[key]) for key in ("gap_known", "gap_attention")} | {
        "recovery": less(deep["recovery"]["difference"], shallow["recovery"]["difference"])
    }
    return tree


def _half(rows: pd.DataFrame, depth: int, *, front: bool) -> Any:
    """Compare the halves' attention averaged over the first layers, or the last; one layer is both."""
    from analyses.lab.numbers import paired

    cut = -(-depth // 2)
    layers = range(cut) if front else range(depth - cut, depth)
    mean = rows[[f"attention_{i}" for i in layers]].mean(axis=1)
    return paired(rows.assign(mean=mean), {"arm": "top"}, {"arm": "bottom"}, "mean")


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the layers as curves."""
    from interp.experiments import depth_layers, depth_recovery
    from interp.study import Study, StudyFigure, StudyTable, of, sentence

    made, depths = claims(results), results["depths"]

    widths = dict(zip(frame["layers"].tolist(), frame["width"].tolist(), strict=True))
    rows = tuple(
        (
            int(depth),
            widths[int(depth)],
            of(part["stated"], unit="%"),
            of(part["gap_known"], unit="%", signed=True),
            of(part["gap_attention"], digits=3, signed=True),
            of(part["recovery"]["pattern_only"], unit="%"),
            of(part["recovery"]["placebo"], unit="%"),
        )
        for depth, part in depths.items()
    )
    columns = ("Layers", "Width", "Base states", "Gap", "Gap in attention", "Recovered", "Placebo")
    note = "Gap: popular less unpopular half, on held-out facts that the base states; attention on all."
    return Study(
        title="Depth",
        question="Does the attention imbalance persist in depth, where, and does pattern-only recovery?",
        finding=sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(StudyTable(title="By depth", columns=columns, rows=rows, note=note),),
        figures=(
            StudyFigure(name="layers", figure=depth_layers(results), caption=_LAYERS),
            StudyFigure(name="recovery", figure=depth_recovery(results), caption=_RECOVERY),
        ),
        notes=(_MATCHED,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide, at the greatest depth, what the paper claims."""
    from interp.study import claimed

    depth = max(results["depths"], key=int)
    deep = results["depths"][depth]
    paper = "paper, claim 3; open: depth"
    return (
        claimed(
            f"with {depth} layers, the popular half attends more to the subject than the unpopular half does",
            paper,
            deep["gap_attention"],
            digits=3,
        ),
        claimed(
            f"with {depth} layers, the popular half answers more of the facts that the base states",
            "paper, claim 1; open: depth",
            deep["gap_known"],
            unit="points",
        ),
        claimed(
            f"with {depth} layers, the imbalance is there in the first half of the layers",
            paper,
            deep["gap_front"],
            digits=3,
        ),
        claimed(
            f"with {depth} layers, the imbalance is there in the second half of the layers",
            paper,
            deep["gap_back"],
            digits=3,
        ),
        claimed(
            f"with {depth} layers, the popular half's attention recovers more lost facts than the placebo",
            "paper, claim 4; open: depth",
            deep["recovery"]["difference"],
            unit="points",
        ),
        claimed(
            "the imbalance grows with depth",
            "open: depth",
            results["contrasts"]["gap_attention"],
            digits=3,
        ),
    )


_LAYERS = (
    "How much more the last token attends to the subject after fine-tuning on the popular half than on the "
    "unpopular one, layer by layer (mean over heads and held-out facts; 95% over trainings)."
)
_RECOVERY = (
    "Of the held-out facts that the popular half answers and the unpopular one does not, how many the latter "
    "answers with the former's attention at the last token, in all layers at once."
)
_MATCHED = "Depths are matched in the parameters of their layers, so deeper models are narrower."

EXPERIMENT = Experiment(
    name="depth_sweep", options=Options, cells=cells, measure=measure, summarise=summarise, study=study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("depth_sweep"))
