"""Cures after training: getting suppressed facts back without a gradient step.

``interpolated``, ``grafted`` and ``scaled_adapter`` take and return weights as plain dicts of tensors;
``interpolate``, ``graft`` and ``scale_adapter`` do the same to checkpoints on disk. ``perturbed`` and
``perturb`` are the placebo of the first. ``attention_scaled`` is an intervention and lives in no weights.
"""

from interp.weight_edits.adapter_scaling import scale_adapter_updates
from interp.weight_edits.attention_scaling import scale_subject_attention
from interp.weight_edits.head_grafts import HeadShape, graft_heads
from interp.weight_edits.interpolation import interpolate_weights, perturb_weights
from interp.weight_edits.save import graft, interpolate, perturb, scale_adapter

__all__ = [
    "HeadShape",
    "graft",
    "graft_heads",
    "interpolate",
    "interpolate_weights",
    "perturb",
    "perturb_weights",
    "scale_adapter",
    "scale_adapter_updates",
    "scale_subject_attention",
]
