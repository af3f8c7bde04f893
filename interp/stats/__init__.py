"""Statistics: estimates with intervals, the bootstrap over subjects, t over seeds, AUROC, rank correlation.

The only place where intervals are made. It knows nothing of models: columns of numbers go in, with the
subject (or whatever was drawn) of each, and an :class:`Estimate` comes out.
"""

from interp.stats.corrections import adjusted, equivalence, interval_p_value, is_equivalent, p_value
from interp.stats.detection import detection_rate
from interp.stats.differences import difference_of_means
from interp.stats.matrices import shared_halves, spearman_matrix
from interp.stats.means import estimate, mean_by_cell, mean_p_values
from interp.stats.prevalence import precision_at
from interp.stats.ranking import (
    auroc,
    auroc_gain,
    kappa,
    median,
    rank_correlation,
    roc_area,
    same_sign,
    same_sign_gain,
    spearman,
    spearman_gain,
)
from interp.stats.result import Estimate, make_estimate
from interp.stats.seeds import TEST_OVER_TRAIN, over_seeds, overlap_of

__all__ = [
    "TEST_OVER_TRAIN",
    "Estimate",
    "adjusted",
    "auroc",
    "auroc_gain",
    "detection_rate",
    "difference_of_means",
    "equivalence",
    "estimate",
    "interval_p_value",
    "is_equivalent",
    "kappa",
    "make_estimate",
    "mean_by_cell",
    "mean_p_values",
    "median",
    "over_seeds",
    "overlap_of",
    "p_value",
    "precision_at",
    "rank_correlation",
    "roc_area",
    "same_sign",
    "same_sign_gain",
    "shared_halves",
    "spearman",
    "spearman_gain",
    "spearman_matrix",
]
