"""Consistency classes of facts under different solved examples: the four classes of Gekhman et al. (2024).

*Does Fine-Tuning LLMs on New Knowledge Encourage Hallucinations?* (arXiv 2405.05904, section 3) asks each
question under several few-shot prompts, greedily and by sampling, and tells four classes of facts apart:

- HighlyKnown: the greedy answer is right under every prompt;
- MaybeKnown: under some of them;
- WeaklyKnown: under none, but a sampled answer is right;
- Unknown: never.

Here one teacher-forced pass a prompt stands for both. It tells whether greedy decoding says the canonical
answer, and with which probability p a sample at temperature T does. So what samples would estimate is known
without drawing them: at least one of n under each prompt is right with probability 1 - product over prompts
of (1 - p)^n, and a fact counts as WeaklyKnown if that is one half or more. An answer is judged by its own
tokens, not by what follows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from finetune.evaluation.batching import (
    TokenBudget,
    pad_id,
    require_context,
    require_embedded,
    rows_within,
    run_in_batches,
)
from finetune.evaluation.prefixes import PrefixMemo, front_of_all
from finetune.evaluation.scoring import Ids, answer_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEMPERATURE, SAMPLES = 0.5, 16  # as in the paper
UNKNOWN, WEAKLY, MAYBE, HIGHLY = range(4)
CLASSES = ("Unknown", "WeaklyKnown", "MaybeKnown", "HighlyKnown")


def decodes_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[Ids, Ids]],
    names: Sequence[str],
    *,
    memo: PrefixMemo | None = None,
    temperature: float = TEMPERATURE,
    budget: TokenBudget | None = None,
) -> tuple[Bool[ndarray, " pair"], Float[ndarray, " pair"]]:
    """Say of (prompt, answer) ids whether greedy decoding says the answer, and how probably a sample does.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        pairs: (prompt ids, answer ids).
        names: what an error calls each pair.
        memo: run what prompts begin with (solved examples) once; nothing is shared without it.
        temperature: of the sample.
        budget: bound on the tokens of one forward pass; halved where memory runs out.

    Raises:
        InputError: a pair is longer than the model can read.
    """
    import torch

    from finetune.evaluation.unembedding import vocabulary

    widths = [len(prompt) + len(answer) for prompt, answer in pairs]
    require_context(model, widths, names)
    require_embedded(model, tokenizer, [(*prompt, *answer) for prompt, answer in pairs], names)
    pad = pad_id(tokenizer, model)
    greedy, probability = np.zeros(len(pairs), bool), np.zeros(len(pairs))
    heads, longest = [head for head, _ in pairs], max((len(answer) for _, answer in pairs), default=0)
    front = front_of_all(model, heads, longest, memo)

    def work(chunk: list[int]) -> None:
        with torch.inference_mode():
            some, shared = [pairs[i] for i in chunk], front(chunk)
            logits = answer_logits(model, some, pad, front=shared, memo=memo).float()
            for k, i in enumerate(chunk):
                own = logits[k, : len(pairs[i][1])]
                wanted = torch.tensor(pairs[i][1], device=own.device)
                greedy[i] = bool((own.argmax(-1) == wanted).all())
                each = (own / temperature).log_softmax(-1).gather(-1, wanted[:, None])
                probability[i] = float(each.sum().exp())

    most = rows_within(vocabulary(model), longest + 1)
    run_in_batches(widths, work, budget=budget or TokenBudget(), most=most)
    return greedy, probability


def consistency_classes(
    greedy: Bool[ndarray, "fact prompt"],
    probability: Float[ndarray, "fact prompt"],
    asked: Bool[ndarray, "fact prompt"],
    samples: int = SAMPLES,
) -> Int[ndarray, " fact"]:
    """Return each fact's class, a place in :data:`CLASSES`, by the prompts under which it was ``asked``.

    Args:
        greedy: whether greedy decoding was right.
        probability: of a right sample.
        asked: the prompts that count.
        samples: how many are drawn of a prompt.
    """
    missed = np.where(asked, (1 - probability) ** samples, 1.0).prod(1)
    found = np.where(missed <= 0.5, WEAKLY, UNKNOWN)
    found = np.where((greedy & asked).any(1), MAYBE, found)
    return np.where((greedy | ~asked).all(1) & asked.any(1), HIGHLY, found).astype(np.int64)
