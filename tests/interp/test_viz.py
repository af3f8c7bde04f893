"""Figures draw what the files say; circuit data is checked, rounded and safe inside a page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from finetune.common.errors import InputError
from interp import figures, viz
from interp.reports.figures import heatmaps
from interp.reports.figures.labels import drawable_label, drawable_labels
from interp.reports.figures.style import arm_style, inline_svg, save
from interp.reports.figures.token_rows import MOST_TOKENS
from interp.reports.read.fact_attention import DIGITS
from interp.reports.read.run import NotMeasured, Run

from .run_directory_fixture import DOLLARS, HOSTILE, make_run

DRAWN = (
    figures.accuracy_by_quartile,
    figures.contrasts,
    figures.recovery,
    heatmaps.attention_by_head,
    heatmaps.fact_attention,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run.load(make_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Run:
    return Run.load(make_run(tmp_path_factory.mktemp("own"), arms=("base", HOSTILE, DOLLARS)))


@pytest.fixture(scope="module")
def seeded(tmp_path_factory) -> Run:
    return Run.load(make_run(tmp_path_factory.mktemp("seeds"), seeds=(3, 5, 8), answer=1))


def errorbars(axes):
    """Read back (x, y, low, high) of every error bar drawn, with the line it belongs to."""
    found = []
    for container in axes.containers:
        if not hasattr(container, "has_yerr"):
            continue
        line, _, (bars,) = container.lines
        ends = [np.array(segment) for segment in bars.get_segments()]
        found.append((line.get_xdata(), line.get_ydata(), ends))
    return found


def test_quartile_chart_plots_every_arm_and_interval(run):
    axes = figures.accuracy_by_quartile(run).axes[0]
    lines = errorbars(axes)
    assert len(lines) == len(run.arms)
    for arm, (x, y, ends) in zip(run.arms, lines, strict=True):
        held = [run.results["arms"][arm]["accuracy_by_quartile"][f"q{q}"] for q in (1, 2, 3, 4)]
        assert [round(float(v)) for v in x] == [0, 1, 2, 3]
        assert y == pytest.approx([100 * e["value"] for e in held])
        assert [end[:, 1] for end in ends] == [pytest.approx([100 * e["low"], 100 * e["high"]]) for e in held]
    assert "n = 30" in axes.get_xticklabels()[0].get_text()
    assert [t.get_text() for t in axes.get_legend().get_texts()] == list(run.arms)


def test_forest_plots_each_seed_and_the_mean(seeded):
    figure = figures.contrasts(seeded)
    for axes, measure in zip(figure.axes, figures.MEASURES, strict=True):
        scale = figures.MEASURES[measure][1]
        drawn = [float(x[0]) for x, _, _ in errorbars(axes)]
        per_seed = [
            seeded.results["seeds"][s]["contrasts"]["top_minus_bottom"][measure]["value"]
            for s in seeded.seeds
        ]
        pooled = seeded.results["contrasts"]["top_minus_bottom"][measure]["value"]
        assert drawn == pytest.approx([scale * v for v in (*per_seed, pooled)])
        assert "n = 3 seeds" in axes.get_xlabel()


def test_recovery_bars_stand_beside_their_placebo(run):
    axes = figures.recovery(run).axes[0]
    held = run.results["recovery"]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx(
        [100 * held[name]["value"] for name in ("pattern_only", "placebo")]
    )
    assert f"n = {held['placebo']['n']}" in axes.get_xticklabels()[1].get_text()


def test_heat_maps_hold_the_means_and_share_their_scales(run):
    figure = heatmaps.attention_by_head(run)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    means, changes = images[:5], images[5:]
    for arm, image in zip(run.arms, means, strict=True):
        assert np.asarray(image.get_array()) == pytest.approx(run.attention.mean[arm])
    for arm, image in zip(run.arms[1:], changes, strict=True):
        assert np.asarray(image.get_array()) == pytest.approx(
            run.attention.mean[arm] - run.attention.mean["base"]
        )
    assert len({image.get_clim() for image in means}) == len({image.get_clim() for image in changes}) == 1
    low, high = changes[0].get_clim()
    assert low == -high


def test_one_facts_rows_are_the_last_rows_ordered_by_change(run):
    example = run.example
    order = example.heads_by_change(["base", "top", "bottom"])
    base = example.subject_mass("base")
    change = [max(abs(example.subject_mass(a)[at] - base[at]) for a in ("top", "bottom")) for at in order]
    assert change == sorted(change, reverse=True)
    axes = heatmaps.fact_attention(run, heads=3).axes
    for panel, at in zip(axes[:3], order[:3], strict=True):
        expected = [example.patterns[arm][at][-1] for arm in ("base", "top", "bottom")]
        assert np.asarray(panel.images[0].get_array()) == pytest.approx(np.array(expected))
        assert panel.get_ylabel() == f"L{at[0]}\nH{at[1]}"
    (box,) = axes[0].patches
    assert (box.get_x() + 0.5, box.get_width()) == (4, 3)  # the subject's tokens


def test_dots_mark_only_heads_whose_intervals_are_apart(run):
    maps = run.attention
    moved = maps.moved("whole", "base")
    assert moved.tolist() == (abs(maps.mean["whole"] - maps.mean["base"]) > 0.06).tolist()


@pytest.mark.parametrize("draw", DRAWN)
def test_figures_survive_hostile_names_and_are_wellformed_in_both_formats(own, run, tmp_path, draw):
    for i, which in enumerate((own, run)):
        try:
            figure = draw(which)
        except NotMeasured:
            if which is run:
                raise
            continue
        svg, png = save(figure, tmp_path / f"{draw.__name__}{i}")
        ElementTree.parse(svg)
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "<img" not in inline_svg(figure, "x")


def test_equal_data_gives_equal_files(run, tmp_path):
    first, second = (save(figures.recovery(run), tmp_path / name)[0].read_text() for name in ("a", "b"))
    assert first == second


def test_large_models_are_drawn_without_numbers(tmp_path):
    run = make_run(tmp_path, layers=26, heads=25, tokens=("a", "b"), subject=slice(0, 1), n_facts=8)
    figure = heatmaps.attention_by_head(run)
    assert not any(axes.texts for axes in figure.axes)  # cells too small for numbers
    assert all(len(axes.get_xticks()) <= 6 for axes in figure.axes if axes.images)


def test_long_prompts_keep_the_subject_and_the_end(tmp_path):
    run = make_run(tmp_path, tokens=[f" w{i}" for i in range(90)], subject=slice(5, 8), n_facts=8)
    axes = heatmaps.fact_attention(run).axes
    shown = [t.get_text() for t in axes[viz.MOST_HEADS - 1].get_xticklabels()]
    assert len(axes) == viz.MOST_HEADS + 1  # and the colour bar
    assert {"w5", "w6", "w7", "w89"} <= set(shown)
    assert len(shown) <= MOST_TOKENS


def test_circuit_views_are_checked_rounded_and_limited(run):
    (view,) = viz.fact_views([run.example])
    order = run.example.heads_by_change(run.arms)[: viz.MOST_HEADS]
    names = [f"L{layer}H{head}" for layer, head in order]
    held = np.stack([run.example.patterns["top"][at] for at in order])
    heads = viz.attention_heads(held, view["tokens"], names)
    assert heads["attentionHeadNames"] == names
    assert np.array(heads["attention"]) == pytest.approx(held, abs=0.5 * 10**-DIGITS)
    assert all(v == round(v, DIGITS) for head in heads["attention"] for row in head for v in row)
    with pytest.raises(ValueError, match="shape"):
        viz.attention_heads(held, ["a"], names)


def test_a_prompt_too_long_for_a_page_has_no_view(tmp_path):
    length = 300
    example = Run.load(make_run(tmp_path, n_facts=8)).example
    huge = {arm: np.zeros((1, 1, length, length)) for arm in ("base", "a", "b", "c")}
    example = type(example)(
        **{
            **vars(example),
            "patterns": huge,
            "tokens": ("t",) * length,
            "subject_tokens": (True,) + (False,) * (length - 1),
        }
    )
    assert viz.fact_views([example]) == []


def test_script_json_round_trips_and_cannot_close_its_script():
    value = {"tokens": [HOSTILE, "<!--", "\u2028", "&amp;", DOLLARS]}
    text = viz.script_json(value)
    assert json.loads(text) == value
    assert not {"<", ">", "&", "\u2028"} & set(text)


def test_bundle_is_safe_to_inline():
    code = viz.bundle()
    assert "CircuitsVis" in code
    assert "</script" not in code
    assert "sourceMappingURL" not in code


def test_labels_are_short_and_visible():
    assert drawable_label(" word") == "word"
    assert drawable_label(" ") == "␣"
    assert drawable_label("a\nb\u202e\x00") == "a↵b\ufffd", "a mark of direction is dropped"
    assert drawable_label("\U0001f469\u200d\U0001f467") == "\U0001f469\u200d\U0001f467"
    assert drawable_label("\u0645\u06cc\u200c\u062e") == "\u200e\u0645\u06cc\u200c\u062e\u200e"
    assert len(drawable_label("x" * 90, 12)) == 12


@pytest.mark.parametrize("longest", [12, 14, 16, 18, 20, 24])
@pytest.mark.parametrize(
    "names",
    [
        [f"mistral-7b-instruct-v0.2-lora-r16-epoch-{i}" for i in (3, 4, 13)],
        [f"mistral-7b-instruct-v0.2-lora-r{i}-epoch-3-final-merged" for i in (8, 16, 32)],
        ["x" * 40, "x" * 41, "x" * 40 + "y", "base"],
        ["a" * 30 + c + "b" * 30 + d for c in "12" for d in "34"],
    ],
)
def test_the_names_of_a_figure_stay_different_when_they_are_cut(names, longest):
    labels = drawable_labels(names, longest)
    assert list(labels) == names
    assert len(set(labels.values())) == len(names)
    assert max(map(len, labels.values())) <= longest
    for name in names:
        if len(name) <= longest:
            assert labels[name] == name


def test_every_arm_has_a_colour_of_its_own():
    for arms in (("base", "top", "bottom", "random", "whole"), ("base", "top", "mine", "yours", "theirs")):
        styles = arm_style(arms)
        assert len({s["color"] for s in styles.values()}) == len(arms)
        assert styles["base"]["linestyle"] == "--"


@pytest.mark.parametrize("name", ["results.json", "manifest.json", "facts.parquet"])
def test_a_run_without_its_main_files_is_refused_in_one_line(tmp_path, name):
    make_run(tmp_path, n_facts=8)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name) as error:
        Run.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.json", "{"),
        ("results.json", "{}"),
        ("attention.json", '{"n": 3}'),
        ("example.json", '{"tokens": ["a"], "subject_tokens": []}'),
        ("facts.parquet", "no parquet"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, name, text):
    make_run(tmp_path, n_facts=8)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        Run.load(tmp_path)


def test_a_directory_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no directory"):
        Run.load(tmp_path / "absent")
