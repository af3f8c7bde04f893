"""A training killed at any step and started again ends with the same files, to the bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from finetune.common.checksums import seal
from finetune.common.errors import InputError
from finetune.common.files import content_hash, read_json, write_json
from finetune.common.progress import Notice
from finetune.training.config import TuneConfig
from finetune.training.finished_training import read_checkpoint
from finetune.training.train import train
from tests.finetune.tiny import ROOT, prompts, save_base

FULL = {"method": "full", "keep": "best", "save_every": 3, "trajectory": 4}
LORA = {"method": "lora", "dropout": 0.2, "keep": "best", "save_every": 3, "trajectory": 4}
CASES = {
    "full": FULL,
    "lora": LORA,
    "loss": {"method": "full", "keep": "loss", "until_loss": 3.4, "save_every": 1},
}
for _settings in CASES.values():
    _settings.update(steps=12, batch=16, learning_rates=(5e-3,), check_every=2)
KILLED_AT = {"full": (5, 8), "lora": (8,), "loss": (4,)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def killed(base, tmp_path_factory):
    """Trainings of all cases, each killed at its steps, one after another."""
    home = tmp_path_factory.mktemp("killed")
    jobs = [
        {
            "base": str(base),
            "out": str(home / name),
            "settings": {**settings, "fail": "kill"},
            "fail_at": step,
        }
        for name, settings in CASES.items()
        for step in KILLED_AT[name]
    ]
    subprocess.run([sys.executable, "-m", "tests.finetune.tiny", json.dumps(jobs)], cwd=ROOT, check=True)
    return home


def _contents(path: Path) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".json"))
    return {str(p.relative_to(path)): content_hash(p) for p in files}


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_continues_to_the_same_files(base, killed, tmp_path, name):
    config, told = TuneConfig(**CASES[name]), prompts()
    work = killed / f"{name}.partial"
    assert work.is_dir()
    assert not (killed / name).exists()
    assert list(work.glob("trainer/checkpoint-*"))
    # States that a kill left half-written must not be taken for whole ones.
    for step, written in ((98, None), (99, '{"global_step": 1')):
        (work / f"trainer/checkpoint-{step}").mkdir(parents=True)
        if written:
            (work / f"trainer/checkpoint-{step}/trainer_state.json").write_text(written)
    continued = train(base, told[:32], told[32:], killed / name, config=config, seed=1)
    whole = train(base, told[:32], told[32:], tmp_path / name, config=config, seed=1)
    assert _contents(continued.path) == _contents(whole.path)
    assert (read_json(whole.path / "training.json")["curve"][-1]["step"] < 12) == (name == "loss")
    assert not work.exists()
    along = sorted(p.name for p in continued.path.glob("checkpoint-*"))
    assert along == (["checkpoint-12", "checkpoint-4", "checkpoint-8"] if config.trajectory else [])


def test_a_continued_training_does_not_begin_anew(base, tmp_path, monkeypatch):
    """The oracle of the test above would hold for a run that ignored its state: count the steps."""
    from finetune.training import best_checkpoint as keeping

    config, told = TuneConfig(**FULL), prompts()
    seen: list[int] = []
    step = keeping.BestCheckpointCallback.step

    def stopping(self, trainer, now, *, last):
        seen.append(now)
        if now == 8 and seen.count(8) == 1:
            raise KeyboardInterrupt
        return step(self, trainer, now, last=last)

    monkeypatch.setattr(keeping.BestCheckpointCallback, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(base, told[:32], told[32:], tmp_path / "out", config=config, seed=1)
    train(base, told[:32], told[32:], tmp_path / "out", config=config, seed=1)
    assert seen == [*range(1, 9), *range(7, 13)]


def test_a_state_of_other_settings_or_data_is_not_continued(base, killed_once, tmp_path):
    told = prompts()
    fresh = train(base, told[:31], told[32:], tmp_path / "fresh", config=TuneConfig(**FULL), seed=1)
    with pytest.warns(UserWarning, match="other prompts"):
        other = train(base, told[:31], told[32:], killed_once, config=TuneConfig(**FULL), seed=1)
    assert _contents(other.path) == _contents(fresh.path)


@pytest.fixture
def killed_once(base, tmp_path, monkeypatch):
    from finetune.training import best_checkpoint as keeping

    told, step = prompts(), keeping.BestCheckpointCallback.step

    def stopping(self, trainer, now, *, last):
        if now == 5:
            raise KeyboardInterrupt
        return step(self, trainer, now, last=last)

    monkeypatch.setattr(keeping.BestCheckpointCallback, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(base, told[:32], told[32:], tmp_path / "once", config=TuneConfig(**FULL), seed=1)
    monkeypatch.setattr(keeping.BestCheckpointCallback, "step", step)
    return tmp_path / "once"


def test_a_finished_training_is_returned_and_not_taken_for_another(base, tmp_path):
    told, config = prompts(), TuneConfig(**{**FULL, "trajectory": 8})
    out = tmp_path / "out"
    first = train(base, told[:32], told[32:], out, config=config)
    assert train(base, told[:32], told[32:], out, config=config) == first
    assert read_checkpoint(out / "checkpoint-8").step == 8
    with pytest.raises(InputError, match="seed is 0 there and 3 here"):
        train(base, told[:32], told[32:], out, config=config, seed=3)
    with pytest.raises(InputError, match="other prompts"):
        train(base, told[1:32], told[32:], out, config=config)


def test_what_a_former_version_told_apart_by_less_is_trained_again(base, tmp_path):
    told, config, out = prompts(), TuneConfig(**FULL), tmp_path / "out"
    first = train(base, told[:32], told[32:], out, config=config)
    record = read_json(out / "training.json")
    del record["recipe"]["digests"]
    write_json(out / "training.json", {**record, "recipe": {**record["recipe"], "prompts": "of before"}})
    seal(out)
    with pytest.raises(InputError, match="seed is 0 there and 3 here"):
        train(base, told[:32], told[32:], out, config=config, seed=3)
    with pytest.warns(Notice, match="recorded only a part of what prompts say"):
        assert train(base, told[:32], told[32:], out, config=config) == first
    assert read_json(out / "training.json")["recipe"].keys() == {*record["recipe"], "digests"}


def test_two_runs_do_not_train_in_one_place(base, tmp_path):
    told = prompts()
    (tmp_path / "out.partial").mkdir()
    with FileLock(tmp_path / "out.partial" / "lock"), pytest.raises(InputError, match="another run"):
        train(base, told[:32], told[32:], tmp_path / "out", config=TuneConfig(**FULL))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no training"):
        train(base, told[:32], told[32:], tmp_path / "own", config=TuneConfig(**FULL))
    assert [p.name for p in (tmp_path / "own").iterdir()] == ["notes.txt"]


def damaged(path: Path) -> None:
    """Change the last byte, which is a weight's or ends the text."""
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


