"""Cures after training: candidates of growing strength, of which one is chosen on validation facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from analyses.experiments.mitigations.case import OTHERS, MitigationCase
from analyses.experiments.mitigations.strength import Ask
from finetune.checkpoints.loading import tokenizer_for
from finetune.data.prompts import Prompt
from finetune.evaluation.generate import score
from finetune.training.projections import ROUTING
from interp.measures.spans import encode
from interp.models.load_pair import load_pair
from interp.models.merging import load_merged
from interp.patching.interventions import Edits, Intervention, Replace
from interp.patching.patch import patch
from interp.patching.positions import Role
from interp.patching.recording import record
from interp.patching.sweeps import sweep
from interp.weight_edits import HeadShape, graft_heads, interpolate_weights, scale_subject_attention
from interp.weight_edits.head_grafts import Head
from interp.weight_edits.interpolation import layer_of, perturb_weights, select_weights

SHARES = (0.25, 0.5, 0.75, 1.0)
FACTORS = (2.0, 4.0, 8.0, 16.0)
Weights = dict[str, "Tensor"]
Told = dict[str, Any]


@dataclass(frozen=True)
class WeightEditor:
    """A case's weights, its base's and sibling's, and one model to put any of them into."""

    case: MitigationCase

    @cached_property
    def loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The uncured model, whole, and its tokenizer."""
        source, base = self.case.uncured, self.case.setup.base
        return load_merged(source, base), tokenizer_for(source, base)

    @cached_property
    def tuned(self) -> Weights:
        """The uncured weights."""
        return {name: weight.clone() for name, weight in self.loaded[0].state_dict().items()}

    @cached_property
    def base(self) -> Weights:
        """The base's weights."""
        return self._weights(self.case.setup.base)

    @cached_property
    def sibling(self) -> Weights:
        """The weights of the popular half's arm, which fine-tuning has taught to look at the subject."""
        return self._weights(self.case.arm(OTHERS[0]))

    @cached_property
    def shape(self) -> HeadShape:
        """How its heads are laid out."""
        return HeadShape.of(self.loaded[0].config)

    def _weights(self, source: Any) -> Weights:
        return load_merged(source, self.case.setup.base).state_dict()

    def asker(self, weights: Weights) -> Ask:
        """Ask the model with some weights; whether its answer is the canonical one."""
        model, tokenizer = self.loaded

        def ask(prompts: Sequence[Prompt]) -> Bool[ndarray, " prompt"]:
            model.load_state_dict(weights)
            return score(model, tokenizer, prompts)[1] if prompts else np.zeros(0, bool)

        return ask

    @cached_property
    def named(self) -> tuple[Head, ...]:
        """All heads, those first in which the sibling's attention helps lost validation facts most (nats)."""
        case = self.case
        validation = case.setup.asked(case.setup.parts.validation)
        right = self.asker(self.tuned)(validation)
        wanted = case.known(case.setup.parts.validation) & ~right
        lost = [prompt for prompt, is_lost in zip(validation, wanted, strict=True) if is_lost]
        heads = [(i, k) for i in range(self.shape.layers) for k in range(self.shape.heads)]
        if not lost:
            return tuple(heads)
        pair, other = (load_pair(str(case.setup.base), s) for s in (case.uncured, case.arm(OTHERS[0])))
        batch = encode(pair.tokenizer, lost)
        with other.finetuned() as model:
            rows = record(model, batch, "pattern", batch_tokens=case.batch_tokens)
        with pair.finetuned() as model:
            grid = sweep(model, Intervention(site="pattern", do=Replace(source=rows)), over=("layer", "head"))
            effect = patch(model, batch, grid, pair.tokenizer, max_new_tokens=0).effect.nanmean(1)
        return tuple(heads[i] for i in effect.argsort(descending=True).tolist())


