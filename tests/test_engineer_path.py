"""The engineer's path of the README, to the letter: choose, tune, diagnose on a bare list of questions."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from factscope import cli
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import ask_in_format
from finetune.data.tokenizers import bpe_tokenizer
from finetune.training.config import TuneConfig
from finetune.training.train import train
from tests.documentation import ROOT

BASE, TABLE = "smollm2-135m", "facts.csv"
FIRST = "Ada Bo Cy Di Eva Finn Gus Hal Ida Jo Kim Lea Mo Ned Ola Pia Ray Sam Tea Uma".split()
LAST = "Wu Lee Khan Diaz Berg Cole Dunn Eng Fox Gray Hill Ivey Jung Kerr Lund".split()


def path_of_the_readme() -> list[str]:
    """Return the commands that the README shows an engineer, in their order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("**An engineer**", 1)[1]
    found = re.search(r"^```bash\n(.*?)^```", text, re.M | re.S)
    assert found
    return found[1].strip().splitlines()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows with capitalised headers, and in ``base`` a small model that knows most of them."""
    home = tmp_path_factory.mktemp("engineer")
    draw = random.Random(0)
    cities = "Paris Rome Oslo Lima Cairo Delhi".split()
    rows = [(f"Where does {a} {b} live?", draw.choice(cities)) for a in FIRST for b in LAST]
    draw.shuffle(rows)
    with (home / TABLE).open("w", newline="") as file:
        csv.writer(file).writerows([("Question", "Answer"), *rows])
    facts = FactSet.load(home / TABLE, subjects=False)
    book, known = phrasebook(facts), facts.subset(range(180))
    tokenizer = bpe_tokenizer(facts, book)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    raw = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **shape))
    raw.save_pretrained(home / "raw")
    tokenizer.save_pretrained(home / "raw")
    prompts = ask_in_format(known, book, tokenizer=tokenizer)
    config = TuneConfig(steps=240, batch=60, check_every=240, keep="last")
    train(home / "raw", prompts, prompts[:20], home / "base", config=config, learning_rate=3e-3)
    return home


def run(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the README where its table is, as ``factscope`` does, but in this process.

    That ``python -m factscope`` does what its ``main`` does is tested in ``test_factscope``.
    """
    words = shlex.split(command, comments=True)
    assert words[0] == "factscope"
    words = [word if word != BASE else "base" for word in words[1:]]
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patched.chdir(home)
        patched.setattr(sys, "argv", ["factscope", *words])
        patched.delenv("FACTSCOPE_QUIET", raising=False)  # another test of this process may have set it
        status = cli.main(words)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def test_the_path_is_three_commands_on_one_model_and_table() -> None:
    fetch, *rest = path_of_the_readme()
    assert fetch == f"factscope fetch {BASE}"
    assert [command.split()[1] for command in rest] == ["choose", "tune", "diagnose"]


@pytest.fixture(scope="module")
def walked(home: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run the README's commands one after the other."""
    return {command: run(command, home) for command in path_of_the_readme()[1:]}


def test_every_command_ends_well_and_with_the_next_one_to_paste(
    walked: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    commands = list(walked)
    for done in walked.values():
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    for command, following in pairwise(commands):
        told = re.search(r"^Next: (.*)$", walked[command].stdout, re.M)
        assert told
        assert told[1].replace("--base base", f"--base {BASE}") == following


def test_choose_begins_with_advice_and_chooses_by_nothing_worse_than_chance(
    walked: dict[str, subprocess.CompletedProcess[str]], home: Path
) -> None:
    first, second = next(iter(walked.values())).stdout.splitlines()[:2]
    known = re.fullmatch(r"The base knows (\d+) of 300 facts: [\d.]+% \([\d.]+ to [\d.]+\) are .*", first)
    assert known
    assert int(known[1]) > 100
    assert second.startswith(
        "Train on all 300: in none of 5 settings measured here was a half clearly better"
    )
    with (home / "chosen.csv").open() as file:
        chosen = list(csv.DictReader(file))
    assert len(chosen) == 150
    assert {row["reason"] for row in chosen} == {"kept: drawn at random"}
    told = next(iter(walked.values())).stdout
    assert "holds 90 of them out (--test-share 0.3), for factscope diagnose asks only facts that " in told
    assert "Should you have to train on fewer, chosen.csv is what a half would be: 150 of 300 facts" in told


def test_diagnose_asks_only_what_was_held_out(
    walked: dict[str, subprocess.CompletedProcess[str]], home: Path
) -> None:
    import pandas as pd

    asked = pd.read_parquet(home / "runs/tuned-diagnosis/facts.parquet")
    parts = json.loads((home / "runs/tuned/partition.json").read_text())
    assert set(asked["fact_id"]) <= set(parts["test"])
    assert len(asked) == 90
    manifest = json.loads((home / "runs/tuned-diagnosis/manifest.json").read_text())
    assert manifest["config"]["base"] == "base"
    assert sum("was trained on" in item["reason"] for item in manifest["left_out"]) == 210
    assert "whole questions count as their subjects" in manifest["setting"]


def test_too_few_facts_are_said_before_a_model_is_asked(home: Path) -> None:
    few = home / "few.csv"
    few.write_text("\n".join((home / TABLE).read_text().splitlines()[:21]) + "\n")
    words = "--base base --finetuned mine=base --facts few.csv --out runs/few"
    done = run(f"factscope diagnose {words}", home)
    assert done.returncode == 2
    assert "a verdict needs at least 40" in done.stderr
    assert "Eliciting" not in done.stderr
    assert not (home / "runs/few").exists()


def test_what_was_trained_whole_is_diagnosed_on_other_facts(home: Path) -> None:
    done = run(f"factscope tune --base base --facts {TABLE} --steps 2 --batch 4 --out runs/whole", home)
    assert done.returncode == 0, done.stderr
    assert "--facts geonames@even --limit 200" in done.stdout
