"""Prefixes that token rows share, such as the same solved examples: run once, in front of all rows."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from finetune.evaluation.batching import pad_rows, sliding_window

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedModel

FEWEST_SHARED = 16  # tokens that rows must have in common for running them once to pay


class PrefixMemo:
    """Remembers the last prefix that was run, for batches and calls whose rows begin with the same tokens.

    It is of one model, and forgets what it kept of another one, or of another dtype or device. It does not
    see that weights or adapters of its model change: take a new one then. ``runs`` counts how often a prefix
    was run.
    """

    def __init__(self) -> None:
        self.runs = 0
        self._kept: dict[tuple[tuple[int, ...], str], Any] = {}
        self._model: tuple[Any, ...] = ()

    def keys_and_values(self, model: PreTrainedModel, prefix: Sequence[int], cache: Any) -> Any:
        """Return the keys and values of a prefix, a copy of its own for whoever goes on from them.

        Args:
            model: the plain model.
            prefix: the tokens.
            cache: as in :func:`run_prefix`.
        """
        import torch

        of = (weakref.ref(model), model.dtype, model.device)
        if of != self._model:
            self._kept, self._model = {}, of
        key = (tuple(prefix), type(cache).__name__)
        if key not in self._kept:
            self.runs += 1
            before = torch.tensor([list(prefix)], device=model.device)
            made = model(input_ids=before, past_key_values=cache, use_cache=True, **fewest_logits(model))
            others = {held: kept for held, kept in self._kept.items() if held[0] == key[0]}
            self._kept = others | {key: made.past_key_values}
        return copy.deepcopy(self._kept[key])


def common_prefix(model: PreTrainedModel, rows: Sequence[Sequence[int]], room: int) -> int:
    """Count the tokens that all rows begin with, but for the last of each, where that saves some work.

    Args:
        model: the plain model.
        rows: tokens of prompts.
        room: how many tokens more will stand behind each.
    """
    from finetune.evaluation.cache_parity import goes_on_from_cache

    # Padding stands between a shared prefix and the rest of a row: a sliding window would count it, so does
    # MPT's bias, which tells distances by places in the cache.
    reach = 0 if model.config.model_type == "mpt" else sliding_window(model) or math.inf
    if len(rows) < 2 or max(map(len, rows)) + room > reach:
        return 0
    n = min(map(len, rows)) - 1
    same = next((k for k in range(n) if any(row[k] != rows[0][k] for row in rows)), n)
    return same if same >= FEWEST_SHARED and goes_on_from_cache(model) else 0


def run_prefix(
    model: PreTrainedModel,
    prefix: Sequence[int],
    mask: Int[Tensor, "row pos"],
    memo: PrefixMemo | None,
    cache: Any = None,
) -> tuple[Int[Tensor, "row whole"], Any]:
    """Run tokens that stand in front of every row once; return the whole mask, and keys and values to go on.

    Args:
        model: the plain model.
        prefix: the tokens; without any, all is returned as it is.
        mask: of the rows behind them, 1 at tokens.
        memo: what was run before; None where nothing is remembered.
        cache: what to fill; the model's own kind of cache without it.
    """
    import torch

    if not prefix:
        return mask, cache
    with torch.inference_mode():
        made = (memo or PrefixMemo()).keys_and_values(model, prefix, cache)
        made.batch_repeat_interleave(len(mask))
    return torch.cat([mask.new_ones(len(mask), len(prefix)), mask], 1), made


def pad_behind_prefix(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    pad: int,
    front: int,
    memo: PrefixMemo | None,
    cache: Any = None,
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"], Any]:
    """Left-pad rows behind the tokens that they begin with, which are run once.

    Args:
        model: the plain model.
        rows: tokens of prompts.
        pad: the id that fills masked positions.
        front: how many tokens all rows share (:func:`common_prefix`).
        memo: what was run before; None where nothing is remembered.
        cache: as in :func:`run_prefix`.

    Returns:
        The ids and the mask of whole rows, on the model's device, and the keys and values of the prefix.
    """
    import torch

    ids, mask = (p.to(model.device) for p in pad_rows([row[front:] for row in rows], pad, left=True))
    mask, cache = run_prefix(model, rows[0][:front], mask, memo, cache)
    shared = torch.tensor(rows[0][:front], dtype=torch.long, device=ids.device)
    return torch.cat([shared.expand(len(ids), -1), ids], 1), mask, cache


def fewest_logits(model: PreTrainedModel) -> dict[str, int]:
    """Ask for the logits of the last position only, where a model allows that."""
    supported = getattr(model, "_supports_logits_to_keep", None)
    return {"logits_to_keep": 1} if supported is not None and supported() else {}


def front_of_all(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], room: int, memo: PrefixMemo | None
) -> Callable[[Sequence[int]], int]:
    """Say of some of the rows how many tokens they begin with: those of all rows, if these are enough.

    Batches that begin with the same tokens run these once; where rows of several kinds are mixed, a batch of
    one kind may have a longer prefix of its own.

    Args:
        model: the plain model.
        rows: tokens of prompts.
        room: how many tokens more will stand behind each.
        memo: None where nothing is shared.
    """
    whole = common_prefix(model, rows, room) if memo else 0

    def front(chunk: Sequence[int]) -> int:
        own = common_prefix(model, [rows[i] for i in chunk], room) if memo else 0
        return own if own >= whole + FEWEST_SHARED else whole

    return front
