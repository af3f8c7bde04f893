"""Two processes train as one does: the same measurements and weights, up to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.training.config import TuneConfig
from finetune.training.train import train
from finetune.training.trainer import microbatch_size
from tests.finetune.tiny import ROOT, prompts, save_base

SETTINGS = {"steps": 8, "batch": 16, "learning_rates": (2e-3,), "check_every": 2, "keep": "last"}
CASES = {
    "full": {**SETTINGS, "method": "full", "accumulate": 2, "save_every": 4},
    "lora": {**SETTINGS, "method": "lora", "learning_rates": (2e-2,), "trajectory": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "base")


FSDP = {  # what accelerate makes of finetune/launch/fsdp.yaml
    "ACCELERATE_TORCH_DEVICE": "cpu",
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def _launch(jobs: list[dict], *, seconds: float, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*command, "-m", "tests.finetune.tiny", json.dumps(jobs)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def together(base, tmp_path_factory):
    """The trainings of two processes; then one more whose second process fails."""
    home = tmp_path_factory.mktemp("two")
    jobs = [
        {"base": str(base), "out": str(home / name), "settings": settings, "fail_at": 0}
        for name, settings in CASES.items()
    ]
    jobs.append({"base": str(base), "out": str(home / "failed"), "settings": SETTINGS, "fail_at": 5})
    done = _launch(jobs, seconds=300)
    assert (home / "full").is_dir(), done.stderr[-2000:]
    return home, done


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_to_the_losses_and_weights_of_one(base, together, tmp_path, name):
    told, (home, _) = prompts(), together
    alone = train(base, told[:32], told[32:], tmp_path / name, config=TuneConfig(**CASES[name]), seed=1)
    one, two = (read_json(path / name / "training.json") for path in (tmp_path, home))
    assert len(one["curve"]) == len(two["curve"]) == 4
    for ours, theirs in zip(one["curve"], two["curve"], strict=True):
        assert ours["accuracy"] == theirs["accuracy"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
        assert ours["log_prob"] == pytest.approx(theirs["log_prob"], abs=1e-4)
    # Training moved what is measured a hundred times further than the two may lie apart.
    assert one["curve"][0]["loss"] - one["curve"][-1]["loss"] > 1e-2
    assert two["micro_batch"] * 2 == one["micro_batch"]
    for file in sorted(p.relative_to(alone.path) for p in alone.path.rglob("*.safetensors")):
        left, right = (load_file(path / name / file) for path in (tmp_path, home))
        assert all(torch.allclose(left[k], right[k], atol=2e-4) for k in left)
    assert sorted(p.name for p in (home / name).iterdir()) == sorted(p.name for p in alone.path.iterdir())


def test_a_model_spread_over_processes_trains_alike_and_is_saved_whole(base, together, tmp_path):
    """Against two processes that each hold the whole model; FSDP 2 with states and a trajectory saved."""
    home, _ = together
    jobs = [
        {"base": str(base), "out": str(tmp_path / name), "settings": {**CASES[name], "save_every": 3}}
        for name in CASES
    ]
    done = _launch([{**job, "fail_at": 0} for job in jobs], seconds=300, **FSDP)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in CASES:
        one, two = (read_json(path / name / "training.json")["curve"] for path in (home, tmp_path))
        assert [c["loss"] for c in one] == pytest.approx([c["loss"] for c in two], abs=1e-4)
        for file in sorted(p.relative_to(home / name) for p in (home / name).rglob("*.safetensors")):
            left, right = (load_file(path / name / file) for path in (home, tmp_path))
            assert left.keys() == right.keys()
            assert all(torch.allclose(left[k], right[k], atol=2e-4) for k in left)


def test_a_process_that_fails_ends_the_others(together):
    home, done = together
    assert done.returncode != 0
    assert "told to fail" in done.stderr
    assert not (home / "failed").exists()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "process_count", lambda: 3)
    with pytest.raises(InputError, match="multiple of 6"):
        microbatch_size(128, 2)
