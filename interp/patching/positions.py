"""Positions named by their role in the prompt, so that one intervention fits prompts of any length."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from finetune.common.errors import InputError
from interp.measures.spans import PromptBatch

Role = Literal["subject", "subject_last", "relation", "bos", "last", "rest", "all"]


def positions(batch: PromptBatch, role: Role) -> Bool[Tensor, "fact pos"]:
    """Mark the tokens that play a role in each prompt.

    ``subject_last`` is the last token of the subject, ``relation`` the prompt's other words, ``bos`` all
    special tokens, ``last`` the token where the answer is read, ``rest`` the same where it is neither
    subject nor special, ``all`` the whole prompt. These are places of the residual stream; what may be edited
    of an attention row is :func:`keys`.

    Raises:
        InputError: there is no such role.
    """
    if role not in get_args(Role):
        raise InputError(f"role {role!r}: choose one of {', '.join(get_args(Role))}")
    if role == "all":
        return batch.attention_mask.bool()
    if role == "last":
        return batch.last_mask
    if role == "subject_last":
        behind = batch.subject_mask.flip(1).cumsum(1).flip(1)
        return batch.subject_mask & (behind == 1)
    rest = batch.last_mask & ~batch.subject_mask & ~batch.special_mask
    masks = {"subject": batch.subject_mask, "relation": batch.relation_mask, "bos": batch.special_mask}
    return masks.get(role, rest)


def keys(batch: PromptBatch, role: Role) -> Bool[Tensor, "fact pos"]:
    """Mark the keys of a role that an edit of attention touches: never a sink, unless the role is theirs.

    So a boost or a knock-out of the subject, and its placebo, leave the first token alone whatever it is;
    ``bos`` are the sinks. ``all`` takes every key.
    """
    mask = positions(batch, role)
    if role == "all":
        return mask
    return batch.sink_mask if role == "bos" else mask & ~batch.sink_mask


def slots(mask: Bool[Tensor, "fact pos"]) -> Int[Tensor, "fact slot"]:
    """Return the positions marked in each row, in order; -1 behind the last of them."""
    count = int(mask.sum(1).max()) if len(mask) else 0
    place = torch.where(mask, torch.arange(mask.shape[1]), mask.shape[1]).sort(dim=1).values[:, :count]
    return torch.where(place < mask.shape[1], place, -1)
