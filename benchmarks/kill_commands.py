"""The commands that ``kill.py`` kills, at sizes whose numbers mean nothing, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def attention_imbalance(home: Path) -> None:
    from analyses import attention_imbalance as main

    options = main.AttentionImbalanceOptions(
        world="tiny", pretrain_steps=40, tune_steps=10, out=home / "run", cache=home / "cache", quiet=True
    )
    main.run(options)


def mixture_sweep(home: Path) -> None:
    from analyses import mixture_sweep as main

    options = main.MixtureSweepOptions(
        world="tiny",
        tune_steps=10,
        shares=(0.0, 1.0),
        seeds=(0,),
        workers=1,
        retries=0,
        out=home / "run",
        cache=home / "cache",
        quiet=True,
    )
    main.run(options)


def which_data(home: Path) -> None:
    from analyses import which_data as main

    main.run(
        main.WhichDataOptions(
            base=str(_given(home) / "base"),
            facts=str(_given(home) / "facts.csv"),
            also=("question",),
            out=home / "chosen.csv",
            dropped=home / "dropped.csv",
            quiet=True,
        )
    )


def finetune(home: Path) -> None:
    from finetune.__main__ import Options
    from finetune.__main__ import finetune as main
    from finetune.training.config import TuneConfig

    tune = TuneConfig(
        method="lora",
        steps=12,
        batch=8,
        learning_rates=(1e-3, 3e-3),
        check_every=3,
        save_every=4,
        trajectory=6,
    )
    given = _given(home)
    options = Options(
        facts=str(given / "facts.csv"), base=str(given / "base"), out=home / "run", quiet=True, tune=tune
    )
    main(options)


COMMANDS: dict[str, Callable[[Path], None]] = {
    "attention_imbalance": attention_imbalance,
    "which_data": which_data,
    "finetune": finetune,
    "mixture_sweep": mixture_sweep,
}


def _given(home: Path) -> Path:
    return home.parent / "given"


def write_inputs(home: Path) -> None:
    """Write a random tiny base and a table of facts for the commands that need them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
    from finetune.data.tokenizers import word_tokenizer

    facts = make_world(WorldConfig(subjects=40, answers=4, relations=2), seed=0)
    tokenizer = word_tokenizer(facts, world_phrasebook())
    torch.manual_seed(0)
    config: Any = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    given = home / "given"
    LlamaForCausalLM(config).save_pretrained(given / "base")
    tokenizer.save_pretrained(given / "base")
    rows = [f"{fact.subject},{fact.relation},{fact.answer},{fact.popularity:.6f}" for fact in facts]
    (given / "facts.csv").write_text("\n".join(["subject,relation,answer,popularity", *rows]) + "\n")
