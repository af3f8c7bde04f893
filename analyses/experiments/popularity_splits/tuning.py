"""How one arm of popularity_splits is fine-tuned: a preset's settings with what the options override."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from finetune.training.config import Method, TuneConfig
from finetune.training.presets import REAL_TUNE, RECIPES

# Low-rank updates need larger steps than whole matrices do (Hu et al. 2021, table 11 onwards).
RATES: dict[Method, tuple[float, ...]] = {"full": (3e-4, 1e-3), "lora": (1e-3, 3e-3)}


def tune_config(options: PopularitySplitsOptions, method: Method) -> TuneConfig:
    """Return how one arm is fine-tuned: the preset's settings with what the options override."""
    tune = REAL_TUNE
    if options.preset:
        tune = RECIPES[options.preset].tune
    rates = tune.learning_rates if options.preset and tune.method == method else RATES[method]
    given: dict[str, Any] = {
        name: value
        for name in ("steps", "epochs", "batch", "rank", "alpha", "dropout", "dtype", "check_every")
        if (value := getattr(options, name)) is not None
    }
    if options.targets:
        given["targets"] = options.targets
    return replace(
        tune,
        method=method,
        learning_rates=options.learning_rates or rates,
        keep=options.keep,
        trajectory=options.trajectory,
        gradient_checkpointing=options.gradient_checkpointing or tune.gradient_checkpointing,
        **given,
    )
