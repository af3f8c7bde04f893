"""Sweeps of pretraining length, long-tailedness and depth: settings, numbers that follow from rows, signs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import depth_sweep, pretraining_sweep
from analyses.common.training_setup import setting_for
from analyses.experiments.depth_sweep import cells as depth_sweep_cells
from analyses.experiments.depth_sweep import experiment as depth_sweep_experiment
from analyses.experiments.pretraining_sweep import cells as pretraining_sweep_cells
from analyses.experiments.pretraining_sweep import experiment as pretraining_sweep_experiment
from analyses.experiments.pretraining_sweep import numbers as pretraining_sweep_numbers
from analyses.experiments.pretraining_sweep import page as pretraining_sweep_page
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.training.config import BaseConfig
from interp.reports.read.results import Results


@pytest.mark.parametrize("layers", [1, 2, 4, 8, 12])
def test_depths_hold_the_same_number_of_parameters_as_torch_counts_them(layers: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    made = depth_sweep_cells.reshape_base(BaseConfig(), layers)
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=made.width,
        intermediate_size=made.mlp,
        num_hidden_layers=made.layers,
        num_attention_heads=made.heads,
        num_key_value_heads=made.heads,
    )
    named = LlamaForCausalLM(config).named_parameters()
    counted = sum(p.numel() for name, p in named if name.endswith("_proj.weight"))
    assert counted == depth_sweep_cells.in_layers(made)
    assert counted == pytest.approx(depth_sweep_cells.in_layers(BaseConfig()), rel=0.01)
    assert made.width // made.heads % 2 == 0, "rotary embeddings turn pairs"
    assert made == BaseConfig() or layers != 2


def test_a_depth_that_leaves_no_width_is_refused() -> None:
    with pytest.raises(InputError, match="--depths 5000"):
        depth_sweep_cells.reshape_base(BaseConfig(), 5000)


def test_one_thing_is_changed_at_a_time() -> None:
    options = pretraining_sweep.PretrainingSweepOptions(world="tiny")
    own = setting_for(options, None, 3)
    longer = pretraining_sweep_cells.setting_at(options, "length", 2, seed=3)
    steeper = pretraining_sweep_cells.setting_at(options, "exponent", 1.7, seed=3)
    assert longer.facts.digest == own.facts.digest
    assert longer.base.steps == 2 * own.base.steps
    assert steeper.base == own.base
    names = [[(f.subject, f.relation, f.answers) for f in setting.facts] for setting in (own, steeper)]
    assert names[0] == names[1], "the same people and facts, of other popularity"
    popularity = np.array([f.popularity for f in steeper.facts][:: len(own.facts.relations)])
    assert popularity[3] / popularity[0] == pytest.approx(4**-1.7)
    same = pretraining_sweep_cells.setting_at(options, "exponent", 1.3, seed=3)
    assert same.facts.digest == own.facts.digest, "the world's own exponent is the world itself"


def _rows(gap: dict[tuple[str, float], float], seed: int) -> pd.DataFrame:
    """Make rows in which the popular half answers that share of facts more, and all are known."""
    rows = []
    for (axis, x), share in gap.items():
        lost = round(20 * share)
        for arm in ("top", "bottom"):
            for i in range(20):
                rows.append(
                    {
                        "seed": seed,
                        "axis": axis,
                        "x": x,
                        "arm": arm,
                        "fact_id": f"{i}",
                        "subject": f"s{i}",
                        "known": i < 20 - lost,
                        "correct": arm == "top" or i >= lost,
                        "subject_attention": 0.5 + (share if arm == "top" else 0),
                    }
                )
    return pd.DataFrame(rows)


def test_claims_follow_gaps_that_shrink_with_length_and_grow_with_the_exponent() -> None:
    gap = {("length", 1.0): 0.4, ("length", 2.0): 0.1, ("exponent", 1.0): 0.1, ("exponent", 1.5): 0.5}
    frame = pd.concat([_rows(gap, 0), _rows({k: 1.1 * v for k, v in gap.items()}, 1)], ignore_index=True)
    results = pretraining_sweep_numbers.summarise(frame)
    assert results["length"]["1"]["gap_all"]["value"] == pytest.approx(0.425)
    contrasts = results["contrasts"]["gap_all"]
    assert contrasts["shortest_minus_longest"]["value"] == pytest.approx(0.325)
    assert contrasts["steepest_minus_flattest"]["value"] == pytest.approx(0.425)
    assert results["fall"]["gap_all"]["value"] == pytest.approx(1), "each point stated takes one point of gap"
    outcomes = {claim.claim: claim.outcome for claim in pretraining_sweep_page.claims(Results.of(results))}
    # Both seeds fall by exactly one point a point, which is no interval.
    gaps = {claim: outcome for claim, outcome in outcomes.items() if "the gap between halves" in claim}
    assert {outcome for claim, outcome in gaps.items() if "all held-out" in claim} == {"supported"}
    turned = {(axis, -x): value for (axis, x), value in gap.items()}
    second = {place: 1.1 * value for place, value in turned.items()}
    against = pretraining_sweep_numbers.summarise(
        pd.concat([_rows(turned, 0), _rows(second, 1)], ignore_index=True)
    )
    lost = {c.claim: c.outcome for c in pretraining_sweep_page.claims(Results.of(against))}
    assert (
        lost["on all held-out facts, the gap between halves shrinks with longer pretraining"]
        == "not supported"
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_the_pretraining_sweep_runs_with_its_placebo(cache: Path, tmp_path: Path) -> None:
    options = pretraining_sweep.PretrainingSweepOptions(
        out=tmp_path / "run",
        world="tiny",
        seeds=(0,),
        lengths=(0.5, 1),
        exponents=(1.0, 1.3),
        pretrain_steps=40,
        tune_steps=4,
        placebo=True,
        cache=cache,
        workers=1,
        quiet=True,
    )
    out = pretraining_sweep_experiment.EXPERIMENT.run(options)
    frame = pd.read_parquet(out / "facts.parquet")
    results = read_json(out / "results.json")
    assert set(frame["arm"]) == {"top", "bottom", "shuffled_top", "shuffled_bottom"}
    part = frame[(frame["axis"] == "length") & (frame["x"] == 0.5)].set_index(["arm", "fact_id"])["correct"]
    for prefix, numbers in (("", results), ("shuffled_", None)):
        change = part[f"{prefix}top"].astype(float) - part[f"{prefix}bottom"]
        point = results["length"]["0.5"]
        value = (point if numbers else point["placebo"])["gap_all"]["value"]
        assert value == pytest.approx(change.mean())


def test_the_depth_sweep_reads_every_layer_and_transplants(cache: Path, tmp_path: Path) -> None:
    options = depth_sweep.DepthSweepOptions(
        out=tmp_path / "run",
        world="tiny",
        seeds=(0,),
        depths=(1, 3),
        pretrain_steps=400,
        tune_steps=10,
        cache=cache,
        workers=1,
        quiet=True,
    )
    out = depth_sweep_experiment.EXPERIMENT.run(options)
    frame = pd.read_parquet(out / "facts.parquet")
    results = read_json(out / "results.json")
    for depth in (1, 3):
        some = frame[frame["layers"] == depth]
        layers = some[[f"attention_{i}" for i in range(depth)]]
        assert layers.mean(axis=1).to_numpy() == pytest.approx(some["subject_attention"].to_numpy(), abs=1e-5)
        part = results["depths"][str(depth)]
        assert len(part["imbalance"]) == depth
        mean = np.mean([layer["value"] for layer in part["imbalance"].values()])
        assert part["gap_attention"]["value"] == pytest.approx(mean, abs=1e-5)
    assert frame.loc[frame["layers"] == 1, "attention_1"].isna().all()
    assert "attention_2" in frame
    lost = frame[frame["recovered"].notna()]
    assert set(lost["arm"]) <= {"bottom"}
    assert not lost["correct"].any(), "only what the unpopular half gets wrong is transplanted"
