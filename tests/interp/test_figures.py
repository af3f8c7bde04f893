"""Figures of results, verdicts, trainings and experiments: what is drawn is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from finetune.common.errors import InputError
from interp import figures
from interp.measures.attention import AttentionMass
from interp.measures.head_changes import imbalance, rank_heads
from interp.measures.value_readout import ValueReadout
from interp.patching.scoring import PatchResult
from interp.reports.figures import style
from interp.reports.figures.curves import Curve
from interp.reports.figures.head_effects import HeadEffects
from interp.reports.figures.verdicts import COLOURS, verdict_shares
from interp.reports.read.run import NotMeasured
from interp.stats import estimate, over_seeds

from .run_directory_fixture import DOLLARS, HOSTILE, make_run
from .test_viz import errorbars

VERDICTS = [
    "retained",
    "right but generic",
    "suppressed, intact",
    "eroded",
    "erased",
    "learned",
    "never stored",
    "undetermined",
]


def judged(seeds=(0,), arms=("top", HOSTILE), n: int = 60) -> pd.DataFrame:
    """Make a table of verdicts that agree with what the base knew."""
    rng = np.random.default_rng(0)
    frames = []
    for seed in seeds:
        for arm in arms:
            knew = rng.choice([0.0, 0.5, 1.0], n)
            pick = rng.random(n)
            verdict = np.where(
                knew == 1,
                np.where(pick < 0.5, "retained", np.where(pick < 0.8, "suppressed, intact", "erased")),
                np.where(knew == 0.5, "undetermined", np.where(pick < 0.2, "learned", "never stored")),
            )
            frames.append(
                pd.DataFrame(
                    {
                        "seed": seed,
                        "arm": arm,
                        "subject": [f"s{i % 20}" for i in range(n)],
                        "base_knew": knew,
                        "verdict": verdict,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def areas(axes) -> dict[str, float]:
    """Add up the heights of an alluvial panel's bands by colour: their left ends."""
    from matplotlib.colors import to_hex
    from matplotlib.patches import PathPatch

    found: dict[str, float] = {}
    for patch in axes.patches:
        if isinstance(patch, PathPatch):
            start, end = patch.get_path().vertices[0], patch.get_path().vertices[-1]
            colour = to_hex(patch.get_facecolor())
            found[colour] = found.get(colour, 0.0) + end[1] - start[1]
    return found


def test_flows_are_as_high_as_their_verdicts_share() -> None:
    frame = judged()
    figure = figures.verdict_flows(frame)
    assert len(figure.axes) == 2
    for axes, arm in zip(figure.axes, ("top", HOSTILE), strict=True):
        rows = frame[frame["arm"] == arm]
        expected = {COLOURS[v].lower(): (rows["verdict"] == v).mean() for v in VERDICTS}
        assert areas(axes) == pytest.approx({k: v for k, v in expected.items() if v})
        texts = " ".join(text.get_text() for text in axes.texts)
        found = estimate(
            (rows["verdict"] == "suppressed, intact").to_numpy(float), groups=rows["subject"].to_numpy()
        )
        assert (
            f"suppressed, intact {100 * found.value:.0f}% ({100 * found.low:.0f} to {100 * found.high:.0f})"
            in texts
        )
        assert "n = 60 facts" in axes.get_title(loc="left")


def test_shares_of_several_seeds_are_means_over_seeds() -> None:
    frame = judged(seeds=(0, 1, 2), arms=("top",))
    each = [
        estimate((rows["verdict"] == "erased").to_numpy(float), groups=rows["subject"].to_numpy())
        for _, rows in frame.groupby("seed")
    ]
    assert verdict_shares(frame, ["erased"])["erased"] == over_seeds(each, bounds=(0, 1))
    assert "3 seeds" in figures.verdict_flows(frame).axes[0].get_title(loc="left")


def test_bars_add_up_to_the_known_facts(tmp_path: Path) -> None:
    frame = judged()
    frame.to_parquet(tmp_path / "facts.parquet")
    axes = figures.verdict_bars(tmp_path).axes[0]
    known = frame[(frame["base_knew"] == 1) & (frame["arm"] == "top")]
    first = [bar for bar in axes.patches if abs(bar.get_y() + bar.get_height() / 2) < 1e-9]
    assert sum(bar.get_width() for bar in first) == pytest.approx(100)
    assert first[0].get_width() == pytest.approx(100 * (known["verdict"] == "retained").mean())


def test_tables_without_verdicts_or_arms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="base_knew"):
        figures.verdict_flows(judged().drop(columns="base_knew"))
    with pytest.raises(InputError, match="no arm 'none'"):
        figures.verdict_flows(judged(), arms=["none"])
    with pytest.raises(InputError, match="is missing"):
        figures.verdict_bars(tmp_path)


