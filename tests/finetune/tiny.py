"""A small random model with a tokenizer and facts to train it on, and trainings that other processes run."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from finetune.data.prompts import Prompt, render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.training.config import TuneConfig
from finetune.training.train import train

ROOT = Path(__file__).parents[2]


def prompts() -> list[Prompt]:
    facts, book = _world()
    return [render(book[fact.relation].asked, fact) for fact in facts]


def save_base(path: Path) -> Path:
    """Save a random Llama with grouped-query attention, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = word_tokenizer(*_world())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def run(base: Path, out: Path, settings: dict, *, fail_at: int = 0) -> None:
    """Train as the tests do; at a step be killed, or fail in the second of several processes."""
    from finetune.training.best_checkpoint import BestCheckpointCallback

    told = prompts()
    step = BestCheckpointCallback.step

    def failing(self, trainer, now, *, last):  # type: ignore[no-untyped-def]
        stop = step(self, trainer, now, last=last)
        if now == fail_at and settings.get("fail") == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if now == fail_at and os.environ.get("RANK") == "1":
            raise RuntimeError("told to fail")
        return stop

    if fail_at:
        BestCheckpointCallback.step = failing  # type: ignore[method-assign]
    config = TuneConfig(**{name: value for name, value in settings.items() if name != "fail"})
    train(base, told[:32], told[32:], out, config=config, seed=1)


def _world():  # type: ignore[no-untyped-def]
    return make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0), world_phrasebook()


def pretend_accelerators() -> None:
    """Let accelerate take CPU processes for accelerators, on which alone it spreads a model (FSDP)."""
    from accelerate.state import DistributedType, PartialState

    from finetune.common import distributed

    def backend(self, cpu=False, sagemaker_dp=False, backend=None):  # type: ignore[no-untyped-def]
        return "gloo", DistributedType.MULTI_GPU

    PartialState._prepare_backend = backend
    distributed.on_cpu = lambda: False


def main(work: list[dict]) -> None:
    """Run each training in a process of its own, forked so that libraries are imported once."""
    if "ACCELERATE_USE_FSDP" in os.environ:
        pretend_accelerators()
    import peft  # noqa: F401
    from transformers import Trainer  # noqa: F401

    for job in work:
        where = Path(job["base"]), Path(job["out"]), job["settings"]
        if "RANK" in os.environ:
            run(*where, fail_at=job["fail_at"])
        elif (child := os.fork()) == 0:
            run(*where, fail_at=job["fail_at"])
            os._exit(0)
        else:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
