"""Which way a batch of facts would move a model: gradients by group of parameters, their norms and cosines.

1. A batch's gradient is the mean over its facts' (:mod:`interp.measures.gradients`).
2. Parameters are grouped by the names of their modules: W_Q, W_K, W_V, W_O, MLP, embedding, unembedding.
3. A group's gradient is one long vector: its norm says how far a small step moves the group, and the cosine
   of two batches' says how far a step on one is a step on the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.utils import parameters_to_vector

from finetune.common.errors import InputError
from interp.measures.gradients import Gradient

EVERYTHING = "all"
NORMS = "norms"
MODULES = {
    "W_Q": ("q_proj",),
    "W_K": ("k_proj",),
    "W_V": ("v_proj",),
    "W_O": ("o_proj",),
    "MLP": ("mlp",),
    "embedding": ("embed_tokens",),
    "unembedding": ("lm_head",),
}
OPTIONAL = ("unembedding",)  # a model whose output weights are its embedding has none of its own


def groups_of(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Sort parameters into groups by their modules' names; the scales of norms are a group of their own.

    Raises:
        InputError: a parameter belongs to no group, or a group has none.
    """
    groups: dict[str, list[str]] = {group: [] for group in (*MODULES, NORMS)}
    for name in names:
        parts = name.split(".")
        found = [group for group, modules in MODULES.items() if any(m in parts for m in modules)]
        found = found or [NORMS] * any(part.endswith("norm") for part in parts)
        if len(found) != 1:
            raise InputError(
                f"gradients by group: parameter {name!r} belongs to none of {', '.join(groups)}; "
                "use a model with Llama's names of modules (q_proj, k_proj, v_proj, o_proj, mlp ...)"
            )
        groups[found[0]].append(name)
    for group in MODULES:
        if not groups[group] and group not in OPTIONAL:
            raise InputError(
                f"gradients by group: the model has no {' or '.join(MODULES[group])}, so no {group}; "
                "use a model with Llama's names of modules"
            )
    return {group: tuple(some) for group, some in groups.items() if some}


def norms(gradient: Gradient, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the length of a gradient, in every group and in all parameters."""
    return {group: float(vector.norm()) for group, vector in _vectors(gradient, groups)}


def cosines(first: Gradient, second: Gradient, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the cosine between two gradients, in every group and in all parameters."""
    pairs = zip(_vectors(first, groups), _vectors(second, groups), strict=True)
    return {group: float(cosine_similarity(a, b, dim=0, eps=1e-30)) for (group, a), (_, b) in pairs}


def _vectors(gradient: Gradient, groups: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Tensor]]:
    everything = [name for names in groups.values() for name in names]
    for group, names in {**groups, EVERYTHING: everything}.items():
        # Double, since the sum of squares runs over hundreds of thousands of entries.
        yield group, parameters_to_vector([gradient[name].double() for name in names])


def compare_gradients(
    gradients: Mapping[str, Gradient], pairs: Mapping[str, tuple[str, str]]
) -> list[dict[str, str | float]]:
    """Lay out norms of named gradients and cosines of named pairs: rows of group, kind, name, value."""
    groups = groups_of(next(iter(gradients.values())))
    made = [("norm", name, norms(gradient, groups)) for name, gradient in gradients.items()]
    made += [("cosine", name, cosines(gradients[a], gradients[b], groups)) for name, (a, b) in pairs.items()]
    return [
        {"group": group, "kind": kind, "name": name, "value": value}
        for kind, name, values in made
        for group, value in values.items()
    ]
