"""What a grid will take, before it starts: memory and time of each method on this machine, told and kept.

A cell of a Ray cluster may run on another machine than this one; the estimate is then of this one's kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analyses.splits.options import Options, tuning
from finetune.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetune.prompts import Prompt


def foresee(options: Options, base: str, prompts: Sequence[Prompt], path: Path, *, of: str) -> None:
    """Estimate every method's memory and time for one arm of these facts; say it and write it to ``path``.

    Raises:
        InputError: it cannot fit (--anyway goes on).
    """
    from finetune.budget import duration, require_room
    from finetune.foresight import foreseen
    from finetune.models import load_tokenizer
    from finetune.progress import console

    tokenizer, told = load_tokenizer(base), {}
    for method in options.ways:
        tune = tuning(options, method)
        budget = foreseen(base, tokenizer, prompts, tune)
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
