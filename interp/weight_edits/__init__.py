"""Cures after training: getting suppressed facts back without a gradient step.

``interpolate_weights``, ``graft_heads`` and ``scale_adapter_updates`` take and return weights as plain dicts
of tensors; ``interpolate``, ``graft`` and ``scale_adapter`` do the same to checkpoints on disk.
``perturb_weights`` and ``perturb`` are the placebo of the first; ``graft_groups`` takes whole groups of
weights from a donor, with ``random_donor`` as its placebo. ``scale_subject_attention`` is an
intervention and lives in no weights.
"""

from interp.weight_edits.adapter_scaling import scale_adapter_updates
from interp.weight_edits.attention_scaling import scale_subject_attention
from interp.weight_edits.group_grafts import (
    changed_groups,
    graft_groups,
    parameters_of,
    random_donor,
    with_weights,
)
from interp.weight_edits.head_grafts import HeadShape, graft_heads
from interp.weight_edits.interpolation import interpolate_weights, perturb_weights
from interp.weight_edits.save import graft, interpolate, perturb, scale_adapter
from interp.weight_edits.weight_groups import GROUPS, weight_groups

__all__ = [
    "GROUPS",
    "HeadShape",
    "changed_groups",
    "graft",
    "graft_groups",
    "graft_heads",
    "interpolate",
    "interpolate_weights",
    "parameters_of",
    "perturb",
    "perturb_weights",
    "random_donor",
    "scale_adapter",
    "scale_adapter_updates",
    "scale_subject_attention",
    "weight_groups",
    "with_weights",
]
