"""Reading checkpoints: which facts a fine-tuned model lost, and where its attention went.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

_WHERE = {
    "AttentionMass": "attention",
    "CheckpointPair": "checkpoints",
    "Estimate": "stats",
    "Grid": "engine.grids",
    "Intervention": "engine.interventions",
    "Knockout": "engine.interventions",
    "Mean": "engine.interventions",
    "PatchResult": "engine.scoring",
    "PromptBatch": "spans",
    "Recording": "engine.recording",
    "Replace": "engine.interventions",
    "Scale": "engine.interventions",
    "Zero": "engine.interventions",
    "Diagnosis": "verdict",
    "diagnose": "verdict",
    "encode": "spans",
    "estimate": "stats",
    "harm_score": "salience",
    "imbalance": "heads",
    "knockout": "knockout",
    "load_pair": "checkpoints",
    "over_seeds": "stats",
    "patch": "patching",
    "plan": "patching",
    "rank_heads": "heads",
    "record": "engine.recording",
    "report": "report",
    "subject_attention": "attention",
    "Screened": "engine.screening",
    "attribution": "engine.screening",
    "sweep": "engine.grids",
    "value_readout": "salience",
    "wrong_subject": "controls",
}

if TYPE_CHECKING:
    from interp.attention import AttentionMass, subject_attention
    from interp.checkpoints import CheckpointPair, load_pair
    from interp.controls import wrong_subject
    from interp.engine.grids import Grid, sweep
    from interp.engine.interventions import Intervention, Knockout, Mean, Replace, Scale, Zero
    from interp.engine.recording import Recording, record
    from interp.engine.scoring import PatchResult
    from interp.engine.screening import Screened, attribution
    from interp.heads import imbalance, rank_heads
    from interp.knockout import knockout
    from interp.patching import patch, plan
    from interp.report import report
    from interp.salience import harm_score, value_readout
    from interp.spans import PromptBatch, encode
    from interp.stats import Estimate, estimate, over_seeds
    from interp.verdict import Diagnosis, diagnose

__all__ = [
    "AttentionMass",
    "CheckpointPair",
    "Diagnosis",
    "Estimate",
    "Grid",
    "Intervention",
    "Knockout",
    "Mean",
    "PatchResult",
    "PromptBatch",
    "Recording",
    "Replace",
    "Scale",
    "Screened",
    "Zero",
    "attribution",
    "diagnose",
    "encode",
    "estimate",
    "harm_score",
    "imbalance",
    "knockout",
    "load_pair",
    "over_seeds",
    "patch",
    "plan",
    "rank_heads",
    "record",
    "report",
    "subject_attention",
    "sweep",
    "value_readout",
    "wrong_subject",
]


class _Package(ModuleType):
    """A package whose functions are not hidden by a module of the same name that is imported later."""

    def __getattr__(self, name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep the function where Python, having imported interp.report, would put the module."""
        if name in _WHERE and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
