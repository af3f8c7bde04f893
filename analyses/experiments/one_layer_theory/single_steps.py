"""One small step on one fine-tuning example: where attention to the subject goes, here and elsewhere.

The step is plain gradient descent on the example's own loss, as fine-tuning scores it (answer and EOS). It
is taken, measured and taken back. Weights are float64, so that a small step is not lost in them; patterns are
float32 all the same, as the models' own softmax is, which leaves changes known to about 1e-7 over the rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.checkpoints.loading import load_tokenizer, load_weights
from finetune.data.prompts import Prompt
from finetune.training.examples import answer_examples
from interp.measures.attention import row_mass
from interp.measures.spans import PromptBatch, encode

QUERY_KEY = ("q_proj", "k_proj")  # what holds W_Q and W_K in the bases that are pretrained here


@dataclass(frozen=True, kw_only=True)
class StepEffects:
    """How a step on each example moved subject attention, per unit of the step's rate.

    ``own`` is on the example's own prompt, ``elsewhere`` the mean over the prompts that were watched.
    """

    own: Float[Tensor, "example layer head"]
    elsewhere: Float[Tensor, "example layer head"]


def load_exact(base: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a base in float64 with attention that can be read."""
    model = load_weights(base, dtype=torch.float64)
    model.set_attn_implementation("eager")
    return model.eval(), load_tokenizer(base)


def weights_of(model: PreTrainedModel, *, query_key: bool) -> list[nn.Parameter]:
    """Return the weights that a step moves: all, or those of queries and keys alone."""
    named = model.named_parameters()
    return [p for name, p in named if not query_key or any(part in name for part in QUERY_KEY)]


def step_effects(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Prompt],
    watched: Sequence[Sequence[Prompt]],
    *,
    query_key: bool,
    rate: float,
) -> StepEffects:
    """Take a step on each example, measure what it does to attention, and undo it.

    Args:
        model: the plain model, in eager attention.
        tokenizer: its own.
        examples: prompts with their answers.
        watched: for each example, the other prompts to measure the step on.
        query_key: step in W_Q and W_K alone.
        rate: the learning rate, by which changes are divided.
    """
    weights = weights_of(model, query_key=query_key)
    before: dict[tuple[str, ...], Tensor] = {}
    own, elsewhere = [], []
    for example, others in zip(examples, watched, strict=True):
        batch = encode(tokenizer, [example, *others])
        texts = tuple(prompt.text for prompt in batch.prompts)
        if texts[1:] not in before:
            before[texts[1:]] = exact_subject_mass(model, batch[list(range(1, len(batch)))])
        start = torch.cat([exact_subject_mass(model, batch[[0]]), before[texts[1:]]])
        with gradient_step(model, tokenizer, example, weights, rate=rate):
            change = (exact_subject_mass(model, batch) - start) / rate
        own.append(change[0])
        elsewhere.append(change[1:].mean(0))
    return StepEffects(own=torch.stack(own), elsewhere=torch.stack(elsewhere))


@contextmanager
def gradient_step(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    example: Prompt,
    weights: Sequence[nn.Parameter],
    *,
    rate: float,
) -> Iterator[None]:
    """Move some weights by one gradient step on one example, and back on leaving.

    Args:
        model: the plain model.
        tokenizer: its own.
        example: a prompt with its answer.
        weights: those that are moved.
        rate: the learning rate.
    """
    row = answer_examples(tokenizer, [example], rows=1).collate([0])
    grads = torch.autograd.grad(model(**row, use_cache=False).loss, weights)
    kept = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight.sub_(rate * grad)
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(weights, kept, strict=True):
                weight.copy_(old)


@torch.no_grad()
def exact_subject_mass(model: PreTrainedModel, batch: PromptBatch) -> Float[Tensor, "fact layer head"]:
    """Measure the last token's attention to the subject, in the model's own precision."""
    fact = torch.arange(len(batch))
    given = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        output_attentions=True,
        use_cache=False,
    ).attentions
    return row_mass(torch.stack([each[fact, :, batch.last] for each in given], dim=1), batch.subject_mask)
