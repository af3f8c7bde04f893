"""What a grid of knock-outs costs: ours against TransformerLens, nnsight and pyvene.

    python benchmarks/patching.py [--layers 12 --heads 8 --facts 32 --cells 8 --repeats 3] [--scaling]

A cell hides the subject from the last prompt token in one head of one layer: its attention there is set to
zero and the row renormalised. It is scored by log p of every fact's answer. All libraries measure one random
Llama on the same prompts, in turns in one process, and must give the same numbers. Ours measures the whole
grid; the others run a forward pass for every cell, so they are timed on ``cells`` random ones (0: all) and
scaled to the grid. Not counted, in their favour: preparing their models, and the plain pass that gives pyvene
its values. Medians; the last line is JSON, with null for a library that is not installed. ``--scaling`` times
our grid with each size halved and doubled, ``--memory`` measures the peak memory of fresh processes that run
one layer of the grid on ever more facts, beside what the model and the libraries take. A library that is
missing goes beside the environment, not into it:

    pip install --target /tmp/benchlibs --no-deps -r benchmarks/requirements.txt
    PYTHONPATH=/tmp/benchlibs python benchmarks/patching.py
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

import torch
import tyro
from jaxtyping import Float
from patching_libraries import Task, with_nnsight, with_pyvene, with_transformer_lens
from peak import peak_memory
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.data.prompts import Prompt
from interp import Intervention, Knockout, PromptBatch, encode, load_pair, patch, sweep

Work = Mapping[str, Callable[[], Tensor]]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIBRARIES = ("transformer_lens", "nnsight", "pyvene")
WORDS = ("<pad>", "<s>", "</s>", *(f"w{i}" for i in range(1997)))
SUBJECT = 4  # tokens
TOLERANCE = 1e-4  # nats, float32


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of the model and the prompts, on how many cells to time the other libraries, and how often."""

    layers: int = 12
    heads: int = 8
    width: int = 512
    positions: int = 24
    facts: int = 32
    cells: int = 8
    repeats: int = 3
    scaling: bool = False
    memory: bool = False
    batch_tokens: int = 8192


def main(options: Options) -> None:
    found = scaling if options.scaling else memory if options.memory else compare
    print(json.dumps(found(options)))


def compare(options: Options) -> dict[str, float | None]:
    """Time all libraries that are there; return the ratios to ours and the largest difference (nats)."""
    plain, tokenizer, batch = setup(options)
    answers = torch.tensor([WORDS.index(prompt.answers[0]) for prompt in batch.prompts])
    task = Task(*(part.to(DEVICE) for part in (batch.input_ids, batch.subject_mask, answers)))
    with torch.inference_mode():
        clean = task.score(plain(input_ids=task.ids, use_cache=False).logits).cpu()
    grid = [(layer, head) for layer in range(options.layers) for head in range(options.heads)]
    cells = random.Random(0).sample(grid, min(options.cells, len(grid))) if options.cells else grid
    with load_pair(plain, tokenizer=tokenizer).base() as model:
        theirs = {"transformer_lens": with_transformer_lens(model, task)}
        for name, make in (("nnsight", with_nnsight), ("pyvene", with_pyvene)):
            try:
                theirs[name] = make(copy.deepcopy(plain), task)
            except ImportError as error:
                print(f"{name}: not measured ({error}); the top of this file says how to install it")
        work = {name: partial(measure, cells) for name, measure in theirs.items()}
        seconds, found = race(work | {"ours": partial(ours, model, batch)}, options.repeats)
    wanted = torch.stack([found["ours"][cell] for cell in cells])
    apart = {name: float((found[name] - wanted).abs().max()) for name in theirs}
    effect = float((wanted - clean).abs().mean())
    print(f"{len(cells)} of {len(grid)} cells, {len(batch)} facts, {DEVICE}; mean |effect| {effect:.3f} nats")
    assert max(apart.values()) < min(TOLERANCE, effect / 10), f"the libraries disagree: {apart}"
    cost = {name: seconds[name] / len(cells) for name in theirs} | {"ours": seconds["ours"] / len(grid)}
    for name, value in cost.items():
        print(f"{name} {version(name) if name in theirs else ''}: {1000 * value:.1f} ms a cell")
    ratios = {f"over_{n}": round(cost[n] / cost["ours"], 2) if n in cost else None for n in LIBRARIES}
    return ratios | {"max_abs_diff": max(apart.values())}


