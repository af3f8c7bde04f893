"""LoRA targets, precision, pieces, epochs, trajectories; memory that runs out and a GPU that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.evaluation.generate import score
from finetune.training.config import TuneConfig
from finetune.training.lora import trainable_model
from finetune.training.memory import DeviceLost, OutOfMemory
from finetune.training.train import train
from interp import load_pair
from tests.finetune.tiny import prompts, save_base

FULL = TuneConfig(steps=6, batch=16, learning_rates=(3e-3,), check_every=2, keep="last")
LORA = replace(FULL, method="lora", learning_rates=(2e-2,))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def plain(base, tmp_path_factory):
    """One ordinary training of each method, which others are compared with."""
    told, home = prompts(), tmp_path_factory.mktemp("plain")
    configs = {"full": FULL, "lora": LORA}
    return {m: train(base, told[:32], told[32:], home / m, config=c).path for m, c in configs.items()}


def _run(base, out, config):
    told = prompts()
    return train(base, told[:32], told[32:], out, config=config).path


def _weights(path):
    return load_file(next(path.glob("*model.safetensors")))


def _furthest(left, right):
    left, right = _weights(left), _weights(right)
    assert left.keys() == right.keys()
    return max(float((left[name].float() - right[name].float()).abs().max()) for name in left)


def test_lora_trains_the_layers_that_were_named_and_refuses_others(base, tmp_path):
    path = _run(base, tmp_path / "some", replace(LORA, targets=("q_proj", "mlp.up_proj"), rank=3, alpha=7))
    names = _weights(path)
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names} == {"q_proj", "up_proj"}
    assert all(min(w.shape) == 3 for w in names.values())
    assert read_json(path / "adapter_config.json")["lora_alpha"] == 7
    with pytest.raises(
        InputError, match="'query': the base has no such linear layer; it has down_proj, gate"
    ):
        _run(base, tmp_path / "none", replace(LORA, targets=("query",)))
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_bf16_keeps_what_learns_in_float32_and_nearly_trains_alike(base, plain, tmp_path, method):
    config = replace({"full": FULL, "lora": LORA}[method], dtype="bfloat16")
    model, _ = trainable_model(base, config)
    kinds = {p.requires_grad: p.dtype for p in model.parameters()}
    assert kinds[True] == torch.float32
    assert kinds.get(False, torch.bfloat16) == torch.bfloat16
    path = _run(base, tmp_path / method, config)
    assert {w.dtype for w in _weights(path).values()} == {torch.float32}
    ours, theirs = (read_json(p / "training.json")["curve"] for p in (path, plain[method]))
    moved = abs(theirs[-1]["loss"] - theirs[0]["loss"])
    assert abs(ours[-1]["loss"] - theirs[-1]["loss"]) < 0.3 * moved
    assert ours != theirs  # so bf16 was in fact computed in


@pytest.mark.parametrize("method", ["full", "lora"])
def test_checkpointing_and_pieces_change_the_cost_and_not_the_result(base, plain, tmp_path, method):
    config = {"full": FULL, "lora": LORA}[method]
    cheap = replace(config, gradient_checkpointing=True, accumulate=4)
    path = _run(base, tmp_path / method, cheap)
    assert _furthest(path, plain[method]) < 1e-4
    assert read_json(path / "training.json")["micro_batch"] == 4
    if method == "full":
        assert _furthest(path, base) > 1e-3


def test_epochs_take_the_place_of_steps(base, tmp_path):
    config = replace(FULL, epochs=1.5)
    assert [config.steps_for(n) for n in (32, 33, 1)] == [3, 4, 1]
    assert FULL.steps_for(1) == FULL.steps
    assert read_json(_run(base, tmp_path / "out", config) / "training.json")["step"] == 3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trajectory_can_be_opened_and_ends_in_the_result(base, plain, tmp_path, method):
    config = replace({"full": FULL, "lora": LORA}[method], trajectory=3)
    path = _run(base, tmp_path / method, config)
    assert sorted(p.name for p in path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    assert _furthest(path / "checkpoint-6", path) == 0
    assert _furthest(path, plain[method]) == 0
    assert _furthest(path / "checkpoint-3", path) > 1e-4
    pair = load_pair(str(base), str(path / "checkpoint-3"))
    model, tokenizer = load_model(path / "checkpoint-3", base=base)
    told = prompts()[:4]
    with pair.finetuned() as hooked, torch.inference_mode():
        ids = torch.tensor([tokenizer(told[0].text)["input_ids"]])
        assert torch.allclose(hooked(ids), model(ids).logits, atol=1e-4)
    assert score(model, tokenizer, told)[0].shape == (4,)


GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
)


def _forward_that_fails(monkeypatch, error, *, above, from_call=0):
    """Let a forward pass in training fail with more rows than ``above``; return the rows of each call."""
    seen: list[int] = []
    forward = LlamaForCausalLM.forward

    def failing(self, *args, **kwargs):
        if self.training:
            seen.append(len(kwargs["input_ids"]))
            if len(seen) > from_call and seen[-1] > above:
                raise error
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", failing)
    return seen


@pytest.mark.parametrize("error", [GPU, CPU], ids=["gpu", "cpu"])
def test_out_of_memory_halves_the_piece_and_not_the_batch(base, plain, tmp_path, monkeypatch, error):
    seen = _forward_that_fails(monkeypatch, error, above=5)
    path = _run(base, tmp_path / "out", FULL)
    assert seen == [16, 8, *[4] * 4 * FULL.steps]
    record = read_json(path / "training.json")
    assert (record["micro_batch"], record["halved"]) == (4, 2)
    assert _furthest(path, plain["full"]) < 1e-4


def test_out_of_memory_in_mid_run_continues_from_the_state(base, plain, tmp_path, monkeypatch):
    seen = _forward_that_fails(monkeypatch, GPU, above=8, from_call=4)
    path = _run(base, tmp_path / "out", replace(FULL, save_every=2))
    assert seen == [16] * 5 + [8, 8] * 2
    assert _furthest(path, plain["full"]) < 1e-4


def test_what_does_not_fit_at_all_is_said_with_remedies(base, tmp_path, monkeypatch):
    seen = _forward_that_fails(monkeypatch, GPU, above=0)
    with pytest.raises(
        OutOfMemory, match=r"one row at a time; switch on gradient checkpointing, use --method"
    ):
        _run(base, tmp_path / "out", replace(FULL, batch=6))
    assert seen == [6, 3, 1]
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_fails_leaves_a_state_that_the_same_command_continues(base, plain, tmp_path, monkeypatch):
    lost = RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")
    with monkeypatch.context() as patched:
        _forward_that_fails(patched, lost, above=0, from_call=4)
        with pytest.raises(DeviceLost, match=r"unspecified launch failure.*; start the same command again"):
            _run(base, tmp_path / "out", replace(FULL, save_every=2))
    assert [p.name for p in tmp_path.glob("out.partial/trainer/checkpoint-*")]
    seen = _forward_that_fails(monkeypatch, lost, above=99)
    assert _furthest(_run(base, tmp_path / "out", replace(FULL, save_every=2)), plain["full"]) == 0
    assert len(seen) == 2


def test_a_prompt_longer_than_the_base_takes_is_named(base, tmp_path):
    told = prompts()
    long = replace(told[0], text=told[0].text + " the" * 70)
    with pytest.raises(InputError, match=rf"{long.fact_id}.*the model reads 64 at most"):
        train(base, [long, *told[1:32]], told[32:], tmp_path / "out", config=FULL)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"accumulate": 0}, "accumulate = 0"),
        ({"epochs": 0.0}, "epochs"),
        ({"dropout": 1.0}, "dropout"),
        ({"dtype": "float16"}, "dtype = 'float16': choose one of float32, bfloat16"),
        ({"targets": ()}, "targets"),
        ({"trajectory": -1}, "trajectory"),
        ({"learning_rates": ()}, "learning rates"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        TuneConfig(**setting)
