"""Recordings of activations at one site, kept by role so that another model or prompt can be given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from finetune.common.errors import InputError
from interp.measures.attention import chunk_batch, indices, run_hooked
from interp.measures.result import Result
from interp.measures.spans import PromptBatch, rows_by_id
from interp.models.identity import model_fingerprint
from interp.patching.positions import Role, positions, slots

Site = Literal["pattern", "scores", "q", "k", "v", "z", "residual", "mlp"]
ATTENTION: tuple[Site, ...] = ("pattern", "scores")
HOOKS: Mapping[Site, str] = {
    "pattern": "attn.hook_pattern",
    "scores": "attn.hook_attn_scores",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "z": "attn.hook_z",
    "residual": "hook_in",
    "mlp": "hook_mlp_out",
}


@dataclass(frozen=True, kw_only=True)
class Recording(Result):
    """Activations of one site at the positions of one role.

    ``values`` is [fact, layer, slot, ...]: the role's positions in order, then head and key for ``pattern``
    and ``scores``, head and d_head for ``q``, ``k``, ``v``, ``z``, d_model for ``residual`` (entering the
    block) and ``mlp``. ``places`` [fact, slot] are the positions, -1 where a fact has fewer; ``lengths`` are
    the prompts' in tokens; ``layers`` says which layers were kept.
    """

    site: Site
    at: Role
    layers: tuple[int, ...]
    values: Float[Tensor, "fact layer slot ..."]
    places: Int[Tensor, "fact slot"]
    lengths: Int[Tensor, " fact"]

    def rows(self, fact_ids: Sequence[str]) -> Int[Tensor, " fact"]:
        """Return where facts stand in ``values``.

        Raises:
            InputError: a fact was not recorded, or several recorded prompts have one id.
        """
        place = rows_by_id(self.fact_ids)
        if missing := [fact_id for fact_id in fact_ids if fact_id not in place]:
            raise InputError(f"fact {missing[0]!r}: has no recorded {self.site}; record it for this fact too")
        return torch.tensor([place[fact_id] for fact_id in fact_ids], dtype=torch.long)


def record(
    model: TransformerBridge,
    batch: PromptBatch,
    site: Site,
    *,
    at: Role = "last",
    layers: Sequence[int] | None = None,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> Recording:
    """Record a site's activations for every fact; the pass ends at the last layer that is wanted.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        site: what is recorded, one of :data:`Site`.
        at: the role of the positions that are kept.
        layers: the layers; all without it.
        batch_tokens: bound on the tokens of one forward pass.
        progress: names the work beside a progress bar; without it there is none.

    Raises:
        InputError: the model has no such site or layer.
    """
    wanted = indices("layers", layers, model.cfg.n_layers)
    require_site(model, site, wanted)
    places = slots(positions(batch, at))
    kept: dict[int, list[Tensor]] = {layer: [] for layer in wanted}
    order: list[Tensor] = []
    for index, chunk in chunk_batch(batch, batch_tokens, progress):
        order.append(index)
        place = places[index].clamp_min(0)
        hooks = [
            (hook_name(site, layer), _recording_hook(site, place, batch.input_ids.shape[1], kept[layer]))
            for layer in wanted
        ]
        run_hooked(model, chunk, [*hooks, (hook_name(site, max(wanted)), _stop)])
    back = torch.argsort(torch.cat(order))
    values = torch.stack([torch.cat(kept[layer])[back] for layer in wanted], dim=1)
    present = (places >= 0).view(len(batch), 1, -1, *[1] * (values.ndim - 3))
    return Recording(
        site=site,
        at=at,
        layers=wanted,
        values=torch.where(present, values, 0.0),
        places=places,
        lengths=batch.last + 1,
        fact_ids=batch.fact_ids,
        model=model_fingerprint(model),
    )


def _stop(activation: Tensor, hook: object) -> None:
    raise StopAtLayerException(activation)


def hook_name(site: Site, layer: int) -> str:
    """Return the name of a site's hook in one layer."""
    return f"blocks.{layer}.{HOOKS[site]}"


def require_site(model: TransformerBridge, site: Site, layers: Sequence[int]) -> None:
    """Refuse a site that is unknown, or that this architecture's bridge has not.

    Raises:
        InputError: names the site and those there are.
    """
    if site not in get_args(Site):
        raise InputError(f"site {site!r}: choose one of {', '.join(get_args(Site))}")
    available = model.hook_dict
    if missing := [layer for layer in layers if hook_name(site, layer) not in available]:
        there = [s for s in get_args(Site) if hook_name(s, missing[0]) in available]
        raise InputError(
            f"{model.cfg.architecture}: layer {missing[0]} has no site {site!r}; it has {', '.join(there)}"
        )


def _recording_hook(
    site: Site, place: Int[Tensor, "fact slot"], width: int, kept: list[Tensor]
) -> Callable[[Tensor, object], None]:
    """Return a hook that keeps the role's positions, with keys filled up to the whole batch's width."""
    fact = torch.arange(len(place))[:, None]

    def keep(activation: Tensor, hook: object) -> None:
        if site in ATTENTION:  # [fact, head, query, key]
            rows = activation.transpose(1, 2)[fact, place].float().cpu()
            kept.append(torch.nn.functional.pad(rows, (0, width - rows.shape[-1])))
        else:
            kept.append(activation[fact, place].float().cpu())

    return keep
