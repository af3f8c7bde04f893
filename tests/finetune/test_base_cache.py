"""A cached base that is not as it was trained is trained again, with a notice, to the same weights."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import warnings

import pytest

from finetune.common import temporary_files as temporary
from finetune.common.files import content_hash
from finetune.common.progress import Notice
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.training import pretrain
from finetune.training import work_dir as workplace
from finetune.training.config import BaseConfig, CorpusConfig
from finetune.training.pretrain import pretrained_base
from finetune.training.train import _identity

SMALL = BaseConfig(layers=1, width=16, heads=2, mlp=32, steps=4, batch=8)


def base(cache, seed=0):
    facts = make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0)
    return pretrained_base(
        facts, world_phrasebook(), word_tokenizer, model=SMALL, text=CorpusConfig(), cache=cache, seed=seed
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    home = base(tmp_path_factory.mktemp("cache"))
    return home, content_hash(home), sorted(path.name for path in home.iterdir())


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "config.json", "recipe.json"])
def test_a_base_without_one_of_its_files_is_trained_again(whole, name):
    home, before, files = whole
    (home / name).unlink()
    with pytest.warns(Notice, match="is not as it was written; it is trained again"):
        assert base(home.parents[1]) == home
    assert (content_hash(home), sorted(p.name for p in home.iterdir())) == (before, files)


@pytest.mark.parametrize("change", ["truncated", "other weights", "an adapter beside", "no checksums"])
def test_a_base_that_was_changed_is_trained_again(whole, change):
    home, before, _ = whole
    weights = home / "model.safetensors"
    if change == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif change == "other weights":
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    elif change == "an adapter beside":
        (home / "adapter_config.json").write_text("{}")
    else:
        (home / "checksums.json").unlink()
    with pytest.warns(Notice, match="trained again"):
        base(home.parents[1])
    assert content_hash(home) == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base(home.parents[1])


def test_checksums_are_no_part_of_what_a_base_is(whole):
    home, _, _ = whole
    before, text = _identity(home), (home / "checksums.json").read_text()
    (home / "checksums.json").unlink()
    assert _identity(home) == before, "or trainings of an older version would be taken for others"
    (home / "checksums.json").write_text(text)


def test_a_process_that_is_killed_leaves_nothing_that_stays(tmp_path, monkeypatch):
    for at in ("fit", "seal", "rmtree"):
        child = os.fork()
        if child == 0:
            place = pretrain.shutil if at == "rmtree" else pretrain
            setattr(place, at, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            base(tmp_path)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    monkeypatch.setattr(temporary, "_swept", set())
    home = base(tmp_path)
    assert {path.name for path in home.parent.iterdir()} == {home.name, f"{home.name}.lock"}


def test_what_nobody_continues_is_swept_and_what_is_young_is_kept(tmp_path):
    for name in ("old", "young"):
        (tmp_path / "bases" / f"{name}.partial").mkdir(parents=True)
    ago = time.time() - workplace.ABANDONED - 60
    os.utime(tmp_path / "bases" / "old.partial", (ago, ago))
    base(tmp_path)
    assert [path.name for path in (tmp_path / "bases").glob("*.partial")] == ["young.partial"]


def _make(cache, made):
    home = base(cache)
    made.put((str(home), json.loads((home / "recipe.json").read_text())["seed"], content_hash(home)))


def test_two_processes_that_need_one_base_get_one(tmp_path):
    fork = multiprocessing.get_context("fork")
    made = fork.Queue()
    both = [fork.Process(target=_make, args=(tmp_path, made)) for _ in range(2)]
    for process in both:
        process.start()
    one, other = made.get(timeout=120), made.get(timeout=120)
    for process in both:
        process.join()
    assert one == other