def scaling(options: Options) -> dict[str, dict[int, float]]:
    """Return the seconds our whole grid takes along each axis, the others as they are."""
    points: dict[str, dict[int, float]] = {}
    for axis in ("layers", "heads", "positions", "facts"):
        middle, points[axis] = getattr(options, axis), {}
        for value in (middle // 2, middle, 2 * middle):
            plain, tokenizer, batch = setup(replace(options, **{axis: value}))
            with load_pair(plain, tokenizer=tokenizer).base() as model:
                seconds, _ = race({"ours": partial(ours, model, batch)}, options.repeats)
            points[axis][value] = round(seconds["ours"], 3)
            print(f"{axis} {value}: {seconds['ours']:.3f} s")
    return points


def memory(options: Options) -> dict[int, int]:
    """Return the peak MiB that the grid adds in a fresh process, for ever more facts."""
    points = {}
    for facts in (options.facts, 4 * options.facts, 16 * options.facts, 64 * options.facts):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            points[facts] = pool.apply(peak, (replace(options, facts=facts),))
        print(f"{facts} facts, batch_tokens {options.batch_tokens}: {points[facts]} MiB")
    return points


def peak(options: Options) -> int:
    """Return by how many MiB a few cells raise this process's peak over one small pass."""
    plain, tokenizer, batch = setup(options)
    with load_pair(plain, tokenizer=tokenizer).base() as model:
        layer = (options.layers // 2,)
        cut = Intervention(site="pattern", do=Knockout(), keys="subject", layers=layer)
        grid = sweep(model, cut, over=("head",))
        few = batch[list(range(2))]
        patch(model, few, grid, max_new_tokens=0)
        before = peak_memory()
        patch(model, batch, grid, max_new_tokens=0, batch_tokens=options.batch_tokens)
    return (peak_memory() - before) >> 20


def ours(model: TransformerBridge, batch: PromptBatch) -> Float[Tensor, "layer head fact"]:
    """Measure the whole grid with :func:`interp.patch`; this function is all that is timed as ours."""
    grid = sweep(model, Intervention(site="pattern", do=Knockout(), keys="subject"), over=("layer", "head"))
    result = patch(model, batch, grid, max_new_tokens=0)
    return result.log_prob.unflatten(0, result.shape)


def race(work: Work, repeats: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Do all work in turns; return the median seconds of each, the first round left out, and its values."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    values: dict[str, Tensor] = {}
    for _ in range(repeats + 1):
        for name, do in work.items():
            start = time.perf_counter()
            values[name] = do().cpu()  # waits for a GPU
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}, values


def setup(options: Options) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, PromptBatch]:
    """Make a random Llama with grouped-query attention, a tokenizer and prompts of random words."""
    splitter = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    splitter.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": WORDS[0], "bos_token": WORDS[1], "eos_token": WORDS[2]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, **special)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=options.width,
        intermediate_size=32 * round(options.width / 12),
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=max(1, options.heads // 2),
        initializer_range=0.06,  # at the usual 0.02 attention would be uniform
        attn_implementation="eager",
    )
    chance, prompts = random.Random(0), []
    for i in range(options.facts):
        *words, answer = chance.choices(WORDS[3:], k=options.positions + 1)
        at = chance.randrange(1, options.positions - SUBJECT)
        start, end = (len(" ".join(words[:n])) for n in (at, at + SUBJECT))
        place = (start + 1, end)
        prompts.append(Prompt(text=" ".join(words), subject=place, answers=(answer,), fact_id=str(i)))
    return LlamaForCausalLM(config).eval().to(DEVICE), tokenizer, encode(tokenizer, prompts)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
