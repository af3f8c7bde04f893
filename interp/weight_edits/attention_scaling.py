"""Scaling attention to the subject at inference: a cure that lives in no weights.

    cell = scale_subject_attention(4.0, heads=[(0, 1), (0, 3)])
    with pair.finetuned() as model:
        said = patch(model, batch, [cell]).said[0]

It has to be made for every prompt, by somebody who knows where the subject stands; it cannot be saved.
"""

from __future__ import annotations

from collections.abc import Iterable

from finetune.common.errors import InputError
from interp.patching.interventions import Intervention, Scale
from interp.patching.positions import Role
from interp.weight_edits.head_grafts import Head


def scale_subject_attention(
    by: float, *, heads: Iterable[Head] | None = None, keys: Role = "subject"
) -> tuple[Intervention, ...]:
    """Multiply the last prompt token's attention to the subject and renormalise, in all heads or in some.

    ``heads`` are (layer, head) pairs; ``keys`` are other tokens for a placebo. The result is one cell for
    :func:`interp.patch`.

    Raises:
        InputError: a factor that is not above 0, or no head.
    """
    scale = Scale(by=by)
    if by <= 0:
        raise InputError(f"by = {by}: attention is scaled by a factor above 0")
    if heads is None:
        return (Intervention(site="pattern", do=scale, keys=keys),)
    layers: dict[int, list[int]] = {}
    try:
        for layer, head in heads:
            layers.setdefault(layer, []).append(head)
    except TypeError:
        raise InputError(f"heads = {heads!r}: give (layer, head) pairs") from None
    if not layers:
        raise InputError("heads are empty: name at least one, or leave them out to scale all")
    return tuple(
        Intervention(site="pattern", do=scale, keys=keys, layers=(layer,), heads=tuple(sorted(some)))
        for layer, some in sorted(layers.items())
    )
