"""Views of arrays: shapes are checked, numbers kept, tokens stay text, and a browser draws them offline."""

from __future__ import annotations

import base64
import io
import json
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from finetune.common.errors import InputError
from interp import viz
from interp.reports.read.fact_attention import Example
from interp.reports.read.pattern_coding import pack, pack_most, unpack, unpack_most

from .browser import browser, needs_browser, opened  # noqa: F401 (a fixture)
from .run_directory_fixture import HOSTILE

TOKENS = ("<s>", "Who", " is", " Kav", "orin", HOSTILE, "\n", "東京", "?")
SUBJECT = (False, False, False, True, True, True, False, False, False)


def patterns(seed: int, layers: int = 2, heads: int = 4, length: int = len(TOKENS)) -> np.ndarray:
    raw = np.tril(np.random.default_rng(seed).gamma(0.5, size=(layers, heads, length, length)) + 1e-9)
    return raw / raw.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def view() -> viz.AttentionView:
    return viz.attention_view_of(
        patterns(0), patterns(1), TOKENS, SUBJECT, names=("base", HOSTILE), prompt=HOSTILE, answers=(HOSTILE,)
    )


@pytest.fixture(scope="module")
def text() -> viz.TextView:
    values = np.random.default_rng(2).normal(size=(2, 3, len(TOKENS)))
    return viz.text_view(
        TOKENS,
        {"base": values[0], HOSTILE: values[1]},
        choices=("all", "L0H1", HOSTILE),
        subject=SUBJECT,
        what=HOSTILE,
        title=HOSTILE,
    )


@pytest.fixture(scope="module")
def grid() -> viz.HeadGrid:
    change = np.random.default_rng(3).normal(size=(5, 2, 4))
    return viz.fact_grid(change, [HOSTILE, *"bcde"], what=HOSTILE, title=HOSTILE)


def test_heads_stand_in_order_of_change_of_the_subjects_share(view) -> None:
    before, after = patterns(0), patterns(1)
    share = [p[:, :, -1, list(SUBJECT)].sum(-1) for p in (before, after)]
    change = [abs(share[1][at] - share[0][at]) for at in view.fact.heads]
    assert change == sorted(change, reverse=True)
    assert len(set(view.fact.heads)) == 8
    for i, at in enumerate(view.fact.heads):
        assert view.fact.patterns[HOSTILE][i] == pytest.approx(after[at])
    grid = view.grid
    assert grid.values["base"] == pytest.approx(share[0])
    assert grid.values[f"{HOSTILE} \u2212 base"] == pytest.approx(share[1] - share[0])


def test_packed_patterns_come_back_to_a_byte() -> None:
    held = patterns(4)
    assert unpack(pack(held[0]), 4, len(TOKENS)) == pytest.approx(held[0], abs=0.5 / 255 + 1e-6)
    kept = {(1, 3): held[1, 3], (0, 2): held[0, 2]}
    packed = json.loads(json.dumps(pack_most(held[:, :, -1], kept)))
    back = unpack_most(packed, len(TOKENS))
    assert back[:, :, -1] == pytest.approx(held[:, :, -1], abs=0.5 / 255 + 1e-6)
    for at, pattern in kept.items():
        assert back[at] == pytest.approx(pattern, abs=0.5 / 255 + 1e-6)
    assert np.isnan(back[0, 0, :-1]).all(), "what was not kept is not made up"


def test_heads_of_which_only_the_last_row_is_kept_are_passed_over() -> None:
    held = {"base": patterns(0), "arm": patterns(1)}
    kept = {name: {(0, 1): p[0, 1], (1, 2): p[1, 2]} for name, p in held.items()}
    packed = {name: unpack_most(pack_most(p[:, :, -1], kept[name]), len(TOKENS)) for name, p in held.items()}
    example = Example(
        fact_id="f",
        prompt="",
        tokens=TOKENS,
        subject_tokens=SUBJECT,
        answers=(),
        predictions={},
        patterns=packed,
    )
    fact = viz.FactAttention.of(example)
    assert set(fact.heads) == {(0, 1), (1, 2)}
    assert fact.mass["arm"] == pytest.approx(held["arm"][:, :, -1, 3:6].sum(-1), abs=0.01)