@pytest.mark.parametrize(
    "name",
    ["adapter_model.safetensors", "training.json", "tokenizer.json", "checkpoint-8/adapter_config.json"],
)
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_finished_training_that_is_damaged_is_trained_again(base, tmp_path, name, how):
    told, config, out = prompts(), TuneConfig(**{**LORA, "trajectory": 8}), tmp_path / "out"
    train(base, told[:32], told[32:], out, config=config)
    before = _contents(out)
    (out / name).unlink() if how == "gone" else damaged(out / name)
    with pytest.warns(Notice, match="is not as it was written; it is trained again"):
        train(base, told[:32], told[32:], out, config=config)
    assert _contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_older_version_s_training_is_used_with_a_notice(base, tmp_path):
    told, config, out = prompts(), TuneConfig(**FULL), tmp_path / "out"
    first = train(base, told[:32], told[32:], out, config=config)
    (out / "checksums.json").unlink()
    with pytest.warns(Notice, match="cannot be verified"):
        assert train(base, told[:32], told[32:], out, config=config) == first


@pytest.mark.parametrize(
    ("which", "notice"),
    [
        ("trainer/checkpoint-*/optimizer.pt", "continues from an earlier state"),
        ("kept-*/model.safetensors", "the training begins anew"),
    ],
)
def test_a_damaged_state_or_model_of_a_killed_training_is_not_continued(
    base, killed_once, tmp_path, which, notice
):
    told, config = prompts(), TuneConfig(**FULL)
    for path in killed_once.with_name("once.partial").glob(which):
        damaged(path)
    with pytest.warns(Notice, match=notice):
        continued = train(base, told[:32], told[32:], killed_once, config=config, seed=1)
    whole = train(base, told[:32], told[32:], tmp_path / "whole", config=config, seed=1)
    assert _contents(continued.path) == _contents(whole.path)


@pytest.mark.parametrize("at", ["seal", "replace_directory", "after"])
def test_a_kill_while_the_result_is_put_in_place_loses_nothing(base, tmp_path, at):
    import os
    import signal

    from finetune.training import finished_training as trained

    told, config, out = prompts(), TuneConfig(**FULL), tmp_path / "out"
    child = os.fork()
    if child == 0:

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        def replace_and_die(new, path, replace=trained.replace_directory):
            replace(new, path)
            die()

        if at == "after":
            trained.replace_directory = replace_and_die
        else:
            setattr(trained, at, die)
        train(base, told[:32], told[32:], out, config=config, seed=1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    train(base, told[:32], told[32:], out, config=config, seed=1)
    whole = train(base, told[:32], told[32:], tmp_path / "whole", config=config, seed=1)
    assert _contents(out) == _contents(whole.path)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}
