"""What a training on some prompts will take on this machine, before anything is loaded for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from finetune.checkpoints.loading import Source, configuration_of
from finetune.common import distributed
from finetune.data.prompts import Prompt
from finetune.data.tokenization import tokenize_with_answer
from finetune.training.config import TuneConfig
from finetune.training.cost_estimate import CostEstimate, estimate_cost, this_machine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONG = 0.95  # the quantile of rows' lengths that stands for all: a batch is as wide as its longest


def estimate_prompt_costs(
    base: Source, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], tune: TuneConfig
) -> CostEstimate:
    """Estimate memory and time of fine-tuning ``base`` on prompts, shared by the processes there are.

    Raises:
        InputError: the base has no configuration, or an answer tokenises to nothing.
    """
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    machine = replace(
        this_machine(tune.dtype),
        processes=distributed.process_count(),
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true",
    )
    said = np.array([len(answer) + 1 for _, answer in pairs])
    return estimate_cost(
        configuration_of(base),
        tune,
        tokens_per_row=float(np.quantile(said + [len(asked) for asked, _ in pairs], LONG)),
        answer_tokens=float(np.quantile(said, LONG)),
        rows=len(prompts),
        machine=machine,
    )
