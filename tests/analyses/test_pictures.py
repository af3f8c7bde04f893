"""The facts that a run keeps in full: which they are, and that what is kept is what the models attend to."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.common.visits import OpenCheckpoint
from analyses.experiments.attention_imbalance import fact_pictures as pictures
from interp import viz
from interp.measures.spans import encode
from interp.reports.read.run import Run
from tests.interp.measuring_fixtures import both, facts, prompts, tokenizer
from tests.interp.run_directory_fixture import make_run

SEEDS = {"base": 0, "top": 1, "bottom": 2}
LAYERS, HEADS = 2, 4


def table() -> pd.DataFrame:
    """Make the table of a run: 20 facts, four of them lost, whose change grows with their number."""
    rows = []
    for arm in SEEDS:
        for i, fact in enumerate(facts()):
            mass = np.full(LAYERS * HEADS, 0.5)
            if arm == "bottom":
                mass[i % 8] -= 0.02 * i
            rows.append(
                {
                    "arm": arm,
                    "fact_id": fact.id,
                    "known": True,
                    "correct": arm == "top" or (arm == "bottom" and i >= 4),
                    "subject_attention": mass.mean(),
                    "mass": mass,
                    "prediction": f"{arm} says",
                }
            )
    return pd.DataFrame(rows)


def test_lost_facts_come_first_and_no_fact_twice() -> None:
    chosen = pictures.choose_facts(table(), "top", "bottom", 8)
    ids = [fact.id for fact in facts()]
    assert chosen[0] == ids[2], "the median of the lost ones"
    assert chosen[1:4] == [ids[3], ids[1], ids[0]], "then the lost ones, the largest change first"
    assert chosen[4:] == ids[:-5:-1], "then those that both get right"
    assert len(pictures.choose_facts(table(), "top", "bottom", 500)) == len(ids)


@pytest.fixture
def kept(tmp_path) -> list[dict]:
    checkpoints = SimpleNamespace(prompts=tuple(prompts()))
    found = {
        name: OpenCheckpoint(both("llama", seed).hooked, tokenizer(), checkpoints)
        for name, seed in SEEDS.items()
    }
    ids = [prompt.fact_id for prompt in prompts()]
    recorded = {
        name: pictures.patterns_stage(tmp_path / f"{name}.npz", ids, seed=0) for name in ("base", "top")
    }
    for name, stage in recorded.items():
        stage.write(found[name])
    seen = pictures.Pictured(frame=table(), before="top", after="bottom", recorded=recorded, seed=0)
    return pictures.record_facts(found["bottom"], seen, most=5)


def test_what_is_kept_is_what_the_models_attend_to(kept, tmp_path) -> None:
    make_run(tmp_path, n_facts=8)
    (tmp_path / "examples.json").write_text(json.dumps(kept))
    examples = Run.load(tmp_path).examples
    assert [e.fact_id for e in examples] == pictures.choose_facts(table(), "top", "bottom", 5)
    by_id = {prompt.fact_id: prompt for prompt in prompts()}
    for example in examples:
        batch = encode(tokenizer(), [by_id[example.fact_id]])
        assert example.subject_tokens == tuple(batch.subject_mask[0].tolist())
        for arm, seed in SEEDS.items():
            with torch.no_grad():
                output = both("llama", seed).plain(batch.input_ids, output_attentions=True)
            expected = torch.stack(output.attentions, 1)[0].numpy()
            assert example.patterns[arm][:, :, -1] == pytest.approx(expected[:, :, -1], abs=0.003)
            whole = ~np.isnan(example.patterns[arm])
            assert example.patterns[arm][whole] == pytest.approx(expected[whole], abs=0.003)
            assert example.predictions[arm] == f"{arm} says"
    assert len(viz.fact_views(examples)) == 5


def test_only_the_heads_that_changed_most_are_kept_whole(kept, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "MOST_HEADS", 1)
    assert pictures._changed([np.zeros(4), np.array([0.1, 0, -0.3, 0.2])]) == [2]
    assert all(len(part["patterns"]["heads"]) == 8 for fact in kept for part in fact["arms"].values())
