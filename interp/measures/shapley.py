"""Shapley values of a few players, exact over all subsets: how far each accounts for an outcome.

The value of player g is its marginal contribution v(S + g) - v(S), averaged over all orders in which the
players may join: over the subsets S without g with weight |S|! (n - |S| - 1)! / n!. The values of all players
add up to v(all) - v(none) (Shapley 1953).
"""

from __future__ import annotations

from itertools import product
from math import factorial

import numpy as np
from einops import einsum
from jaxtyping import Bool, Float
from numpy import ndarray


def all_subsets(players: int) -> Bool[ndarray, "subset player"]:
    """List all subsets: none first, all last, the first player changing slowest."""
    return np.array(list(product((False, True), repeat=players)), bool).reshape(2**players, players)


def shapley_values(outcomes: Float[ndarray, "subset ..."]) -> Float[ndarray, "player ..."]:
    """Return each player's Shapley value of outcomes that are in the order of :func:`all_subsets`.

    Raises:
        ValueError: the number of outcomes is no power of two.

    Examples:
        >>> import numpy as np
        >>> shapley_values(np.array([0.0, 0.0, 0.0, 1.0])).tolist()  # only both together bring it back
        [0.5, 0.5]
    """
    players = len(outcomes).bit_length() - 1
    if len(outcomes) != 2**players:
        raise ValueError(f"{len(outcomes)} outcomes: give one for each of 2^n subsets")
    member = all_subsets(players)
    size = member.sum(1)[:, None]
    joined = np.where(member, size - 1, size)  # how many had joined when the player did
    order = [factorial(k) * factorial(players - 1 - k) / factorial(players) for k in range(players)]
    weight = np.where(member, 1.0, -1.0) * np.array(order)[joined] if players else np.zeros((1, 0))
    return einsum(weight, np.asarray(outcomes, np.float64), "subset player, subset ... -> player ...")


def values_alone(outcomes: Float[ndarray, "subset ..."]) -> Float[ndarray, "player ..."]:
    """Return what each player alone adds to the outcome of none, for comparison with its Shapley value."""
    players = len(outcomes).bit_length() - 1
    return np.stack([outcomes[2**i] - outcomes[0] for i in reversed(range(players))])