def towards_base(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Move all weights towards the base."""
    for share in SHARES:
        yield {"share": share}, interpolate_weights(editor.base, editor.tuned, share)


def routing_to_base(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Move W_Q and W_K towards the base."""
    for share in SHARES:
        made = interpolate_weights(editor.base, editor.tuned, share, modules=ROUTING)
        yield {"share": share}, made


def routing_by_layer(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Move one layer's W_Q and W_K towards the base."""
    for layer in range(editor.shape.layers):
        for share in SHARES[1::2]:
            made = interpolate_weights(editor.base, editor.tuned, share, modules=ROUTING, layers=[layer])
            yield {"share": share, "layer": layer}, made


def by_module(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Scale what fine-tuning added to one kind of linear layer: down, away, or up."""
    names = [name for name in select_weights(editor.tuned) if layer_of(name) is not None]
    kinds = sorted({name.split(".")[-2] for name in names if editor.tuned[name].ndim == 2})
    for kind in kinds:
        for share in (0.5, 1.0, -0.5):
            told = {"module": kind, "scaled by": 1 - share}
            yield told, interpolate_weights(editor.base, editor.tuned, share, modules=[kind])


def _grafts(editor: WeightEditor, donor: Weights) -> Iterator[tuple[Told, Weights]]:
    counts = sorted({1, 2, 4, len(editor.named) // 2, len(editor.named)})
    for count in counts:
        if count <= len(editor.named):
            heads = editor.shape.with_groups(editor.named[:count])
            told = {"heads": [list(head) for head in heads]}
            yield told, graft_heads(donor, editor.tuned, heads, editor.shape)


def heads_from_base(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Graft named heads from the base."""
    return _grafts(editor, editor.base)


def heads_from_sibling(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Graft named heads from the sibling arm."""
    return _grafts(editor, editor.sibling)


def wrong_heads(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Graft the sibling's rows into the same heads, each from the next head of its layer: a placebo."""
    rolled = dict(editor.sibling)
    for name in select_weights(rolled, modules=ROUTING):
        rolled[name] = rolled[name].roll(editor.shape.width, dims=0)
    return _grafts(editor, rolled)


def random_direction(editor: WeightEditor) -> Iterator[tuple[Told, Weights]]:
    """Move W_Q and W_K as far as the base's lie, in a random direction: a placebo."""
    for share in SHARES:
        goal = interpolate_weights(editor.base, editor.tuned, share, modules=ROUTING)
        made = perturb_weights(editor.tuned, goal, modules=ROUTING, seed=editor.case.setup.seed)
        yield {"share": share}, made


AFTER: dict[str, Callable[[WeightEditor], Iterator[tuple[Told, Weights]]]] = {
    "all weights towards the base": towards_base,
    "W_Q and W_K towards the base": routing_to_base,
    "one layer's W_Q and W_K towards the base": routing_by_layer,
    "one module's change scaled": by_module,
    "named heads from the base": heads_from_base,
    "named heads from the popular half": heads_from_sibling,
}
PLACEBOS: dict[str, Callable[[WeightEditor], Iterator[tuple[Told, Weights]]]] = {
    "named heads from wrong heads": wrong_heads,
    "W_Q and W_K moved at random": random_direction,
}


def scalings(editor: WeightEditor, *, named: bool, placebo: bool) -> Iterator[tuple[Told, Edits]]:
    """Scale attention to the subject, or to the relation's words, in all heads or the named half of them."""
    half = editor.named[: max(1, len(editor.named) // 2)] if named else None
    for by in FACTORS:
        cell = scale_subject_attention(by, heads=half, keys=keys_of(placebo))
        yield {"by": by, "heads": None if half is None else [list(head) for head in half]}, cell


def keys_of(placebo: bool) -> Role:
    """Return whose attention a cure scales: the subject's, or for its placebo the relation's words'."""
    return "relation" if placebo else "subject"


SCALED = {
    "attention to the subject scaled": {"named": False, "placebo": False},
    "attention to the subject scaled in named heads": {"named": True, "placebo": False},
    "attention to the relation scaled": {"named": False, "placebo": True},
}
