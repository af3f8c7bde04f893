"""Tokens of two prompts matched by their roles, so that attention of one fits the other's length.

A token's role is whether it is an attention sink, of the subject, and the last one; a prompt is a sequence
of *runs* of one role each (the sink, words, the subject, words, the last token). Two prompts can be matched
if their runs have the same roles in the same order. Then, run by run:

1. Tokens are matched from the run's end: the subject's last token with the subject's last token, the words
   behind the subject from the last token backwards. So a longer subject differs in its first tokens only.
2. Where this prompt's run is longer, its surplus first tokens are matched with the other run's first token.
3. A query takes the row of the token that it is matched with. A key's attention goes to the tokens matched
   with it, in equal parts to those that the query can see; what a surplus key of the other prompt draws goes
   to this run's first token. So a row still adds up to 1, and every run of tokens draws as much as there.

Between prompts of one layout this is the identity.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.measures.spans import PromptBatch

Runs = tuple[tuple[int, int], ...]  # role and length of each run


def role_runs(batch: PromptBatch) -> list[Runs]:
    """Cut every prompt into runs of tokens of one role, (role, length) each."""
    codes = (4 * batch.sink_mask.long() + 2 * batch.subject_mask.long() + batch.last_mask.long()).tolist()
    found = []
    for code, last in zip(codes, batch.last.tolist(), strict=True):
        edges = [0, *(i for i in range(1, last + 1) if code[i] != code[i - 1]), last + 1]
        found.append(tuple((code[a], b - a) for a, b in pairwise(edges)))
    return found


def matched_positions(here: Runs, there: Runs) -> Int[Tensor, " here"]:
    """Return, for each token of one prompt, the other prompt's token that it is matched with."""
    matched: list[int] = []
    start = 0
    for (_, own), (_, other) in zip(here, there, strict=True):
        matched += [start + max(0, other - own + k) for k in range(own)]
        start += other
    return torch.tensor(matched)


def key_shares(here: Runs, there: Runs, queries: Int[Tensor, " query"]) -> Float[Tensor, "query there here"]:
    """Return what part of the attention to each of the other prompt's tokens goes to each of this one's."""
    forth, back = matched_positions(here, there), matched_positions(there, here)
    own, other = torch.arange(len(forth)), torch.arange(len(back))
    matched = (forth[None] == other[:, None]) | (back[:, None] == own[None])
    shares = (matched[None] & (own[None] <= queries[:, None])[:, None]).float()
    return shares / shares.sum(-1, keepdim=True).clamp_min(1)