def swept(effect: np.ndarray, labels: dict) -> PatchResult:
    """Make a result whose cells change log p by ``effect`` [cell fact]."""
    clean = torch.full((effect.shape[1],), -1.0)
    return PatchResult(
        log_prob=clean + torch.from_numpy(effect),
        rank=torch.zeros(effect.shape, dtype=torch.long),
        clean=clean,
        clean_rank=torch.zeros(effect.shape[1], dtype=torch.long),
        said=(),
        clean_said=(),
        labels=labels,
        not_finite=(),
        plan="",
        fact_ids=tuple(map(str, range(effect.shape[1]))),
    )


def test_a_recovery_grid_holds_means_placebo_and_what_is_settled() -> None:
    rng = np.random.default_rng(1)
    effect = rng.normal(size=(6, 30)).astype(np.float64)
    effect[4] += 3  # layer 1, head 1
    effect[2, :5] = np.nan
    labels = {"layer": (0, 1), "head": (0, 1, 2)}
    groups = [f"s{i % 10}" for i in range(30)]
    real, placebo = swept(effect, labels), swept(effect[::-1].copy(), labels)
    figure = figures.recovery_grid(real, placebo, groups=groups)
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert images[0] == pytest.approx(np.nanmean(effect, 1).reshape(2, 3), abs=1e-6)
    assert images[1] == pytest.approx(np.nanmean(effect[::-1], 1).reshape(2, 3), abs=1e-6)
    assert HeadEffects.of(real, groups).settled[1, 1]
    clims = {axes.images[0].get_clim() for axes in figure.axes if axes.images}
    assert len(clims) == 1
    with pytest.raises(InputError, match="layer and head"):
        figures.recovery_grid(swept(effect, {"cell": tuple(range(6))}))


def test_a_runs_grid_shows_every_arm_beside_its_placebo(tmp_path: Path) -> None:
    rows = [
        {"arm": arm, "layer": layer, "head": head, "n": 9, **dict.fromkeys(("low", "placebo_low"), -0.1)}
        | {"gain": layer + head / 10, "high": 2.0, "placebo": -0.05, "placebo_high": 0.1}
        for arm in ("top", HOSTILE)
        for layer in range(2)
        for head in range(3)
        if (layer, head) != (1, 2)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "heads.parquet")
    figure = figures.recovery_grid(tmp_path)
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert len(images) == 4
    assert images[0][:, :2] == pytest.approx(np.array([[0, 0.1], [1, 1.1]]))
    assert "n = 9" in figure.axes[0].get_title(loc="left")
    with pytest.raises(InputError, match="choose from top"):
        figures.recovery_grid(tmp_path, arms=["bottom"])


def mass(seed: int) -> AttentionMass:
    values = torch.rand((40, 2, 3), generator=torch.Generator().manual_seed(seed))
    zeros = torch.zeros_like(values)
    return AttentionMass(
        values=values,
        raw=values,
        rank=torch.zeros_like(values, dtype=torch.long),
        bos=zeros,
        relation=zeros,
        rest=1 - values,
        fact_ids=tuple(map(str, range(40))),
    )


def test_two_measurements_make_a_map_of_the_change() -> None:
    before, after = mass(0), mass(0)
    after.values[:, 1, 2] *= 0.2
    figure = figures.attention_change(before, after, names=("base", HOSTILE))
    images = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    change = (after.values - before.values).mean(0).numpy()
    assert images[2] == pytest.approx(change, abs=1e-6)
    dots = [len(c.get_offsets()) for axes in figure.axes if axes.images for c in axes.collections]
    passed = int((rank_heads(imbalance(before, after)).corrected < 0.05).sum())
    assert dots == [passed] == [1]


def test_readouts_of_right_and_wrong_facts_stand_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_facts=80)
    with pytest.raises(NotMeasured, match="did not read"):
        figures.stored_and_used(run)
    frame = pd.read_parquet(run / "facts.parquet")
    frame["stored"], frame["used"] = frame["correct"] * 2.0 + 1, frame["correct"] * 0.5
    frame.to_parquet(run / "facts.parquet")
    stored, used = figures.stored_and_used(run).axes
    for axes, (right, wrong) in ((stored, (3, 1)), (used, (0.5, 0))):
        values = [float(c.lines[0].get_xdata()[0]) for c in axes.containers]
        assert set(values) == {right, wrong}
    known = frame[frame["known"] & (frame["arm"] == "top")]
    counts = f"n = {int(known['correct'].sum())} / {int((~known['correct']).sum())}"
    assert counts in [t.get_text().split("\n")[1] for t in stored.get_yticklabels()]


def test_readouts_in_memory_are_drawn_too() -> None:
    shape = (12, 1, 1)
    made = ValueReadout(
        stored=torch.zeros(shape),
        used=torch.zeros(shape),
        stored_rank=torch.zeros(shape, dtype=torch.long),
        used_rank=torch.zeros(shape, dtype=torch.long),
        stored_total=torch.arange(12.0),
        used_total=torch.ones(12),
        stored_total_rank=torch.zeros(12, dtype=torch.long),
        used_total_rank=torch.zeros(12, dtype=torch.long),
        candidates=torch.full((12,), 3),
        collisions=(),
        fact_ids=tuple(map(str, range(12))),
    )
    figure = figures.stored_and_used({"base": made}, right={"base": [i < 6 for i in range(12)]})
    values = [float(c.lines[0].get_xdata()[0]) for c in figure.axes[0].containers]
    assert values == pytest.approx([2.5, 8.5])


