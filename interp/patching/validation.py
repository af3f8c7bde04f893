"""Validation of interventions: refuse those that cannot be made on a model and its prompts."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import pad
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from interp.measures.spans import PromptBatch
from interp.patching.interventions import (
    Intervention,
    Knockout,
    Mean,
    Replace,
    edits,
    facts_mask,
    heads_of,
    layers_of,
)
from interp.patching.positions import keys as role_keys
from interp.patching.positions import positions as role_positions
from interp.patching.positions import slots
from interp.patching.recording import ATTENTION, require_site


def require_intervention(
    model: TransformerBridge, batch: PromptBatch, item: Intervention, *, positions: bool = True
) -> None:
    """Refuse an intervention that cannot be made on this model and, with ``positions``, these prompts.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        item: the intervention.
        positions: whether the prompts are checked, too.

    Raises:
        InputError: a site, layer or head that the model has not; an action that does not go with the site;
            a source of other layers, roles, lengths or positions, or a knock-out of all keys that a position
            sees (names the fact).
    """
    layers, heads = layers_of(model, item), heads_of(model, item)
    require_site(model, item.site, layers)
    attention = item.site in ATTENTION
    if item.keys is not None and not attention:
        raise InputError(
            f"keys = {item.keys!r}: only pattern and scores have keys, not {item.site!r}; leave keys out"
        )
    if isinstance(item.do, Knockout) and not attention:
        raise InputError(f"Knockout of {item.site!r}: only pattern and scores can lose keys; use Zero()")
    if isinstance(item.do, Mean) and attention:
        raise InputError(f"Mean of {item.site!r}: rows of different prompts have no mean; use Replace")
    if isinstance(item.do, Replace | Mean):
        _require_source(item, item.do, layers, heads)
    if isinstance(item.do, Replace) and positions:
        _require_positions(item, item.do, batch)
    if isinstance(item.do, Knockout) and positions:
        _require_keys_left(item, batch)


def _require_keys_left(item: Intervention, batch: PromptBatch) -> None:
    """Refuse a knock-out of all that a query sees: its scores would give a uniform row, its pattern none."""
    left = batch.attention_mask.bool() & ~role_keys(batch, item.keys or "all")
    if (odd := edits(item, batch) & ~left.cumsum(1).bool()).any():
        fact, position = odd.nonzero()[0].tolist()
        raise InputError(
            f"fact {batch.fact_ids[fact]!r}: Knockout of keys = {item.keys!r} leaves position {position} "
            "nothing to attend to; choose keys that leave it some, or Zero() of the pattern"
        )


def _require_source(
    item: Intervention, do: Replace | Mean, layers: tuple[int, ...], heads: tuple[int, ...]
) -> None:
    source = do.source
    if source.site != item.site:
        raise InputError(f"a recording of {source.site!r} cannot replace {item.site!r}; record that site")
    if isinstance(do, Replace) and source.at != item.at:
        raise InputError(f"recorded at {source.at!r}, to be put at {item.at!r}; record it there")
    if isinstance(do, Replace) and item.keys is not None:
        raise InputError(f"keys = {item.keys!r}: a row is replaced as a whole; leave keys out")
    if missing := sorted(set(layers) - set(source.layers)):
        raise InputError(f"layers {missing} were not recorded; record them, or choose from {source.layers}")
    if heads and max(heads) >= source.values.shape[3]:
        raise InputError(
            f"the recording has {source.values.shape[3]} heads; it is of a model of another shape"
        )


def _require_positions(item: Intervention, do: Replace, batch: PromptBatch) -> None:
    """Compare the places to edit with those that were recorded, of all facts at once."""
    rows = facts_mask(item, batch).nonzero().flatten()
    ids = batch.fact_ids
    wanted = [ids[row] for row in rows.tolist()]
    donors = [(do.facts or {}).get(fact_id, fact_id) for fact_id in wanted]
    source = do.source.rows(donors)
    here, there = slots(role_positions(batch, item.at))[rows], do.source.places[source]
    width = max(here.shape[1], there.shape[1])
    here, there = (pad(part, (0, width - part.shape[1]), value=-1) for part in (here, there))

    def refuse(odd: Bool[Tensor, " fact"], problem: Callable[[int], str]) -> None:
        if odd.any():
            k = int(odd.nonzero()[0])
            name = f"fact {wanted[k]!r}" + (f" from {donors[k]!r}" if donors[k] != wanted[k] else "")
            raise InputError(f"{name}: {problem(k)}")

    refuse(
        ((here >= 0).sum(1) != (there >= 0).sum(1)),
        lambda k: (
            f"{int((here[k] >= 0).sum())} positions are {item.at!r} and {int((there[k] >= 0).sum())} were "
            "recorded; use a source whose subject and wording have as many tokens"
        ),
    )
    if item.site not in ATTENTION:
        return
    lengths, theirs = batch.last[rows] + 1, do.source.lengths[source]
    refuse(
        lengths != theirs,
        lambda k: (
            f"its prompt has {int(lengths[k])} tokens and the source's {int(theirs[k])}, so the keys of a "
            "row would be others; use a source of the same layout"
        ),
    )
    refuse(
        (here != there).any(1),
        lambda k: (
            f"position {int(here[k][here[k] != there[k]][0])} is {item.at!r} here, and not in the source"
        ),
    )
