"""The experiment stored_or_suppressed: its steps, numbers and page put together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from operator import methodcaller
from pathlib import Path
from typing import Any

from analyses.common.experiment import Experiment
from analyses.experiments.attention_imbalance.checkpoints import load_inputs
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.stored_or_suppressed import numbers, page, stages
from finetune.common.files import read_json

# What the next command must be told again: who is asked, how, and in which precision.
ASKED_ALIKE = ("columns", "phrasebook", "limit", "seeds", "prompt_format", "shots", "chat", "known", "dtype")


def following(out: Path) -> tuple[str, ...]:
    """Return the command that shows where attention went; facts without subjects cannot say that."""
    manifest = read_json(out / "manifest.json")
    config = manifest["config"]
    if not config["finetuned"] or not manifest.get("subjects_known", True):
        return ()
    words = ["factscope", "imbalance", "--base", config["base"], "--finetuned", *config["finetuned"]]
    words += ["--facts", config["facts"], *_given(config)]
    return (shlex.join([*words, "--out", f"{out}-attention"]),)


def _given(config: Mapping[str, Any]) -> list[str]:
    """Return the words of the settings that decide who is asked, how and in which precision, where given."""
    usual = {field.name: field.default for field in fields(AttentionImbalanceOptions)}
    words: list[str] = []
    for name in ASKED_ALIKE:
        value = tuple(config[name]) if isinstance(config[name], list) else config[name]
        if value == usual[name]:
            continue
        values = () if value is True else value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


EXPERIMENT = Experiment(
    name="stored_or_suppressed",
    following=following,
    resolve=methodcaller("resolved"),
    load=load_inputs,
    steps=stages.measure_seeds,
    summarise=numbers.summarise,
    study=page.study,
)
