"""Speed on a real model: head knock-outs against TransformerLens' own loop, the mass against a forward pass.

    python benchmarks/real_model.py --base DIR --facts FILE [--limit 32 --cells 8 --repeats 3]

All in one process, in turns, medians; the two must agree to 1e-4 nats on every cell that both measure. What
is scored is the whole answer: TransformerLens runs prompts with their answers behind them. Its loop makes one
forward pass a cell, so a sample of cells gives its time for all. The last line is JSON.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import tyro
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.patching import generic_activation_patch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED, phrasebook
from finetune.data.prompts import fact_prompt
from interp import Intervention, Knockout, PromptBatch, encode, load_pair, patch, subject_attention, sweep
from interp.measures.decode import answer_tokens
from interp.patching.prefill import pad_tails, sequences

TOLERANCE = 1e-4  # nats, float32


@dataclass(frozen=True, kw_only=True)
class Options:
    """A real model, real facts, and how much of them is timed."""

    base: str
    facts: str
    limit: int = 32
    cells: int = 8
    repeats: int = 3
    mass_prompts: int = 256


def main(options: Options) -> None:
    facts = FactSet.load(options.facts)
    chosen = facts.subset(sorted(random.Random(0).sample(range(len(facts)), options.mass_prompts)))
    book = phrasebook(facts)
    plain = AutoModelForCausalLM.from_pretrained(options.base, attn_implementation="eager").eval()
    pair = load_pair(options.base)
    batch = encode(pair.tokenizer, [fact_prompt(fact, book, ASKED) for fact in chosen])
    with pair.base() as model:
        figures = grid(model, pair.tokenizer, batch[list(range(options.limit))], options)
        figures |= mass(model, plain, batch, options.repeats)
    print(json.dumps({name: round(value, 6) for name, value in figures.items()}))


def grid(
    model: TransformerBridge, tokenizer: PreTrainedTokenizerBase, batch: PromptBatch, options: Options
) -> dict[str, float]:
    """Time the whole grid as ours, and a sample of its cells as TransformerLens'."""
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    cells = random.Random(0).sample([(i, h) for i in range(layers) for h in range(heads)], options.cells)
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")

    def ours() -> Float[Tensor, "layer head fact"]:
        result = patch(model, batch, sweep(model, cut), tokenizer, max_new_tokens=0)
        return result.log_prob.view(layers, heads, -1)

    theirs = with_transformer_lens(model, tokenizer, batch)
    (mine, found), (others, values) = in_turns([ours, lambda: theirs(cells)], options.repeats)
    apart = float((torch.stack([found[cell] for cell in cells]) - values).abs().max())
    assert apart < TOLERANCE, f"the two differ by {apart:.1e} nats"
    whole = others / len(cells) * layers * heads
    print(f"{layers} x {heads} heads, {len(batch)} facts: ours {mine:.1f} s, TransformerLens {whole:.0f} s")
    return {"grid_seconds": mine, "grid_over_ours": whole / mine, "grid_difference": apart}


def with_transformer_lens(
    model: TransformerBridge, tokenizer: PreTrainedTokenizerBase, batch: PromptBatch
) -> Callable[[Sequence[tuple[int, int]]], Tensor]:
    """Use TransformerLens' own loop over a table of cells, on prompts with their answers."""
    answers = answer_tokens(tokenizer, batch)
    ids, _ = sequences(batch, pad_tails([answer[:-1] for answer in answers]))
    wanted, lengths = pad_tails(answers)
    fact, nth = torch.arange(len(batch)), torch.arange(wanted.shape[1])
    hidden = torch.nn.functional.pad(batch.subject_mask, (0, ids.shape[1] - batch.subject_mask.shape[1]))

    def knock_out(pattern: Tensor, cell: Sequence[int], _: object) -> Tensor:
        row = pattern[fact, cell[1], batch.last].masked_fill(hidden, 0)
        pattern[fact, cell[1], batch.last] = row / row.sum(-1, keepdim=True)
        return pattern

    def score(logits: Tensor) -> Float[Tensor, " fact"]:
        at = (batch.last[:, None] + nth).clamp_max(ids.shape[1] - 1)
        each = logits[fact[:, None], at].log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
        return torch.where(nth < lengths[:, None], each, 0.0).sum(1)

    nothing = {f"blocks.{layer}.attn.hook_pattern": None for layer in range(model.cfg.n_layers)}

    @torch.inference_mode()
    def measure(cells: Sequence[tuple[int, int]]) -> Tensor:
        table = pd.DataFrame(cells, columns=["layer", "head"])
        how = (score, knock_out, "pattern")
        return generic_activation_patch(model, ids, nothing, *how, index_df=table, reduce="none").values

    return measure


def mass(
    model: TransformerBridge, plain: AutoModelForCausalLM, batch: PromptBatch, repeats: int
) -> dict[str, float]:
    """Time the mass, and the plain model's eager forward pass over the same chunks."""

    def ours() -> Tensor:
        return subject_attention(model, batch).values

    @torch.inference_mode()
    def bare() -> Tensor:
        for _, chunk in batch.chunks(8192):
            given = {"input_ids": chunk.input_ids, "attention_mask": chunk.attention_mask}
            last = plain(**given, use_cache=False, logits_to_keep=1).logits
        return last

    (mine, _), (forward, _) = in_turns([ours, bare], repeats)
    print(f"mass {mine:.2f} s, bare forward without logits {forward:.2f} s, {len(batch)} prompts")
    return {"mass_over_forward": mine / forward}


def in_turns(work: Sequence[Callable[[], Tensor]], repeats: int) -> list[tuple[float, Tensor]]:
    """Do all work in turns; return the median seconds of each and what it returned last."""
    seconds: list[list[float]] = [[] for _ in work]
    values: list[Tensor] = [torch.zeros(()) for _ in work]
    for _ in range(repeats):
        for i, do in enumerate(work):
            start = time.perf_counter()
            values[i] = do()
            seconds[i].append(time.perf_counter() - start)
    return [(statistics.median(some), value) for some, value in zip(seconds, values, strict=True)]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
