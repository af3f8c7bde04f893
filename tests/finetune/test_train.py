"""Training: resumed equals uninterrupted, the kept checkpoint is the best one, scores agree with decoding."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.prompts import Prompt, digest_prompts, render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.exact_match import matches
from finetune.evaluation.generate import ask, generate, score, states_fact
from finetune.training.config import BaseConfig, CorpusConfig, TuneConfig
from finetune.training.learning_rate import select
from finetune.training.pretrain import pretrained_base
from finetune.training.train import train
from tests.finetune.tiny import save_base

SHAPE = BaseConfig(width=32, heads=2, mlp=64, steps=250, batch=64)
TUNE = TuneConfig(steps=12, batch=16, learning_rates=(1e-3, 3e-3), check_every=4)


@pytest.fixture(scope="module")
def world():
    return make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0), world_phrasebook()


@pytest.fixture(scope="module")
def base(world, tmp_path_factory):
    return _base(world, tmp_path_factory.mktemp("cache"))


def _base(world, cache):
    facts, book = world
    return pretrained_base(facts, book, word_tokenizer, model=SHAPE, text=CorpusConfig(), cache=cache)


@pytest.fixture(scope="module")
def prompts(world):
    facts, book = world
    return [render(book[f.relation].asked, f) for f in facts]


def test_the_base_learns_what_it_reads_and_is_cached(world, base):
    facts, book = world
    model, tokenizer = load_model(base)
    popular = facts.subset(range(12))
    assert states_fact(model, tokenizer, popular, book).mean() > 0.5
    stamp = (base / "model.safetensors").stat().st_mtime_ns
    assert _base(world, base.parents[1]) == base
    assert (base / "model.safetensors").stat().st_mtime_ns == stamp


INTERRUPTED = """
import sys
from pathlib import Path
from tests.finetune.test_train import SHAPE, _base
from finetune.data.tokenizers import word_tokenizer
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
facts = make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0)
_base((facts, world_phrasebook()), Path(sys.argv[1]))
"""


def test_a_killed_pretraining_continues_to_the_same_weights(world, base, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("checkpoint-200/trainer_state.json")):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # A state that the kill left half-written must not be taken for a whole one.
    (next(tmp_path.rglob("*.partial")) / "checkpoint-240").mkdir(exist_ok=True)
    continued = _base(world, tmp_path)
    ours, theirs = (load_file(d / "model.safetensors") for d in (continued, base))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_kept_checkpoint_scores_what_was_recorded(base, prompts, tmp_path, method):
    config = TuneConfig(**{**TUNE.__dict__, "method": method})
    chosen = select(base, prompts[:32], prompts[32:], tmp_path / method, config=config, name=method)
    model, tokenizer = load_model(chosen.path, base=base)
    _, exact = score(model, tokenizer, prompts[32:])
    assert exact.mean() == pytest.approx(chosen.validation_accuracy)
    records = [read_json(p) for p in tmp_path.rglob("training.json")]
    assert len(records) == 2
    best = max(c["accuracy"] for r in records for c in r["curve"])
    assert chosen.validation_accuracy == best
    assert (chosen.path / "adapter_model.safetensors").is_file() == (method == "lora")


def test_equal_steps_keep_the_last_and_equal_loss_the_first_that_reached_it(base, prompts, tmp_path):
    last = train(base, prompts[:32], prompts[32:], tmp_path / "last", config=replace(TUNE, keep="last"))
    curve = read_json(last.path / "training.json")["curve"]
    assert last.step == TUNE.steps
    assert curve[-1]["loss"] == last.training_loss < curve[0]["loss"]
    _, learned = score(*load_model(last.path), prompts[:32])
    assert learned.mean() == curve[-1]["training_accuracy"] == last.training_accuracy
    wanted = curve[1]["loss"]
    config = replace(TUNE, keep="loss", until_loss=wanted)
    reached = train(base, prompts[:32], prompts[32:], tmp_path / "loss", config=config)
    assert (reached.step, reached.training_loss) == (curve[1]["step"], wanted)
    model, tokenizer = load_model(reached.path)
    assert -score(model, tokenizer, prompts[:32])[0].mean() == pytest.approx(wanted, abs=1e-5)


def test_training_twice_gives_the_same_weights(base, prompts, tmp_path):
    a, b = (train(base, prompts[:32], prompts[32:], tmp_path / n, config=TUNE, seed=5) for n in "ab")
    left, right = (load_file(c.path / "model.safetensors") for c in (a, b))
    assert all(torch.equal(left[k], right[k]) for k in left)


def test_teacher_forced_exactness_is_what_greedy_decoding_says(base, prompts):
    model, tokenizer = load_model(base)
    said = generate(model, tokenizer, prompts)
    _, exact = score(model, tokenizer, prompts)
    decoded = np.array([matches(s, p.answers) for s, p in zip(said, prompts, strict=True)])
    assert (exact == decoded).all()


def test_batched_answers_equal_one_at_a_time(base, prompts):
    model, tokenizer = load_model(base)
    together = ask(model, tokenizer, prompts)
    for i in (0, 7, 40):
        alone = ask(model, tokenizer, [prompts[i]])
        assert alone.predictions[0] == together.predictions[i]
        assert alone.log_prob[0] == pytest.approx(together.log_prob[i], abs=1e-5)


@pytest.mark.parametrize(
    ("said", "accepted", "right"),
    [
        ("Paris.", ("Paris",), True),
        ("the Paris", ("Paris",), True),
        ("Paris, France", ("Paris",), False),
        ("ŁÓDŹ", ("Łódź",), True),
        ("", ("Paris",), False),
    ],
)
def test_exact_match(said, accepted, right):
    assert matches(said, accepted) is right


def test_no_facts_to_validate_on_are_refused_before_anything_is_trained(prompts, tmp_path):
    with pytest.raises(InputError, match="validation: no prompts"):
        train(save_base(tmp_path / "base"), prompts, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_prompts_that_differ_only_in_their_middle_are_others():
    text = "Q: Who wrote it?\nA: Ada\n" * 20 + "Q: Where was Ada born?{}Answer:"
    some = [
        [Prompt(text=text.format(gap), subject=(0, 1), answers=tuple(answers))]
        for gap in ("\n", " ")
        for answers in (["a", "b", "c", "d"], ["a", "b", "c", "e"])
    ]
    assert len({digest_prompts(each) for each in some}) == 4
    numpy = [replace(some[0][0], subject=(np.int64(0), np.int64(1)))]
    assert digest_prompts(numpy) == digest_prompts(some[0])
    assert len({repr(each) for each in some}) < 4, "what is shown would not tell them apart"