def trained(path: Path, seed: int, arm: str, accuracy: list[float]) -> None:
    folder = path / "seeds" / str(seed) / "arms" / arm / "lr-0.001"
    folder.mkdir(parents=True)
    curve = [
        {"step": 10 * (i + 1), "accuracy": value, "loss": 2.0 - i, "log_prob": -1}
        for i, value in enumerate(accuracy)
    ]
    (folder / "training.json").write_text(json.dumps({"curve": curve}))
    file = folder.parents[2] / "checkpoints.json"
    held = json.loads(file.read_text()) if file.is_file() else {"base": "elsewhere"}
    file.write_text(json.dumps({**held, arm: f"moved/since/arms/{arm}/lr-0.001"}))


def test_the_course_of_trainings_is_a_mean_over_seeds(tmp_path: Path) -> None:
    for seed, values in enumerate(([0.2, 0.4], [0.3, 0.6])):
        trained(tmp_path, seed, "top", values)
    accuracy, loss = figures.training_curves(tmp_path).axes
    ((x, y, _),) = errorbars(accuracy)
    assert list(x) == [10, 20]
    assert y == pytest.approx([25, 50])
    assert errorbars(loss)[0][1] == pytest.approx([2, 1])
    assert "n = 2 trainings" in accuracy.get_xlabel()
    alone = figures.training_curves(tmp_path / "seeds" / "1" / "arms" / "top" / "lr-0.001")
    assert errorbars(alone.axes[0])[0][1] == pytest.approx([30, 60])
    assert "n = 1 training" in alone.axes[0].get_xlabel()


def test_no_training_and_a_malformed_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match=r"training\.json"):
        figures.training_curves(tmp_path)
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match=r"training\.json"):
        figures.training_curves(tmp_path)


def number(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 3}


def test_experiments_are_drawn_from_results_and_from_directories(tmp_path: Path) -> None:
    part = {"accuracy": number(0.4), "accuracy_known": number(0.7)}
    mixture = {"shares": {"0": {"popular": part, "unpopular": part}}, "seeds": {"0": {}, "1": {}}}
    mixture["shares"]["1"] = mixture["shares"]["0"]
    (tmp_path / "results.json").write_text(json.dumps(mixture))
    for source in (mixture, tmp_path):
        known, everything = figures.mixture_curves(source).axes
        assert errorbars(known)[0][1] == pytest.approx([70, 70])
        assert errorbars(everything)[1][0].tolist() == [0, 100]
        assert known.get_xlabel().endswith("n = 3 trainings")
    depth = {
        "depths": {
            d: {
                "imbalance": {str(i): number(0.1 * i) for i in range(int(d))},
                "recovery": {"pattern_only": number(0.6), "placebo": number(0.2)},
            }
            for d in ("1", "2")
        }
    }
    assert errorbars(figures.depth_layers(depth).axes[0])[1][0].tolist() == [25, 75]
    assert errorbars(figures.depth_recovery(depth).axes[0])[1][1] == pytest.approx([20, 20])
    levels = {level: dict.fromkeys(("all", "common", "rare"), number(0.5)) for level in ("1", "2", "4")}
    arms = {"top": {"survival": {level: {"all": number(0.9)} for level in levels}}}
    survived = figures.frequency_curves({"storage": levels, "arms": arms}).axes[1]
    assert errorbars(survived)[0][1] == pytest.approx([90] * 3)
    with pytest.raises(InputError, match="no run of depth_sweep"):
        figures.depth_layers(tmp_path)


@pytest.mark.parametrize("width", [figures.COLUMN, figures.PAGE])
def test_figures_fit_the_width_and_nothing_is_cut_off(tmp_path: Path, width: float) -> None:
    run = make_run(tmp_path, n_facts=40, arms=("base", "top", "bottom", "random", "whole"))
    curve = Curve(label=DOLLARS, x=[1, 2], y=[number(0.1), number(0.2)])
    with figures.drawn_within(width):
        made = {
            name: getattr(figures, name)(run)
            for name in ("accuracy_by_quartile", "contrasts", "attention_by_head", "fact_attention")
        }
        made["flows"] = figures.verdict_flows(judged(arms=("top", "bottom")))
        made["curves"] = figures.curves({"a": [curve], "b": [curve]}, x="x", y="y")
    for name, figure in made.items():
        assert figure.get_figwidth() <= width + 0.01, name
        box = figure.get_tightbbox()
        assert box.x0 > -0.06, name
        assert box.x1 < figure.get_figwidth() + 0.06, name
        assert box.y0 > -0.06, name
        assert box.y1 < figure.get_figheight() + 0.06, name


def test_no_two_of_many_arms_are_drawn_alike() -> None:
    looks = style.arm_style(["base", *(f"checkpoint-{i}" for i in range(16))])
    assert len({tuple(sorted(look.items())) for look in looks.values()}) == 17
