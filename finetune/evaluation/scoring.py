"""Log-probabilities of given continuations by teacher forcing: answers, options, statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from finetune.data.tokenization import end_ids
from finetune.evaluation.batching import (
    TokenBudget,
    pad_id,
    pad_rows,
    require_context,
    require_embedded,
    run_in_batches,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Ids = tuple[int, ...]


def score_pairs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[Ids, Ids]],
    names: Sequence[str],
    *,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score continuations, given as (prompt ids, continuation ids), in one forward a batch.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        pairs: (prompt ids, continuation ids).
        names: what an error calls each pair.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many pairs are done.

    Returns:
        log_prob, Float [pair], of the whole continuation in nats; and whether greedy decoding would say
        exactly it and then EOS, Bool [pair].

    Raises:
        InputError: a pair is longer than the model can read, or holds a token that it has no embedding for.
    """
    import torch

    ends, pad = end_ids(model, tokenizer), pad_id(tokenizer, model)
    widths = [len(prompt) + len(answer) for prompt, answer in pairs]
    require_context(model, widths, names)
    require_embedded(model, tokenizer, [(*prompt, *answer) for prompt, answer in pairs], names)
    log_prob, exact = np.zeros(len(pairs)), np.zeros(len(pairs), bool)
    model.eval()

    def work(chunk: list[int]) -> None:
        ids, mask = pad_rows([(*pairs[i][0], *pairs[i][1]) for i in chunk], pad)
        first = min(len(pairs[i][0]) for i in chunk) - 1
        with torch.inference_mode():
            logits = _logits(model, ids, mask, first)
        for k, i in enumerate(chunk):
            prompt, answer = pairs[i]
            at = len(prompt) - 1 - first
            predicted = logits[k, at : at + len(answer) + 1].cpu()
            log_prob[i], exact[i] = _score_answer(predicted, answer, ends)

    run_in_batches(widths, work, budget=budget or TokenBudget(), advance=advance)
    return log_prob, exact


def _logits(
    model: PreTrainedModel, ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"], first: int
) -> Float[Tensor, "row kept vocab"]:
    """Return the logits from position ``first`` on, computing no others where the model allows that."""
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    supported = getattr(model, "_supports_logits_to_keep", None)
    if supported is None or not supported():
        return model(**inputs).logits[:, first:]
    # A vocabulary's logits at every token of a long prompt are most of what a forward pass holds.
    return model(**inputs, logits_to_keep=ids.shape[1] - first).logits


def _score_answer(
    logits: Float[Tensor, "pos vocab"], answer: Ids, ends: frozenset[int]
) -> tuple[float, bool]:
    """Score an answer by the logits that predict each of its tokens and then what follows it."""
    import torch

    wanted = torch.tensor(answer, dtype=torch.long)
    predicted = logits.float().log_softmax(-1)
    log_prob = predicted[: len(answer)].gather(-1, wanted[:, None]).sum()
    *said, after = predicted.argmax(-1).tolist()
    return float(log_prob), said == list(answer) and (after in ends or not ends)
