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
    rows_within,
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

    ``names`` say what a pair is, should it be longer than the model can read.

    Returns:
        log_prob, Float [pair], of the whole continuation in nats; and whether greedy decoding would say
        exactly it and then EOS, Bool [pair].

    Raises:
        InputError: a pair is longer than the model can read, or holds a token that it has no embedding for.
    """
    import torch

    from finetune.evaluation.unembedding import logits_at, vocabulary

    ends, pad = end_ids(model, tokenizer), pad_id(tokenizer, model)
    widths = [len(prompt) + len(answer) for prompt, answer in pairs]
    require_context(model, widths, names)
    require_embedded(model, tokenizer, [(*prompt, *answer) for prompt, answer in pairs], names)
    log_prob, exact = np.zeros(len(pairs)), np.zeros(len(pairs), bool)
    model.eval()

    def work(chunk: list[int]) -> None:
        ids, mask = pad_rows([(*pairs[i][0], *pairs[i][1]) for i in chunk], pad)
        with torch.inference_mode():
            logits = logits_at(model, ids, mask, answer_positions([pairs[i] for i in chunk]))
        for k, i in enumerate(chunk):
            answer = pairs[i][1]
            log_prob[i], exact[i] = _score_answer(logits[k, : len(answer) + 1].cpu(), answer, ends)

    most = rows_within(vocabulary(model), max((len(answer) + 1 for _, answer in pairs), default=1))
    run_in_batches(widths, work, budget=budget or TokenBudget(), most=most, advance=advance)
    return log_prob, exact


def answer_positions(pairs: Sequence[tuple[Ids, Ids]]) -> Int[Tensor, "pair nth"]:
    """Return the positions that predict each answer's tokens and what follows; a row's last one repeats."""
    import torch

    starts = torch.tensor([len(prompt) - 1 for prompt, _ in pairs])
    lengths = torch.tensor([len(answer) for _, answer in pairs])
    return starts[:, None] + torch.minimum(torch.arange(int(lengths.max()) + 1), lengths[:, None])


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
