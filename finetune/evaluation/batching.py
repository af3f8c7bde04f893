"""Batches within a bound on tokens: rows of similar width, halved where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetune.common.errors import InputError
from finetune.common.freed_memory import release_freed_memory

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 16_384
LOGITS = 2**25  # of a forward pass, at most: 128 MiB in float32
IGNORED = -100  # the label that torch's cross entropy skips
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TokenBudget:
    """How many tokens a forward pass takes at most; where memory runs out they are halved.

    Give one budget to several calls so that they share what was learnt; ``changes`` says what was, a line
    each, for a manifest.
    """

    tokens: int = BATCH_TOKENS
    changes: list[str] = field(default_factory=list)

    def halve(self, used: int) -> None:
        """Note that ``used`` tokens were too many and take half of them from now on."""
        self.tokens = max(1, used // 2)
        self.changes.append(f"out of memory at {used:,} tokens a batch: {self.tokens:,} from there on")
        _log.warning(self.changes[-1])


def run_in_batches(
    widths: Sequence[int],
    work: Callable[[list[int]], None],
    *,
    budget: TokenBudget,
    most: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Do ``work`` on groups of row numbers, narrow rows first, so that rows times width stays in budget.

    A row wider than the budget goes alone. A group that runs out of memory (as accelerate recognises it) is
    tried again in halves.

    Args:
        widths: how many tokens each row takes.
        work: what is done with a group of row numbers.
        budget: bound on the tokens of a group.
        most: bound on its rows (:func:`rows_within`); none without it.
        advance: is told how many rows are done.

    Raises:
        InputError: one row alone does not fit into memory.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    left = sorted(range(len(widths)), key=widths.__getitem__)
    while left:
        rows = left[: min(_rows_that_fit([widths[i] for i in left], budget.tokens), most or len(left))]
        try:
            work(rows)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            if len(rows) == 1:
                raise InputError(
                    f"a row of {widths[rows[0]]:,} tokens does not fit into memory even alone; shorten the "
                    "prompts, load the model in a smaller dtype, or use a larger device"
                ) from error
            budget.halve(len(rows) * widths[rows[-1]])
        else:
            left = left[len(rows) :]
            release_freed_memory()
            advance(len(widths) - len(left))
            continue
        # Only here, after the handler, has the traceback let go of the failed batch's tensors.
        clear_device_cache(garbage_collection=True)


def rows_within(vocabulary: int, positions: int = 1) -> int:
    """Return how many rows, each unembedded at so many positions, have no more than ``LOGITS`` logits."""
    return max(1, LOGITS // (vocabulary * max(1, positions)))


def require_context(model: PreTrainedModel, widths: Sequence[int], names: Sequence[str]) -> int | None:
    """Return how many tokens the model can read, or None if it sets no limit.

    Raises:
        InputError: names the first row that is longer.
    """
    limit = context_limit(model)
    if limit is None:
        return None
    for width, name in zip(widths, names, strict=True):
        if width > limit:
            raise InputError(
                f"{name}: {width:,} tokens, but the model reads {limit:,} at most; shorten it, use fewer "
                "examples in front, or leave it out"
            )
    return limit


def context_limit(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model can read, or None if it sets no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def sliding_window(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model's attention reaches back where it slides, or None if it never does.

    Also where it is local (GPT-Neo) or in chunks (Llama 4).
    """
    config = model.config.get_text_config()
    named = [
        getattr(config, name, None) for name in ("sliding_window", "window_size", "attention_chunk_size")
    ]
    return min((window for window in named if isinstance(window, int) and window > 0), default=None)


def pad_rows(
    rows: Sequence[Sequence[int]], pad: int, *, left: bool = False
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Lay rows of ids out on one side of a rectangle, with the mask that tells them from the padding."""
    import torch

    width = max(map(len, rows))

    def laid_out(row: Sequence[int], filling: int) -> list[int]:
        free = [filling] * (width - len(row))
        return [*free, *row] if left else [*row, *free]

    # One tensor of lists takes a fraction of the time of one for each row.
    ids = torch.tensor([laid_out(row, pad) for row in rows], dtype=torch.long)
    return ids, torch.tensor([laid_out([1] * len(row), 0) for row in rows], dtype=torch.long)


def pad_id(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """Return the id that fills masked positions; any with an embedding will do, and none may be defined."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None and candidate < (embeddings(model) or candidate + 1):
            return int(candidate)
    return 0


def embeddings(model: PreTrainedModel) -> int | None:
    """Count the token ids that a model has an embedding for; None where it does not show them."""
    table = getattr(model, "get_input_embeddings", lambda: None)()
    return None if table is None else int(table.weight.shape[0])


def require_embedded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Sequence[int]],
    names: Sequence[str],
) -> None:
    """Refuse token rows that a model cannot look up.

    Args:
        model: the model, whose embeddings count.
        tokenizer: names the token.
        rows: token ids.
        names: what an error calls each row.

    Raises:
        InputError: names the first row with a token that has no embedding, and the token.
    """
    size = embeddings(model)
    for row, name in zip(rows, names, strict=True):
        if size is not None and (largest := max(row, default=0)) >= size:
            token = tokenizer.convert_ids_to_tokens(largest)
            raise InputError(
                f"{name}: holds the token {token!r} (id {largest}), but the model has {size:,} embeddings; "
                "leave it out, or use the checkpoint whose embeddings were resized for it"
            )


def _rows_that_fit(widths: Sequence[int], tokens: int) -> int:
    """Count the rows, in ascending width, that go together; one at least."""
    n = 1
    while n < len(widths) and (n + 1) * widths[n] <= tokens:
        n += 1
    return n
