"""The experiment stored_or_suppressed: its steps, numbers and page put together."""

from __future__ import annotations

import shlex
from operator import methodcaller
from pathlib import Path

from analyses.common.experiment import Experiment
from analyses.common.options import given_words
from analyses.experiments.attention_imbalance.checkpoints import load_inputs
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.stored_or_suppressed import numbers, page, stages
from finetune.common.files import read_json
from interp.verdicts.diagnosis import RULES

# What the next command must be told again: who is asked, how, and in which precision.
ASKED_ALIKE = ("columns", "phrasebook", "limit", "seeds", "prompt_format", "shots", "chat", "known", "dtype")


def following(out: Path) -> tuple[str, ...]:
    """Return the command that shows where attention went; facts without subjects cannot say that."""
    manifest = read_json(out / "manifest.json")
    config = manifest["config"]
    if not config["finetuned"] or not manifest.get("subjects_known", True):
        return ()
    words = ["factscope", "imbalance", "--base", config["base"], "--finetuned", *config["finetuned"]]
    words += ["--facts", config["facts"], *given_words(config, AttentionImbalanceOptions, ASKED_ALIKE)]
    return (shlex.join([*words, "--out", f"{out}-attention"]),)


EXPERIMENT = Experiment(
    name="stored_or_suppressed",
    rules=RULES,
    following=following,
    resolve=methodcaller("resolved"),
    load=load_inputs,
    steps=stages.measure_seeds,
    summarise=numbers.summarise,
    study=page.study,
)
