"""What a grid will take, before it starts: memory and time of each method on this machine, told and kept.

A cell of a Ray cluster may run on another machine than this one; the estimate is then of this one's kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.tuning import tune_config
from finetune.checkpoints.loading import load_tokenizer
from finetune.common.files import write_json
from finetune.common.progress import console, duration
from finetune.data.prompts import Prompt
from finetune.training.cost_estimate import estimate_prompt_costs, require_room


def estimate_grid(
    options: PopularitySplitsOptions, base: str, prompts: Sequence[Prompt], path: Path, *, of: str
) -> None:
    """Estimate every method's memory and time for one arm of these facts, say it and write it.

    Args:
        options: the experiment's.
        base: the base's directory.
        prompts: what one arm is trained on.
        path: the file of the estimates.
        of: what the estimates are said to be of.

    Raises:
        InputError: it cannot fit (--anyway goes on).
    """
    tokenizer, told = load_tokenizer(base), {}
    for method in options.ways:
        tune = tune_config(options, method)
        budget = estimate_prompt_costs(base, tokenizer, prompts, tune)
        rates, arms = len(tune.learning_rates), len(options.arms)
        told[method] = budget.sentence()
        console().print(
            f"{of}, {method}: {budget.sentence()}; {arms} arms at {rates} learning rates and "
            f"{len(options.seeds)} seeds: {duration(arms * rates * len(options.seeds) * budget.seconds)} "
            "one after another",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if not options.anyway:
            require_room(budget)
    write_json(path, told)
