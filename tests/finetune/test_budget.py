"""Estimates against published counts, the real model, and the memory that a real training takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from finetune.common.errors import InputError
from finetune.common.progress import Notice, duration
from finetune.training import presets
from finetune.training.config import TuneConfig
from finetune.training.cost_estimate import estimate_cost, require_room, step_flops
from finetune.training.lora import lora_config, trainable_model
from finetune.training.machine import GIB, Machine, size
from tests.finetune.tiny import ROOT, save_base

HERE = Machine(name="here", memory=80 * GIB, flops=1e12)
LORA = TuneConfig(method="lora", rank=4, targets=("q_proj", "down_proj"))
SHAPE = {
    "vocab_size": 500,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _estimate(config, tune, **given):
    return estimate_cost(config, tune, **{"tokens_per_row": 20, "rows": 100, "machine": HERE, **given})


@pytest.mark.parametrize("name", sorted(presets.RECIPES))
def test_presets_count_the_published_parameters_and_fit_their_machine(name):
    held = presets.recipe(name)
    expected = held.expected()
    adapter = expected.learning if held.tune.method == "lora" else 0
    assert expected.parameters - adapter == held.parameters
    assert expected.fits


def test_counts_are_those_of_the_real_model(tmp_path):
    base = save_base(tmp_path / "base")
    config = AutoConfig.from_pretrained(base)
    for tune in (TuneConfig(), LORA, TuneConfig(method="lora")):
        model, _ = trainable_model(base, tune)
        found = _estimate(config, tune)
        assert found.parameters == sum(p.numel() for p in model.parameters())
        assert found.learning == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert found.optimizer == 2 * found.gradients == 8 * found.learning
    tied = AutoConfig.for_model("gpt2", n_layer=2, n_embd=32, n_head=4, vocab_size=90)
    real = AutoModelForCausalLM.from_config(tied)
    assert _estimate(tied, TuneConfig()).parameters == real.num_parameters()


def test_lora_of_a_gpt2_counts_what_peft_adds():
    from peft import get_peft_model

    config = AutoConfig.for_model("gpt2", n_layer=2, n_embd=32, n_head=4, vocab_size=90)
    tune = TuneConfig(method="lora", rank=3)
    model = AutoModelForCausalLM.from_config(config)
    adapted = get_peft_model(model, lora_config(model, tune))
    assert _estimate(config, tune).learning == adapted.get_nb_trainable_parameters()[0]


def test_flops_agree_with_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    config = LlamaConfig(**SHAPE)
    model = LlamaForCausalLM(config)
    ids = torch.zeros((2, 24), dtype=torch.long)
    with FlopCounterMode(display=False) as counted:
        model(input_ids=ids, labels=ids).loss.backward()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    ours = 2 * step_flops(config, TuneConfig(), linear=linear, length=24)
    assert ours == pytest.approx(counted.get_total_flops(), rel=0.05)
    lora = step_flops(config, LORA, linear=linear, length=24)
    assert 0.6 < 2 * lora / ours < 0.75


def test_activations_are_what_autograd_saves():
    """The estimate extrapolates from two layers on the meta device; here are four, with contents."""
    config = LlamaConfig(**SHAPE)
    model = LlamaForCausalLM(config).train()
    own = {p.data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(500, (8, 20))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False)
    logits = 8 * 20 * 500 * (4 + 4)
    found = _estimate(config, TuneConfig(batch=8)).activations - logits
    assert found == pytest.approx(sum(saved.values()), rel=0.15)


def test_what_saves_memory_is_estimated_to():
    config = LlamaConfig(**{**SHAPE, "num_hidden_layers": 16})
    plain = _estimate(config, TuneConfig())
    for cheaper in ({"gradient_checkpointing": True}, {"accumulate": 4}):
        found = _estimate(config, replace(TuneConfig(), **cheaper))
        assert found.activations < plain.activations / 3
        assert found.weights == plain.weights
    assert _estimate(config, TuneConfig(gradient_checkpointing=True)).flops > 1.3 * plain.flops
    half = _estimate(config, TuneConfig(method="lora", dtype="bfloat16"))
    assert half.weights < 0.6 * _estimate(config, TuneConfig(method="lora")).weights
    spread = _estimate(config, TuneConfig(), machine=replace(HERE, processes=4, sharded=True))
    assert (spread.weights, spread.gradients) == (plain.weights // 4, plain.gradients // 4)
    assert spread.seconds == pytest.approx(plain.seconds / 4)
    assert spread.flops == pytest.approx(plain.flops)


def test_a_training_that_cannot_fit_is_refused_with_remedies():
    held = presets.recipe("llama-2-7b-full")
    with pytest.raises(InputError, match=r"does not fit.*LoRA with bfloat16, or several GPUs with FSDP"):
        require_room(held.expected(presets.recipe("llama-2-7b").machine))
    require_room(held.expected())
    with pytest.raises(InputError, match="choose one of llama-2-7b"):
        presets.recipe("llama")


@pytest.mark.parametrize("kind", ["opt", "bloom", "mixtral"])
def test_a_model_that_does_not_run_without_contents_is_trained_all_the_same(kind):
    size = {"num_hidden_layers": 2, "vocab_size": 500, "hidden_size": 64, "num_attention_heads": 4}
    with pytest.warns(Notice, match=f"activations is not estimated for {kind}"):
        found = _estimate(AutoConfig.for_model(kind, **size), TuneConfig())
    assert found.weights > found.activations == 0


def test_the_frame_and_the_sentence_say_the_same():
    found = _estimate(LlamaConfig(**SHAPE), TuneConfig())
    frame = found.to_frame()
    assert frame["total"].item() == found.total
    assert f"{found.learning:,}" in found.sentence()


MEASURED = """
import json, os, sys
import torch
import peft
from benchmarks.peak import peak_memory
from transformers import LlamaConfig, LlamaForCausalLM
from finetune.evaluation.unembedding import contiguous_head, logits_at, packed_loss
from finetune.training.config import TuneConfig
from finetune.training.lora import lora_config
def taken(method, dtype, shape, rows, answer, length):
    half = dtype == "bfloat16"
    frozen = torch.bfloat16 if half and method == "lora" else torch.float32
    model = LlamaForCausalLM(LlamaConfig(**shape)).to(frozen).train()
    if method == "lora":
        model = peft.get_peft_model(model, lora_config(model, TuneConfig(method="lora")))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    ids = torch.randint(shape["vocab_size"], (rows, length))
    labels = ids.masked_fill(torch.arange(length) < length - answer, -100)
    mask = torch.ones_like(ids)
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for _ in range(2):
        with packed_loss(model), torch.autocast("cpu", torch.bfloat16, enabled=half):
            model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.inference_mode():  # as validation asks
            logits_at(model, ids, mask, torch.arange(length - answer, length).expand(rows, -1))
            with contiguous_head(model):
                asked = {"input_ids": ids[:, : length // 2], "attention_mask": mask[:, : length // 2]}
                model.generate(**asked, max_new_tokens=2)
    return peak_memory() - resident + sum(p.numel() * p.element_size() for p in model.parameters())
for case in json.loads(sys.argv[1]):
    if os.fork() == 0:  # a process of its own, for which libraries are not imported again
        print(taken(*case), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
SMALL = {"hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8, "vocab_size": 4000}
REAL = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 49_152}
TRAININGS = (  # method, dtype, shape, rows, tokens of an answer and of a row
    ("full", "float32", SMALL, 16, 64, 64),
    ("lora", "float32", SMALL, 16, 64, 64),
    # A vocabulary of a real model: its head in bfloat16 must not be copied once per row.
    ("lora", "bfloat16", REAL, 16, 2, 32),
    ("lora", "float32", REAL, 64, 4, 64),
)


@pytest.fixture(scope="module")
def memory_taken():
    """Train in fresh processes; return what each takes above its libraries, in bytes."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from Linux's /proc")
    cases = [(method, dtype, {**SHAPE, **shape}, *sizes) for method, dtype, shape, *sizes in TRAININGS]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(cases)],
        cwd=ROOT,
        # Freed tensors go back to the system at once, so that the peak is of what was held.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in done.stdout.splitlines()[-len(TRAININGS) :]]


@pytest.mark.parametrize("case", range(len(TRAININGS)), ids=lambda case: "-".join(TRAININGS[case][:2]))
def test_the_estimate_is_near_the_memory_that_a_training_takes(case, memory_taken):
    """Within a third of what a fresh process takes above its libraries."""
    method, dtype, shape, rows, answer, length = TRAININGS[case]
    tune = TuneConfig(method=method, batch=rows, dtype=dtype)
    config = LlamaConfig(**{**SHAPE, **shape})
    found = _estimate(config, tune, tokens_per_row=length, answer_tokens=answer)
    assert found.total - found.runtime == pytest.approx(memory_taken[case], rel=1 / 3)


def test_the_documented_table_is_the_computed_one():
    assert _recipe_table() in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def _recipe_table() -> str:
    """Return the presets of real models as a Markdown table, as docs/training.md shows it."""
    lines = [
        "| preset | base | method | steps x batch | GPU | memory a device | time a learning rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, held in presets.RECIPES.items():
        expected, tune = held.expected(), held.tune
        method = f"LoRA r={tune.rank}" if tune.method == "lora" else "full"
        precision = "bf16" if tune.dtype == "bfloat16" else "float32"
        steps = f"{tune.steps_for(held.rows)} x {tune.batch}"
        lines.append(
            f"| `{name}` | {held.base} | {method}, {precision} | {steps} | {held.machine.name} "
            f"| {size(expected.total)} | {duration(expected.seconds)} |"
        )
    return "\n".join(lines)
