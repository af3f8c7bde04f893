"""Gradients of fine-tuning examples: a set's mean, and how far each example's points the same way.

A fact's loss is the mean of -log p over its answer's tokens and EOS, as fine-tuning scores it. Along a fixed
direction v its derivative is the inner product of its gradient with v. Forward-mode differentiation gives
that for every fact of a batch in one pass of about two forwards' cost, without any single fact's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.data.prompts import Prompt
from finetune.evaluation.batching import IGNORED, TokenBudget, run_in_batches
from finetune.evaluation.unembedding import logits_at, pack_labels, unembedded_at
from finetune.training.examples import answer_examples

Gradient = Mapping[str, Tensor]  # by parameter name


def mean_gradient(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    batch_tokens: int = 8192,
) -> tuple[float, dict[str, Tensor]]:
    """Return the mean loss of answers (nats a token) over facts and its gradient by parameter.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        batch_tokens: bound on the tokens of one forward pass.
    """
    examples = answer_examples(tokenizer, prompts, rows=len(prompts))
    at_once = max(1, batch_tokens // int(examples.lengths.max()))
    model.eval()
    model.zero_grad()
    total = 0.0
    for start in range(0, len(prompts), at_once):
        texts = [examples[row] for row in range(start, min(start + at_once, len(prompts)))]
        batch = {name: part.to(model.device) for name, part in examples.collate(texts).items()}
        position, labels = pack_labels(batch["labels"])
        logits = logits_at(model, batch["input_ids"], batch["attention_mask"], position)
        # Sums over chunks, so that how facts are cut into chunks does not matter.
        loss = answer_losses(logits, labels).sum() / len(prompts)
        loss.backward()
        total += float(loss.detach())
    named = {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return total, named


def answer_losses(
    logits: Float[Tensor, "fact pos vocab"], labels: Int[Tensor, "fact pos"]
) -> Float[Tensor, " fact"]:
    """Return each fact's mean -log p over its scored tokens, in nats."""
    wanted = labels[:, 1:]
    each = cross_entropy(
        logits[:, :-1].float().transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none"
    )
    return each.sum(1) / (wanted != IGNORED).sum(1)


def gradient_alignment(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    direction: Gradient,
    *,
    batch_tokens: int = 8192,
    advance: Callable[[int], None] = lambda done: None,
) -> Float[Tensor, " fact"]:
    """Return the inner product of each fact's gradient with ``direction``; parameters it lacks count as zero.

    The model computes its attention in the plain ("eager") way meanwhile, for fused kernels have no
    forward-mode derivative.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        direction: a gradient by parameter; those it lacks count as zero.
        batch_tokens: bound on the tokens of one forward pass.
        advance: is called with how many facts are done.
    """
    # The rows of a run are shuffled, but its texts are in the prompts' order, and it is these that are taken.
    examples = answer_examples(tokenizer, prompts, rows=len(prompts))
    found = torch.zeros(len(prompts))

    def work(rows: list[int]) -> None:
        found[rows] = _slopes(model, examples.collate(rows), direction).float().cpu()

    fused = model.config._attn_implementation
    model.eval()
    model.set_attn_implementation("eager")
    try:
        run_in_batches(
            examples.lengths.tolist(), work, budget=TokenBudget(tokens=batch_tokens), advance=advance
        )
    finally:
        model.set_attn_implementation(fused)
    return found


def _slopes(
    model: PreTrainedModel, batch: Mapping[str, Tensor], direction: Gradient
) -> Float[Tensor, " fact"]:
    inputs = {name: part.to(model.device) for name, part in batch.items()}
    named = {name: p.detach() for name, p in model.named_parameters() if name in direction}
    position, labels = pack_labels(inputs["labels"])

    def losses(parameters: dict[str, Tensor]) -> Tensor:
        given = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        with unembedded_at(model, position):
            logits = torch.func.functional_call(model, parameters, (), {**given, "use_cache": False}).logits
        return answer_losses(logits, labels)

    tangents = {name: direction[name].to(p) for name, p in named.items()}
    with torch.no_grad():
        slopes: Tensor = torch.func.jvp(losses, (named,), (tangents,))[1]
    return slopes
