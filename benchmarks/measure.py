"""What measuring costs: time against a bare forward pass, and a pair's memory against one model's.

    python benchmarks/measure.py [--layers 6 --width 256 --prompts 1000 --repeats 5]

Time: ``subject_attention`` and an eager forward pass of the plain Hugging Face model, over the same batches
of the same prompts, in turns in one process; medians. Memory: the peak of a fresh process that loads a base
and runs it, and of one that loads base and adapter as a pair, runs both sides and reads their value weights;
both less what the libraries take. Models are random Llamas with grouped-query attention. The last line is
JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import tyro
from peak import peak_memory
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.data.prompts import render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from interp import PromptBatch, encode, load_pair, subject_attention

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of the model that is timed and of the one whose memory is measured, and how often."""

    prompts: int = 1000
    layers: int = 6
    width: int = 256
    batch_tokens: int = 8192
    repeats: int = 5
    memory_layers: int = 8
    memory_width: int = 1024


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        tokenizer, batch = prompts(options.prompts)
        save_llama(base, tokenizer, options.layers, options.width)
        ours, bare = time_both(base, batch, options)
        print(f"subject_attention {ours:.3f} s, bare forward {bare:.3f} s, {len(batch)} prompts")
        save_llama(
            base, tokenizer, options.memory_layers, options.memory_width, adapter=base.with_name("lora")
        )
        alone, pair = (in_fresh_process(peak, base, side) for side in ("base", "pair"))
        print(f"peak memory above the libraries': base {alone >> 20} MiB, pair {pair >> 20} MiB")
    figures = {"mass_over_forward": ours / bare, "pair_memory_over_base": pair / alone}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def prompts(n: int) -> tuple[PreTrainedTokenizerBase, PromptBatch]:
    """Ask about ``n`` facts of an embedded world, in their relations' forms of different lengths."""
    phrasebook = world_phrasebook()
    facts = make_world(WorldConfig(subjects=-(-n // 5)))
    tokenizer = word_tokenizer(facts, phrasebook)
    chosen = [render(phrasebook[fact.relation].asked, fact) for fact in facts[:n]]
    return tokenizer, encode(tokenizer, chosen)


def save_llama(
    path: Path, tokenizer: PreTrainedTokenizerBase, layers: int, width: int, *, adapter: Path | None = None
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    if adapter is not None:
        lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(model, lora).save_pretrained(adapter)


def time_both(path: Path, batch: PromptBatch, options: Options) -> tuple[float, float]:
    """Return the median seconds of ``subject_attention`` and of the plain model's eager forward pass."""
    plain = LlamaForCausalLM.from_pretrained(path, attn_implementation="eager").eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain.to(device)

    def bare() -> None:
        with torch.inference_mode():
            for _, chunk in batch.chunks(options.batch_tokens):
                ids, mask = chunk.input_ids.to(device), chunk.attention_mask.to(device)
                plain(input_ids=ids, attention_mask=mask, use_cache=False)

    with load_pair(str(path)).base() as model:

        def measured() -> None:
            subject_attention(model, batch, batch_tokens=options.batch_tokens)

        seconds: dict[str, list[float]] = {"measured": [], "bare": []}
        for _ in range(options.repeats + 1):
            for name, work in (("measured", measured), ("bare", bare)):
                start = time.perf_counter()
                work()
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
    # The first round warms up.
    ours, theirs = (statistics.median(times[1:]) for times in seconds.values())
    return ours, theirs


def in_fresh_process(work: Callable[[Path, str], int], path: Path, side: str) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (path, side))


def peak(path: Path, side: str) -> int:
    """Return the peak memory (bytes) of loading and running, above that of a model of no size."""
    ids = torch.arange(1, 9)[None]
    with tempfile.TemporaryDirectory() as folder:  # first everything that imports something, on a tiny model
        tiny, tokenizer = Path(folder) / "base", prompts(50)[0]
        save_llama(tiny, tokenizer, 1, 16, adapter=tiny.with_name("lora"))
        _run(tiny, side, ids)
    before = peak_memory()
    _run(path, side, ids)
    return peak_memory() - before


def _run(path: Path, side: str, ids: torch.Tensor) -> None:
    with torch.inference_mode():
        if side == "base":
            LlamaForCausalLM.from_pretrained(path).eval()(input_ids=ids, use_cache=False)
            return
        pair = load_pair(str(path), str(path.with_name("lora")))
        for opened in (pair.base, pair.finetuned):
            with opened() as model:
                model(ids, attention_mask=torch.ones_like(ids), use_cache=False)
                for block in model.blocks:
                    _ = block.attn.W_V


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
