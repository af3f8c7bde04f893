"""A small causal language model, pretrained from scratch on worded facts and cached by content."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.common.checksums import seal, sealed_state
from finetune.common.files import atomic_directory, write_json
from finetune.common.progress import notice
from finetune.common.run_directory import library_versions
from finetune.common.seeds import seed_libraries
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook
from finetune.training.config import BaseConfig, CorpusConfig
from finetune.training.examples import corpus
from finetune.training.trainer import Schedule, fit
from finetune.training.work_dir import cached_directory


def pretrained_base(
    facts: FactSet,
    phrasebook: Phrasebook,
    make_tokenizer: Callable[[FactSet, Phrasebook], PreTrainedTokenizerFast],
    *,
    model: BaseConfig,
    text: CorpusConfig,
    cache: Path,
    seed: int = 0,
) -> Path:
    """Return the directory of the base pretrained on these facts, training it if the cache has none.

    The cache key is a hash of everything that determines the weights: facts, wordings, settings, seed
    and library versions. An interrupted training continues from its last saved state. A base of which a file
    is damaged, missing or was never listed in its ``checksums.json`` is trained again, with a notice.

    Args:
        facts: what the text is about.
        phrasebook: each relation's wording.
        make_tokenizer: builds the tokenizer of facts and wordings.
        model: the base's shape and length of training.
        text: how facts are sampled.
        cache: a directory of bases.
        seed: of weights and text.
    """
    tokenizer = make_tokenizer(facts, phrasebook)
    recipe = {
        "facts": facts.digest,
        "phrasebook": {relation: asdict(phrases) for relation, phrases in sorted(phrasebook.items())},
        "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "model": asdict(model),
        "text": asdict(text),
        "seed": seed,
        "versions": library_versions("torch", "transformers", "tokenizers"),
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    home = cache / "bases" / key
    work = home.with_suffix(".partial")
    # Of several processes that need this base one trains it.
    with cached_directory(home, what="base"):
        if not _is_whole(home):
            with atomic_directory(home) as target:
                _train_into(target, work, facts, phrasebook, tokenizer, model, text, seed)
                write_json(target / "recipe.json", recipe)
                seal(target)
        shutil.rmtree(work, ignore_errors=True)
    return home


def _is_whole(home: Path) -> bool:
    """Whether the cache holds this base unharmed; one that cannot be verified counts as harmed."""
    state = sealed_state(home, strict=True)
    told = {"damaged": "is not as it was written", "unrecorded": "has no checksums to verify it by"}
    if state in told:
        notice(f"{home}: this cached base {told[state]}; it is trained again")
    return state == "whole"


def _train_into(
    target: Path,
    work: Path,
    facts: FactSet,
    phrasebook: Phrasebook,
    tokenizer: PreTrainedTokenizerFast,
    model: BaseConfig,
    text: CorpusConfig,
    seed: int,
) -> None:
    n = model.steps * model.batch
    rows = corpus(tokenizer, facts, phrasebook, text, rows=n, batch=model.batch, seed=seed)
    seed_libraries(seed)
    network = LlamaForCausalLM(_llama(model, tokenizer))
    schedule = Schedule(
        steps=model.steps,
        batch=model.batch,
        learning_rate=model.learning_rate,
        warmup=50,
        save_every=max(model.steps // 10, 200),
    )
    fit(network, rows, schedule, work, seed=seed, description=f"Pretraining the base on {facts.name}")
    network.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _llama(model: BaseConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=model.width,
        intermediate_size=model.mlp,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.heads,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"],
    )