@pytest.mark.parametrize("text", ["?", "AAAA"])
def test_damaged_patterns_are_refused(text) -> None:
    with pytest.raises(ValueError, match=r"base64|shape"):
        unpack(text, 4, len(TOKENS))


def test_what_does_not_belong_together_is_refused() -> None:
    good = patterns(0)
    with pytest.raises(InputError, match="one a token"):
        viz.attention_view_of(good, good, TOKENS[:-1], SUBJECT[:-1])
    with pytest.raises(InputError, match="pairs of heads"):
        viz.attention_view_of(good, good[:1], TOKENS, SUBJECT)
    with pytest.raises(InputError, match="subject flags"):
        viz.attention_view_of(good, good, TOKENS, SUBJECT[:-1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        viz.attention_view_of(good, 3 * good, TOKENS, SUBJECT).page(picture=False)
    with pytest.raises(InputError, match="too long"):
        viz.attention_view_of(*(np.zeros((1, 1, 600, 600)),) * 2, ["t"] * 600, [True] * 600)
    with pytest.raises(InputError, match="choices and tokens ask for"):
        viz.text_view(TOKENS, np.zeros(3))
    with pytest.raises(InputError, match="not finite"):
        viz.text_view(TOKENS, np.full(len(TOKENS), np.nan))
    with pytest.raises(InputError, match="one shape"):
        viz.head_grid({"a": np.zeros((2, 3)), "b": np.zeros((3, 2))})
    with pytest.raises(InputError, match="for 2 facts"):
        viz.fact_grid(np.zeros((3, 2, 2)), ["a", "b"])


def test_a_grid_of_facts_puts_the_largest_first() -> None:
    values = np.zeros((3, 1, 3))
    values[1], values[2, 0, 2] = -0.2, 0.9
    grid = viz.fact_grid(values, ["a", "b", "c"], most_heads=2, most_facts=2)
    assert grid.columns == ("L0H2", "L0H0")
    assert grid.rows == ("mean of 3 facts", "c", "b")
    assert grid.values[""] == pytest.approx(np.array([[0.7 / 3, -0.2 / 3], [0.9, 0], [-0.2, -0.2]]))


def test_a_fact_that_was_not_measured_leaves_the_mean_of_the_others() -> None:
    values = np.random.default_rng(0).normal(size=(4, 2, 2))
    whole = viz.fact_grid(values[1:], ["b", "c", "d"])
    values[0] = np.nan
    grid = viz.fact_grid(values, ["a", "b", "c", "d"])
    assert grid.rows[0] == whole.rows[0] == "mean of 3 facts"
    assert grid.columns == whole.columns
    np.testing.assert_allclose(grid.values[""][0], whole.values[""][0])


def test_signed_and_unsigned_tables_have_scales_of_their_own() -> None:
    grid = viz.head_grid({"mass": np.array([[0.2, 0.9]]), "change": np.array([[-0.1, np.nan]])})
    assert (grid.scale("mass").most, grid.scale("mass").signed) == (0.9, False)
    assert (grid.scale("change").most, grid.scale("change").signed) == (0.1, True)
    assert "not measured" in grid.page(picture=False)


@pytest.mark.parametrize("name", ["view", "text", "grid"])
def test_a_notebook_gets_a_frame_and_a_picture_of_the_same(name, request) -> None:
    shown = request.getfixturevalue(name)
    bundle = shown._repr_mimebundle_()
    assert bundle["text/html"] == shown._repr_html_()
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert image.width > 200
    frame, rest = bundle["text/html"].split("</iframe>")
    assert "<" not in frame[1:].split(">")[0], "the document is an attribute, whole"
    assert 'sandbox="allow-scripts"' in frame
    assert bundle["image/png"] in rest
    document = unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
    assert document == shown.page(picture=False)
    assert "default-src &#39;none&#39;" in document or "default-src 'none'" in document
    assert not re.search(r"https?://(?!www\.w3\.org|reactjs)", document.split("<script")[0])


def test_a_page_of_twenty_facts_is_small() -> None:
    tokens = [f"word{i}" for i in range(24)]
    rng = np.random.default_rng(0)
    facts = []
    for _ in range(20):
        arms = {name: patterns(int(rng.integers(99)), 4, 8, 24) for name in ("base", "top", "bottom")}
        facts.append(
            Example(
                fact_id="f",
                prompt="",
                tokens=tuple(tokens),
                subject_tokens=(True,) * 2 + (False,) * 22,
                answers=(),
                predictions={},
                patterns=arms,
            )
        )
    data = viz.script_json(viz.fact_views(facts))
    assert len(data) + len(viz.packed_bundle()) < 1_000_000
    assert len(viz.fact_views(facts, facts=3)) == 3


@needs_browser
def test_the_attention_of_both_models_is_drawn_offline(view, browser, tmp_path) -> None:  # noqa: F811
    from playwright.sync_api import expect

    with opened(browser, view.save(tmp_path / "view.html")) as page:
        expect(page.locator("canvas")).to_have_count(18)
        assert page.locator("img").count() == 1, "only the picture"
        assert page.locator("#picture").get_attribute("open") is None
        assert page.locator(".side").first.locator(".token").all_inner_texts()[5].startswith("</script><i")
        assert page.locator(".side").first.locator(".token.subject").count() == 3
        assert page.locator("select").first.locator("option").all_inner_texts() == ["base", HOSTILE]
        # A head chosen by keyboard on one side is shown on both, with its own weights.
        page.wait_for_selector('[data-head="2"]')
        page.locator('[data-head="2"]').nth(1).press("Enter")
        layer, head = view.fact.heads[2]
        assert page.locator(".looks .aside").all_inner_texts() == [
            f"L{layer}H{head}: the last token's attention; on the subject {mass[layer, head]:.3f}"
            for mass in view.fact.mass.values()
        ]
        shown = page.locator(".side").nth(1).locator(".token")
        assert shown.evaluate_all("all => all.map(token => Number(token.title))") == pytest.approx(
            view.fact.patterns[HOSTILE][2, -1].tolist(), abs=0.0026
        )


@needs_browser
def test_text_is_coloured_by_the_chosen_row_and_stays_text(text, browser, tmp_path) -> None:  # noqa: F811
    with opened(browser, text.save(tmp_path / "text.html")) as page:
        page.select_option("#choice", "2")
        assert page.locator("img").count() == 1
        line = page.locator('[data-model="1"] .token')
        assert line.evaluate_all("all => all.map(token => Number(token.title))") == pytest.approx(
            text.values[HOSTILE][2].tolist(), abs=0.0006
        )
        below = line.evaluate_all("all => all.map(token => token.classList.contains('less'))")
        assert below == (text.values[HOSTILE][2] < 0).tolist()
        assert line.nth(5).inner_text().startswith("</script><img")


@needs_browser
def test_a_notebook_runs_the_frames_scripts_and_keeps_them_in(view, grid, browser, tmp_path) -> None:  # noqa: F811
    path = tmp_path / "notebook.html"
    path.write_text("<!doctype html><body>" + view._repr_html_() + grid._repr_html_(), encoding="utf-8")
    with opened(browser, path) as page:
        page.frame_locator("iframe").first.locator("canvas").nth(17).wait_for()
        assert page.evaluate("typeof CircuitsVis") == "undefined"
        # The frame is high enough for all that is in it.
        inside, room = page.frames[1].evaluate("[document.documentElement.scrollHeight, innerHeight]")
        assert inside <= room
        page.locator("iframe").nth(1).scroll_into_view_if_needed()
        page.frame_locator("iframe").nth(1).locator("td").nth(6 * 8 - 1).wait_for()


@needs_browser
def test_without_scripts_the_picture_stays(view, browser, tmp_path) -> None:  # noqa: F811
    with opened(browser, view.save(tmp_path / "view.html"), java_script_enabled=False) as page:
        assert page.locator("#picture img").is_visible()
