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
from finetune.evaluation.prefixes import PrefixMemo, front_of_all, run_prefix

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
    temperature: float = 1.0,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score continuations, given as (prompt ids, continuation ids), in one forward a batch.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        pairs: (prompt ids, continuation ids).
        names: what an error calls each pair.
        temperature: what logits are divided by: the log-probability is that of a sample.
        memo: run what prompts begin with (solved examples) once; nothing is shared without it.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many pairs are done.

    Returns:
        log_prob, Float [pair], of the whole continuation in nats; and whether greedy decoding would say
        exactly it and then EOS, Bool [pair].

    Raises:
        InputError: a pair is longer than the model can read, or holds a token that it has no embedding for.
    """
    from finetune.evaluation.unembedding import vocabulary

    ends, pad = end_ids(model, tokenizer), pad_id(tokenizer, model)
    widths = [len(prompt) + len(answer) for prompt, answer in pairs]
    require_context(model, widths, names)
    require_embedded(model, tokenizer, [(*prompt, *answer) for prompt, answer in pairs], names)
    log_prob, exact = np.zeros(len(pairs)), np.zeros(len(pairs), bool)
    longest = max((len(answer) for _, answer in pairs), default=0)
    front = front_of_all(model, [prompt for prompt, _ in pairs], longest, memo)
    model.eval()

    def work(chunk: list[int]) -> None:
        logits = answer_logits(model, [pairs[i] for i in chunk], pad, front=front(chunk), memo=memo)
        for k, i in enumerate(chunk):
            own = logits[k, : len(pairs[i][1]) + 1].cpu().float() / temperature
            log_prob[i], exact[i] = score_answer(own, pairs[i][1], ends)

    most = rows_within(vocabulary(model), longest + 1)
    run_in_batches(widths, work, budget=budget or TokenBudget(), most=most, advance=advance)
    return log_prob, exact


def answer_logits(
    model: PreTrainedModel,
    pairs: Sequence[tuple[Ids, Ids]],
    pad: int,
    *,
    front: int = 0,
    memo: PrefixMemo | None = None,
) -> Float[Tensor, "pair nth vocab"]:
    """Return the logits that predict each answer's tokens and what follows; prompts' prefix is run once.

    Args:
        model: the plain model.
        pairs: (prompt ids, answer ids).
        pad: the id that fills masked positions.
        front: how many tokens all prompts begin with, which are run once.
        memo: what was run before.
    """
    import torch

    from finetune.evaluation.unembedding import logits_at

    ids, mask = pad_rows([(*prompt, *answer)[front:] for prompt, answer in pairs], pad)
    with torch.inference_mode():
        mask, cache = run_prefix(model, pairs[0][0][:front], mask, memo)
        given = {"past_key_values": cache, "use_cache": True} if front else {}
        return logits_at(model, ids, mask, answer_positions(pairs) - front, **given)


def next_token_log_probs(
    model: PreTrainedModel,
    rows: Sequence[Ids],
    *,
    budget: TokenBudget | None = None,
) -> Float[np.ndarray, "row vocab"]:
    """Return the log-probabilities of the token that follows each row of ids, float32 in nats."""
    import torch

    from finetune.evaluation.unembedding import logits_at, vocabulary

    made = np.zeros((len(rows), vocabulary(model)), np.float32)
    model.eval()

    def work(chunk: list[int]) -> None:
        ids, mask = pad_rows([rows[i] for i in chunk], 0)
        with torch.inference_mode():
            logits = logits_at(model, ids, mask, mask.sum(1, keepdim=True) - 1)
        made[chunk] = logits[:, 0].float().log_softmax(-1).cpu().numpy()

    most = rows_within(vocabulary(model))
    run_in_batches([len(row) for row in rows], work, budget=budget or TokenBudget(), most=most)
    return made


def answer_positions(pairs: Sequence[tuple[Ids, Ids]]) -> Int[Tensor, "pair nth"]:
    """Return the positions that predict each answer's tokens and what follows; a row's last one repeats."""
    import torch

    starts = torch.tensor([len(prompt) - 1 for prompt, _ in pairs])
    lengths = torch.tensor([len(answer) for _, answer in pairs])
    return starts[:, None] + torch.minimum(torch.arange(int(lengths.max()) + 1), lengths[:, None])


def score_answer(logits: Float[Tensor, "pos vocab"], answer: Ids, ends: frozenset[int]) -> tuple[float, bool]:
    """Score an answer (nats) by the logits of its tokens and of what follows; say whether it is greedy.

    Without ends, what follows does not matter.
    """
    import torch

    wanted = torch.tensor(answer, dtype=torch.long)
    predicted = logits.float().log_softmax(-1)
    log_prob = predicted[: len(answer)].gather(-1, wanted[:, None]).sum()
    *said, after = predicted.argmax(-1).tolist()
    return float(log_prob), said == list(answer) and (after in ends or not ends)
