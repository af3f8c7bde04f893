"""Every figure, in one place: each takes a result or a run directory and returns a matplotlib ``Figure``.

Values stand with their 95% intervals and n. A function raises ``NotMeasured`` where a run lacks what it
needs, and ``InputError`` where a directory is none of its kind. ``save`` writes SVG and PNG, and inside
``with drawn_within(COLUMN)`` figures are laid out for one column of a paper.

=====================  ===================================================================================
of attention_imbalance ``accuracy_by_quartile``, ``contrasts``, ``recovery``, ``attention_by_head``,
                       ``fact_attention``, ``hidden``, ``readout``, ``stored_and_used``, ``trajectory``,
                       ``training_curves``
of verdicts            ``verdict_flows``, ``verdict_bars``, ``verdicts_by_popularity``, ``recovery_grid``
of experiments         ``mixture_curves``, ``depth_layers``, ``depth_recovery``, ``frequency_curves``
of results             ``attention_change`` (two ``AttentionMass``), ``recovery_grid`` (``PatchResult``),
                       ``stored_and_used`` (``ValueReadout``), ``verdict_flows`` (``Diagnosis``)
of numbers             ``curves``, ``forest``, ``attention_strips``
=====================  ===================================================================================
"""

from interp.reports.figures.curves import Curve, curves, forest
from interp.reports.figures.evidence import hidden, readout, stored_and_used, trajectory
from interp.reports.figures.experiments import (
    depth_layers,
    depth_recovery,
    frequency_curves,
    mixture_curves,
    training_curves,
)
from interp.reports.figures.head_effects import HeadEffects, recovery_grid
from interp.reports.figures.headlines import MEASURES, QUARTILES, accuracy_by_quartile, contrasts, recovery
from interp.reports.figures.heatmaps import attention_by_head, attention_change, fact_attention
from interp.reports.figures.style import COLUMN, PAGE, drawn_within, save
from interp.reports.figures.token_rows import Strip, attention_strips
from interp.reports.figures.verdicts import verdict_bars, verdict_flows, verdicts_by_popularity

__all__ = [
    "COLUMN",
    "MEASURES",
    "PAGE",
    "QUARTILES",
    "Curve",
    "HeadEffects",
    "Strip",
    "accuracy_by_quartile",
    "attention_by_head",
    "attention_change",
    "attention_strips",
    "contrasts",
    "curves",
    "depth_layers",
    "depth_recovery",
    "drawn_within",
    "fact_attention",
    "forest",
    "frequency_curves",
    "hidden",
    "mixture_curves",
    "readout",
    "recovery",
    "recovery_grid",
    "save",
    "stored_and_used",
    "training_curves",
    "trajectory",
    "verdict_bars",
    "verdict_flows",
    "verdicts_by_popularity",
]
