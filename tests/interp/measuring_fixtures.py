"""Tiny models from config, a word-level tokenizer and facts whose prompts differ in length."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from finetune.facts import Fact, FactSet
from finetune.prompts import Phrases, Prompt, render
from finetune.vocabulary import word_tokenizer
from interp.checkpoints import bridged
from interp.spans import PromptBatch, encode

SUBJECTS = (
    "Ada",
    "Bo Lin",
    "Cy Dee Fox",
    "Gus",
    "Hal Ivy",
    "Jo Kit",
    "Lee May Ned",
    "Ola",
    "Pam Quy",
    "Ray Sun",
)
ANSWERS = {
    "born": ("Aston", "Bury", "Carlow Hill", "Dover"),
    "plays": ("lute", "oboe", "tuba", "viol da gamba"),
}
PHRASEBOOK = {
    "born": Phrases(statements=("{subject} was born in",), questions=(), asked="{subject} was born in"),
    "plays": Phrases(
        statements=("the instrument that {subject} plays is the",),
        questions=(),
        asked="the instrument that {subject} plays is the",
    ),
}


@cache
def facts() -> FactSet:
    """Two relations over ten subjects of one to three words."""
    return FactSet(
        facts=tuple(
            Fact(
                id=f"{relation}{i}", subject=subject, relation=relation, answers=(answers[i % len(answers)],)
            )
            for relation, answers in ANSWERS.items()
            for i, subject in enumerate(SUBJECTS)
        ),
        name="tiny",
    )


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """Whole words, BOS in front; kept on disk, for TransformerLens reads it again by its path."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    word_tokenizer(facts(), PHRASEBOOK).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def prompts() -> list[Prompt]:
    return [render(PHRASEBOOK[fact.relation].asked, fact) for fact in facts()]


def batch() -> PromptBatch:
    return encode(tokenizer(), prompts())


def _sizes(vocab: int) -> dict[str, Any]:
    return {"vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def llama(vocab: int, **settings: Any) -> PreTrainedModel:
    """Grouped-query attention: four query heads on two key-value heads."""
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    return LlamaForCausalLM(LlamaConfig(**{**shape, **settings}, **_sizes(vocab)))


def gpt2(vocab: int) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **_sizes(vocab)))


def neox(vocab: int) -> PreTrainedModel:
    config = GPTNeoXConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        **_sizes(vocab),
    )
    return GPTNeoXForCausalLM(config)


@cache
def native_attention() -> TransformerBridge:
    """GPT-J, whose bridge keeps the native attention: patterns can be read there, not edited."""
    torch.manual_seed(0)
    vocab = len(tokenizer())
    config = GPTJConfig(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=64, **_sizes(vocab))
    return bridged(GPTJForCausalLM(config).eval(), tokenizer(), "gptj")[0]


BUILDERS: dict[str, Callable[[int], PreTrainedModel]] = {"llama": llama, "gpt2": gpt2, "neox": neox}


@dataclass(frozen=True, kw_only=True)
class Both:
    """One model twice, with the same weights: hooked, and plain with eager attention."""

    hooked: TransformerBridge
    plain: PreTrainedModel


@cache
def both(name: str, seed: int = 0) -> Both:
    """Build a model with weights large enough for attention to be far from uniform."""
    models = []
    for _ in range(2):
        torch.manual_seed(seed)
        model = BUILDERS[name](len(tokenizer())).eval()
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2 and "emb" not in key and "wte" not in key and "wpe" not in key:
                parameter.data *= 6
        models.append(model)
    plain, owned = models
    plain.set_attn_implementation("eager")
    return Both(hooked=bridged(owned, tokenizer(), name)[0], plain=plain)
