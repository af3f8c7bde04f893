"""Page of depth_sweep: claims, tables and figures."""

from __future__ import annotations

import pandas as pd

from interp.reports.figures.experiments import depth_layers, depth_recovery
from interp.reports.pages.results_tables import decide_each, decided_study, results_table
from interp.reports.pages.study import Claim, Study, StudyFigure
from interp.reports.read.results import Results


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with a table and the layers as curves."""
    widths = dict(zip(frame["layers"].tolist(), frame["width"].tolist(), strict=True))
    table = results_table(
        "By depth",
        ("Layers", "Width"),
        {(int(depth), widths[int(depth)]): part for depth, part in results.below("depths").items()},
        {
            "Base states": ("stated", "%"),
            "Gap": ("gap_known", "+%"),
            "Gap in attention": ("gap_attention", "+3"),
            "Recovered": ("recovery/pattern_only", "%"),
            "Placebo": ("recovery/placebo", "%"),
        },
        note="Gap: popular less unpopular half, on held-out facts that the base states; attention on all.",
    )
    return decided_study(
        title="Depth",
        question="Does the attention imbalance persist in depth, where, and does pattern-only recovery?",
        claims=claims(results),
        tables=(table,),
        figures=(
            StudyFigure(name="layers", figure=depth_layers(results.tree()), caption=_LAYERS),
            StudyFigure(name="recovery", figure=depth_recovery(results.tree()), caption=_RECOVERY),
        ),
        notes=("Depths are matched in the parameters of their layers, so deeper models are narrower.",),
    )


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide, at the greatest depth, what the paper claims."""
    depth = max(results.below("depths"), key=int)
    deep, layers, paper = f"depths/{depth}", f"with {depth} layers, the", "paper, claim 3; open: depth"
    answers = f"{layers} popular half answers more of the facts that the base states"
    recovers = f"{layers} popular half's attention recovers more lost facts than the placebo"
    return decide_each(
        results,
        (
            (
                f"{layers} popular half attends more to the subject than the unpopular half does",
                paper,
                f"{deep}/gap_attention",
                "3",
            ),
            (answers, "paper, claim 1; open: depth", f"{deep}/gap_known", "points"),
            (f"{layers} imbalance is there in the first half of the layers", paper, f"{deep}/gap_front", "3"),
            (f"{layers} imbalance is there in the second half of the layers", paper, f"{deep}/gap_back", "3"),
            (recovers, "paper, claim 4; open: depth", f"{deep}/recovery/difference", "points"),
            ("the imbalance grows with depth", "open: depth", "contrasts/gap_attention", "3"),
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
