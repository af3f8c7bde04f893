"""How TransformerLens, nnsight and pyvene are asked for the knock-outs that ``patching.py`` times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.patching import generic_activation_patch
from transformers import LlamaForCausalLM

Cells = Sequence[tuple[int, int]]  # (layer, head)
Found = Float[Tensor, "cell fact"]
Measure = Callable[[Cells], Found]


@dataclass(frozen=True)
class Task:
    """What the other libraries are given: unpadded prompts, what not to see, and the token to score."""

    ids: Int[Tensor, "fact pos"]
    hidden: Bool[Tensor, "fact pos"]
    answers: Int[Tensor, " fact"]

    def score(self, logits: Float[Tensor, "fact pos vocab"]) -> Float[Tensor, " fact"]:
        """Return log p of each fact's answer at the last position."""
        return logits[:, -1].log_softmax(-1).gather(-1, self.answers[:, None])[:, 0]

    def cut(self, rows: Float[Tensor, "... fact pos"]) -> Float[Tensor, "... fact pos"]:
        """Take the subject out of attention rows and renormalise them."""
        kept = rows.masked_fill(self.hidden, 0)
        return kept / kept.sum(-1, keepdim=True)


def with_transformer_lens(model: TransformerBridge, task: Task) -> Measure:
    """Use TransformerLens' own loop over a table of cells; a knock-out needs nothing from a clean run."""
    nothing = {f"blocks.{layer}.attn.hook_pattern": None for layer in range(model.cfg.n_layers)}

    def knock_out(pattern: Tensor, cell: Sequence[int], _: object) -> Tensor:
        pattern[:, cell[1], -1] = task.cut(pattern[:, cell[1], -1])
        return pattern

    @torch.inference_mode()
    def measure(cells: Cells) -> Found:
        table = pd.DataFrame(cells, columns=["layer", "head"])
        how = (task.score, knock_out, "pattern")
        run = generic_activation_patch(model, task.ids, nothing, *how, index_df=table, reduce="none")
        return run.values

    return measure


def with_nnsight(plain: LlamaForCausalLM, task: Task) -> Measure:
    """Trace once per cell, reaching through ``.source`` into the attention function, at its dropout.

    Cells that share a trace, each in its ``invoke`` block, cost no less: what counts is the forward pass.
    """
    from nnsight import NNsight

    model = NNsight(plain)

    @torch.inference_mode()
    def measure(cells: Cells) -> Found:
        found = []
        for layer, head in cells:
            with model.trace(input_ids=task.ids, use_cache=False, logits_to_keep=1):
                attention = model.model.layers[layer].self_attn.source.attention_interface_1
                pattern = attention.source.nn_functional_dropout_0.output
                pattern[:, head, -1] = task.cut(pattern[:, head, -1])
                logits = model.output.logits.save()
            found.append(task.score(logits))
        return torch.stack(found)

    return measure


def with_pyvene(plain: LlamaForCausalLM, task: Task) -> Measure:
    """Put in the head's output under the knock-out, at the last position.

    pyvene names no place inside Llama's attention function, so it cannot edit a pattern. But before the cell
    all is as in a plain pass: the head's new output is that pass's pattern, cut, times its values, exactly.
    """
    from pyvene import IntervenableModel

    with torch.inference_mode():
        run = plain(input_ids=task.ids, use_cache=True, output_attentions=True)
        rows = torch.stack(run.attentions)[..., -1, :]
        values = torch.stack([layer.values for layer in run.past_key_values.layers])
        rows = rearrange(rows, "layer fact (kv group) pos -> layer kv group fact pos", kv=values.shape[2])
        equation = "layer kv group fact pos, layer fact kv pos dim -> layer kv group fact dim"
        outputs = einsum(task.cut(rows), values, equation).flatten(1, 2)
    site = {"component": "head_attention_value_output", "unit": "h.pos"}
    models = [IntervenableModel(site | {"layer": layer}, plain) for layer in range(len(outputs))]
    facts, last = task.ids.shape[0], task.ids.shape[1] - 1

    @torch.inference_mode()
    def measure(cells: Cells) -> Found:
        found = []
        for layer, head in cells:
            _, output = models[layer](
                base={"input_ids": task.ids, "logits_to_keep": 1},
                unit_locations={"sources->base": (None, [[[[head]] * facts, [[last]] * facts]])},
                source_representations=outputs[layer, head][:, None, None],
                use_cache=False,
            )
            found.append(task.score(output.logits))
        return torch.stack(found)

    return measure
