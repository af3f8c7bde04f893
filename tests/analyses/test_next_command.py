"""The command that goes on from a verdict asks the same facts in the same way."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import tyro

from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.stored_or_suppressed.experiment import following
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.common.files import write_json


def next_of(options: StoredOrSuppressedOptions, out: Path) -> AttentionImbalanceOptions:
    out.mkdir(exist_ok=True)
    write_json(out / "manifest.json", {"config": json.loads(json.dumps(options.config()))})
    (command,) = following(out)
    words = shlex.split(command)
    assert words[:2] == ["factscope", "imbalance"]
    return tyro.cli(AttentionImbalanceOptions, args=words[2:])


def test_the_next_command_asks_the_same_facts_in_the_same_way(tmp_path: Path) -> None:
    given = {"base": "b", "facts": "my facts.csv", "finetuned": ("a=x", "c=y z")}
    plain = StoredOrSuppressedOptions(**given)
    assert next_of(plain, tmp_path / "plain").config() == AttentionImbalanceOptions(**given).config()
    more = {"columns": ("question=Q u",), "limit": 50, "shots": 4, "chat": True, "dtype": "bfloat16"}
    more |= {
        "prompt_format": "Q: {question} A:",
        "known": "weakly",
        "seeds": (2,),
        "phrasebook": Path("p.csv"),
    }
    told = StoredOrSuppressedOptions(**given, **more, form_shots=2, grid_facts=7)
    assert next_of(told, tmp_path / "told").config() == AttentionImbalanceOptions(**given, **more).config()
