"""The features that are tried on real models, a figure each: rows of the table in docs/real_models.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analyses import stored_or_suppressed
from analyses.attention_imbalance import run
from analyses.common import measurements
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.checkpoints.loading import load_model
from finetune.checkpoints.shipped_models import shipped_checkpoint
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED, phrasebook
from finetune.data.prompts import Prompt, fact_prompt
from finetune.evaluation import elicitation
from finetune.evaluation.generate import score
from finetune.training.config import TuneConfig
from finetune.training.train import train
from interp.measures.attention import last_token_logits, subject_attention
from interp.measures.decode import answer_tokens
from interp.measures.recall_parts import LAYERWISE, recall_parts
from interp.measures.spans import encode
from interp.measures.value_readout import value_readout
from interp.models.load_pair import load_pair
from interp.patching.knockout import knockout
from tests.real.oracles import plain_model, reference

RATES = {"lora": 1e-3, "full": 1e-4}
# How far a measurement may be from transformers' in the same dtype, as a share of the largest.
WITHIN = {"float32": 1e-4, "bfloat16": 0.1}


@dataclass(frozen=True)
class Case:
    """A model in a dtype, and the side that is measured: itself, a LoRA adapter, or all weights tuned."""

    model: str
    dtype: str
    side: str

    @property
    def column(self) -> str:
        return f"{self.dtype} {self.side}"


@dataclass(frozen=True)
class Tuned:
    """The base's name and directory, and what was trained from it."""

    base: str
    finetuned: str | None
    gained: float


def capitals(n: int) -> FactSet:
    """Take some populous countries and their capitals."""
    facts = FactSet.load("geonames:capital")
    return facts.subset(sorted(range(len(facts)), key=lambda i: -(facts[i].popularity or 0))[:n])


def ask_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elicit in few forms and draws, and look for recall heads on few facts: every part runs, for less."""
    monkeypatch.setattr(elicitation, "SHOTS", (0, 4))
    monkeypatch.setattr(elicitation, "DRAWS", 2)
    monkeypatch.setattr(elicitation, "PROBES", 8)
    monkeypatch.setattr(elicitation, "OTHERS", 12)
    monkeypatch.setattr(measurements, "FINDING", measurements.FEWEST_SUBJECTS)


def prompts_of(facts: FactSet) -> list[Prompt]:
    book = phrasebook(facts)
    return [fact_prompt(fact, book, ASKED) for fact in facts]


def tuned(case: Case, folder: Path) -> Tuned:
    """Train a case's side for a few steps, and say by how much it gained on its facts, nats a fact."""
    base = str(shipped_checkpoint(case.model))
    if case.side == "base":
        return Tuned(base, None, 0.0)
    prompts = prompts_of(capitals(24))
    config = TuneConfig(method=case.side, steps=3, batch=8, check_every=3, dtype=case.dtype, keep="last")
    made = train(
        base, prompts[:16], prompts[16:], folder / case.side, config=config, learning_rate=RATES[case.side]
    )
    means = [
        float(score(*load_model(source, dtype=getattr(torch, case.dtype)), prompts[:16])[0].mean())
        for source in (base, made.path)
    ]
    return Tuned(base, str(made.path), means[1] - means[0])


def measured(case: Case, some: Tuned) -> dict[str, str]:
    """Compare what is measured inside a case's model with what transformers alone makes of it."""
    dtype = getattr(torch, case.dtype)
    pair = load_pair(some.base, some.finetuned, dtype=dtype)
    facts = capitals(24)
    sets = {relation: facts.answer_set(relation) for relation in facts.relations}
    batch = encode(pair.tokenizer, prompts_of(facts)[:6])
    answers = answer_tokens(pair.tokenizer, batch)
    plain = plain_model(some.base, some.finetuned, adapter=case.side == "lora", dtype=dtype)
    true = reference(plain, batch, answers)
    with pair.base() if case.side == "base" else pair.finetuned() as model:
        logits = last_token_logits(model, batch, [])
        parts = recall_parts(model, batch, pair.tokenizer, sets)
        readout = value_readout(model, batch, pair.tokenizer, sets)
        cut = knockout(model, batch, pair.tokenizer)
        mass = subject_attention(model, batch).values
    total = parts.embedding + parts.constant + sum(getattr(parts, each).sum(1) for each in LAYERWISE)
    said, change = true.logits.argmax(-1, keepdim=True), true.knocked - true.answer
    assert (change.abs() > 0.1).any(), "hiding the subject changes nothing"
    pairs = {
        "log p of the next token": [each.log_softmax(-1).gather(-1, said) for each in (logits, true.logits)],
        "subject attention": (mass, true.mass),
        "value readout": (readout.used_total, parts.extraction.sum(1)),
        "recall's parts": (total, parts.logit_difference),
        "knock-out of the subject": (cut.change, change),
    }
    figures = {name: float((found - wanted).abs().max()) for name, (found, wanted) in pairs.items()}
    limits = {name: WITHIN[case.dtype] * float(wanted.abs().max()) for name, (_, wanted) in pairs.items()}
    far = {name: value for name, value in figures.items() if not value < limits[name]}
    assert not far, f"{case}: {far}, of {limits}"
    return {name: f"{value:.0e}" for name, value in figures.items()}


def on_capitals(case: Case, some: Tuned, limit: int) -> dict[str, Any]:
    """Return the options by which a base and what was trained from it are asked some capitals."""
    finetuned = (f"tuned={some.finetuned}",)
    return {
        **{"base": case.model, "facts": "geonames:capital", "limit": limit, "finetuned": finetuned},
        **{"dtype": case.dtype, "quiet": True},
    }


def judged(case: Case, some: Tuned, folder: Path) -> tuple[int, dict[str, int]]:
    """Give verdicts on capitals as ``factscope diagnose`` does: of how many, and how many of each."""
    asked = on_capitals(case, some, 144)
    options = StoredOrSuppressedOptions(out=folder / "verdicts", grid_facts=0, pathway_facts=0, **asked)
    found = pd.read_parquet(stored_or_suppressed.run(options) / "facts.parquet")
    return len(found), found["verdict"].value_counts().to_dict()


def job(case: Case, some: Tuned, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Run the main job on a few capitals: a base beside what was trained from it; its numbers by arm."""
    options = AttentionImbalanceOptions(out=folder / "run", **on_capitals(case, some, 48))
    return dict(json.loads((run(options) / "results.json").read_text())["arms"])
