"""Cures after training: getting suppressed facts back without a gradient step.

``interpolated``, ``grafted`` and ``scaled_adapter`` take and return weights as plain dicts of tensors;
``interpolate``, ``graft`` and ``scale_adapter`` do the same to checkpoints on disk. ``perturbed`` and
``perturb`` are the placebo of the first. ``attention_scaled`` is an intervention and lives in no weights.
"""

from interp.restoring.adapters import scaled_adapter
from interp.restoring.attention import attention_scaled
from interp.restoring.heads import HeadShape, grafted
from interp.restoring.saving import graft, interpolate, perturb, scale_adapter
from interp.restoring.weights import interpolated, perturbed

__all__ = [
    "HeadShape",
    "attention_scaled",
    "graft",
    "grafted",
    "interpolate",
    "interpolated",
    "perturb",
    "perturbed",
    "scale_adapter",
    "scaled_adapter",
]
