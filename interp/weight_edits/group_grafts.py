"""Grafting groups of weights from a donor into a fine-tuned model, and its placebo.

The donor is the base or another fine-tuning of it. The placebo moves every tensor (of a fused one, each
group's rows) as far as the donor lies away, in a random direction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from finetune.common.errors import InputError
from finetune.common.seeds import torch_generator
from interp.weight_edits.interpolation import State, move_by, require_alike
from interp.weight_edits.weight_groups import GROUPS, Labels


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's parameters by every name that they have; shared ones come under each of theirs."""
    return {name: weight.detach() for name, weight in model.named_parameters(remove_duplicate=False)}


def graft_groups(donor: State, tuned: State, labels: Labels, groups: Collection[str]) -> dict[str, Tensor]:
    """Return ``tuned`` with some groups' weights from ``donor``, to the bit; the rest are its own tensors.

    Args:
        donor: the base or another fine-tuning of it.
        tuned: the fine-tuned model.
        labels: which group each weight belongs to, see :func:`interp.weight_edits.weight_groups`.
        groups: keys of ``GROUPS``.

    Raises:
        InputError: an unknown group; a donor of other names or shapes.
    """
    if odd := [group for group in groups if group not in GROUPS]:
        raise InputError(f"groups {', '.join(odd)}: choose from {', '.join(GROUPS)}")
    require_alike(donor, tuned)
    taken = torch.tensor([group in groups for group in GROUPS])
    made = dict(tuned)
    for name, label in labels.items():
        chosen = taken[label]
        if chosen.all():
            made[name] = donor[name].to(tuned[name])
        elif chosen.any():
            made[name] = torch.where(chosen.to(tuned[name].device), donor[name].to(tuned[name]), tuned[name])
    return made


def changed_groups(donor: State, tuned: State, labels: Labels) -> frozenset[str]:
    """Return the groups in which any weight differs between two models.

    Raises:
        InputError: a donor of other names or shapes.
    """
    require_alike(donor, tuned)
    found: set[int] = set()
    for name, label in labels.items():
        differs = (donor[name].to(tuned[name]) != tuned[name]).cpu()
        found.update(group for group in label.unique().tolist() if (differs & (label == group)).any())
    return frozenset(group for place, group in enumerate(GROUPS) if place in found)


def random_donor(donor: State, tuned: State, labels: Labels, *, seed: int = 0) -> dict[str, Tensor]:
    """Return weights as far from the tuned ones as the donor's, in random directions: a placebo.

    Where both models tie two weights, these stay equal.

    Args:
        donor: the weights whose distance is kept, tensor by tensor.
        tuned: the fine-tuned model's.
        labels: which group each weight belongs to; distances are kept group by group.
        seed: of the directions.

    Raises:
        InputError: a donor of other names or shapes.
    """
    require_alike(donor, tuned)
    generator = torch_generator(seed, "random direction")
    made: dict[str, Tensor] = {}
    tied: dict[tuple[int, int], str] = {}
    for name, weight in tuned.items():
        first = tied.setdefault((weight.data_ptr(), donor[name].data_ptr()), name)
        if first != name:
            made[name] = made[first]
            continue
        noise = torch.randn(weight.shape, generator=generator).to(weight.device)
        if torch.equal(donor[name].to(weight), weight):  # its draw is made, so that the others keep theirs
            made[name] = weight
            continue
        away, moved = donor[name].to(weight).float() - weight.float(), weight
        for group in labels[name].unique():
            rows = (labels[name] == group).to(weight.device)
            moved = torch.where(rows, move_by(weight, noise * rows, float((away * rows).norm())), moved)
        made[name] = moved
    return made


@contextmanager
def with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a model compute with other weights; afterwards its parameters are the very tensors they were.

    Weights that share one parameter may be given different values: they are untied meanwhile.

    Raises:
        InputError: a weight that the model has not, or of another shape.
    """
    own: dict[str, tuple[nn.Module, str, nn.Parameter]] = {}
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(path, recurse=False):
            own[name] = (module, name.rpartition(".")[2], weight)
    if odd := [n for n, w in weights.items() if n not in own or own[n][2].shape != w.shape]:
        raise InputError(f"weight {odd[0]}: the model has none of that name and shape")
    try:
        for name, weight in weights.items():
            module, key, was = own[name]
            module._parameters[key] = nn.Parameter(weight, requires_grad=was.requires_grad)
        yield
    finally:
        for name in weights:
            module, key, was = own[name]
            module._parameters[key] = was
