"""Multiple choice: the option that a model finds most likely as a continuation of the prompt.

As the lm-evaluation-harness scores it: each option follows the prompt after one space, ``picked`` is the
largest log-probability and ``picked_normalised`` the largest per character of the option's own text (its
``acc`` and ``acc_norm``); of equals the first is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt, prompt_names
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.batching import TokenBudget
from finetune.evaluation.scoring import score_pairs


@dataclass(frozen=True, kw_only=True)
class ChoicePicks:
    """Which options a model picks: places in ``Prompt.choices``, and each option's log-probability (nats)."""

    picked: Int[ndarray, " prompt"]
    picked_normalised: Int[ndarray, " prompt"]
    correct: Bool[ndarray, " prompt"]
    correct_normalised: Bool[ndarray, " prompt"]
    log_prob: tuple[Float[ndarray, " option"], ...]


def pick_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> ChoicePicks:
    """Score every option of every prompt, in one forward a batch, and pick the best.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: each with its options.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many options are done.

    Raises:
        InputError: a prompt has fewer than two options or not the right one among them, or is too long.
    """
    right = [_right(prompt, name) for prompt, name in zip(prompts, prompt_names(prompts), strict=True)]
    owner = [prompt for prompt in prompts for _ in prompt.choices]
    options = [option for prompt in prompts for option in prompt.choices]
    pairs = tokenize_with_answer(tokenizer, owner, options)
    flat, _ = score_pairs(model, tokenizer, pairs, prompt_names(owner), budget=budget, advance=advance)
    ends = np.cumsum([len(prompt.choices) for prompt in prompts])
    log_prob = tuple(np.split(flat, ends[:-1])) if prompts else ()
    lengths = [np.array([len(option) for option in prompt.choices]) for prompt in prompts]
    plain = np.array([values.argmax() for values in log_prob], dtype=np.int64)
    per_character = [values / length for values, length in zip(log_prob, lengths, strict=True)]
    normalised = np.array([values.argmax() for values in per_character], dtype=np.int64)
    return ChoicePicks(
        picked=plain,
        picked_normalised=normalised,
        correct=plain == np.array(right, dtype=np.int64),
        correct_normalised=normalised == np.array(right, dtype=np.int64),
        log_prob=log_prob,
    )


def _right(prompt: Prompt, name: str) -> int:
    """Find the right option's place."""
    if len(prompt.choices) < 2 or not all(prompt.choices):
        raise InputError(f"{name}: choices {prompt.choices!r}; give at least two options, none of them empty")
    if prompt.answers[0] not in prompt.choices:
        raise InputError(f"{name}: answer {prompt.answers[0]!r} is not among its choices; add or correct it")
    return prompt.choices.index(prompt.answers[0])
