"""Attribution against the exact engine's own small steps and plain autograd; what a screen keeps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from interp.measures.decode import answer_tokens
from interp.measures.spans import encode
from interp.models.edit_check import InterventionError
from interp.patching.attribution import Screened, attribution, screen_cells
from interp.patching.interventions import Edits, Intervention, Knockout, Replace, Scale, Zero
from interp.patching.patch import patch
from interp.patching.positions import Role
from interp.patching.recording import HOOKS, Site, record
from interp.patching.sweeps import sweep
from tests.architectures import EDITABLE
from tests.interp import measuring_fixtures as tiny

STEP = 3e-3
ROLES: tuple[Role, ...] = ("last", "subject", "all")
ATTENTION = ("pattern", "scores")


def estimated(name: str, cells: Any, **options: Any) -> torch.Tensor:
    return attribution(tiny.both(name).hooked, tiny.batch(), cells, tiny.tokenizer(), **options)


def exact(name: str, cells: Any) -> torch.Tensor:
    model = tiny.both(name).hooked
    return patch(model, tiny.batch(), cells, tiny.tokenizer(), max_new_tokens=0).effect


def scaled(site: Site, step: float) -> list[Edits]:
    keys: dict[str, Any] = {"keys": "subject"} if site in ATTENTION else {}
    heads = {"heads": (1,)} if site not in ("residual", "mlp") else {}
    do = Scale(by=1 + step)
    return [
        Intervention(site=site, do=do, at=at, layers=layers, **keys, **(heads if one else {}))
        for at in ROLES
        for layers in ((0,), (1,), None)
        for one in (True, False)
    ]


def moved(name: str, site: Site, step: float) -> list[Edits]:
    """Move a site a small step towards another model's: no direction that a norm undoes."""
    batch, made = tiny.batch(), []
    for at in ROLES:
        own, other = (record(tiny.both(name, seed=seed).hooked, batch, site, at=at) for seed in (0, 1))
        values = own.values + step * (other.values - own.values).clamp(-5, 5)
        do = Replace(source=replace(own, values=values))
        made += [Intervention(site=site, do=do, at=at, layers=layers) for layers in ((0,), (1,))]
    return made


def assert_first_order(name: str, cells: Any, tolerance: float = 1e-3) -> None:
    """Compare two opposite steps' difference, in which the second order cancels, with the exact one's."""
    estimates = estimated(name, cells(STEP)) - estimated(name, cells(-STEP))
    effects = exact(name, cells(STEP)) - exact(name, cells(-STEP))
    torch.testing.assert_close(estimates.isnan(), effects.isnan())
    assert effects.nan_to_num().norm() > 1e-2
    off = (estimates - effects).nan_to_num().norm() / effects.nan_to_num().norm()
    assert off < tolerance, f"relative error {off:.1e}"


@pytest.mark.parametrize("site", HOOKS)
@pytest.mark.parametrize("name", tiny.FEW)
def test_small_steps_have_the_exact_effect(name: str, site: Site) -> None:
    assert_first_order(name, lambda step: scaled(site, step))
    assert_first_order(name, lambda step: moved(name, site, step))


@pytest.mark.parametrize("name", [name for name in EDITABLE if name not in tiny.FEW])
def test_norms_and_windows_of_other_architectures_are_seen(name: str) -> None:
    assert_first_order(name, lambda step: [*moved(name, "q", step), *moved(name, "z", step)])


def test_a_single_small_step_is_the_effect_up_to_the_second_order() -> None:
    for site in HOOKS:
        estimates, effects = (of("llama", scaled(site, 1e-3)) for of in (estimated, exact))
        assert (estimates - effects).nan_to_num().norm() < 1e-2 * effects.nan_to_num().norm()


@pytest.mark.parametrize("name", tiny.FEW)
def test_the_gradient_is_that_of_a_masked_pass(name: str) -> None:
    """Plain autograd with an attention mask, and a leaf added at the site: minus z . gradient is Zero's."""
    model, batch = tiny.both(name).hooked, tiny.batch()
    answers = answer_tokens(tiny.tokenizer(), batch)
    kept = record(model, batch, "z", at="subject_last")
    leaf = torch.zeros_like(kept.values[:, 0, 0], requires_grad=True)
    rows, place = torch.arange(len(batch)), kept.places[:, 0]
    for i in range(len(batch)):
        ids = torch.cat([batch.input_ids, torch.zeros(len(batch), 4, dtype=torch.long)], 1)
        mask = torch.cat([batch.attention_mask, torch.zeros(len(batch), 4, dtype=torch.long)], 1)
        at = torch.arange(len(answers[i])) + batch.last[i] + 1
        ids[i, at], mask[i, at] = torch.tensor(answers[i]), 1

        def add(z: torch.Tensor, hook: object) -> torch.Tensor:
            return z.index_put((rows, place), leaf, accumulate=True)

        logits = model.run_with_hooks(ids, attention_mask=mask, fwd_hooks=[("blocks.0.attn.hook_z", add)])
        log_prob = logits[i, at - 1].log_softmax(-1)[torch.arange(len(at)), list(answers[i])].sum()
        (gradient,) = torch.autograd.grad(log_prob, leaf)
        expected = -(kept.values[i, 0, 0] * gradient[i]).sum(-1)
        cells = [
            Intervention(site="z", do=Zero(), at="subject_last", layers=(0,), heads=(h,)) for h in range(4)
        ]
        if i == 0:
            estimates = estimated(name, cells)
        torch.testing.assert_close(estimates[:, i], expected, atol=1e-4, rtol=1e-4)


def varied() -> list[Edits]:
    return [
        Intervention(site="pattern", do=Knockout(), keys="subject", layers=(1,), heads=(2,)),
        Intervention(site="v", do=Zero(), at="subject", layers=(0,), heads=(1,)),
        Intervention(site="mlp", do=Zero(), at="subject_last"),
        Intervention(site="z", do=Scale(by=2.0), facts=frozenset({"born1"})),
    ]


def test_padding_and_chunks_do_not_matter() -> None:
    """A chunk of one prompt has no padding; with several, shorter ones have."""
    for name in tiny.FEW:
        alone = estimated(name, varied(), batch_tokens=1)
        torch.testing.assert_close(estimated(name, varied()), alone, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.filterwarnings("error::UserWarning")
def test_frozen_weights_and_no_grad_do_not_matter() -> None:
    model, expected = tiny.both("llama").hooked, estimated("llama", varied())
    try:
        model.requires_grad_(False)
        with torch.no_grad():
            again = estimated("llama", varied())
            torch.testing.assert_close(again, expected, atol=0, rtol=0, equal_nan=True)
    finally:
        model.requires_grad_(True)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_edits_that_change_nothing_are_estimated_at_nothing() -> None:
    model, batch = tiny.both("gpt2").hooked, tiny.batch()
    kept = [
        Intervention(site=s, do=Replace(source=record(model, batch, s, at="all")), at="all") for s in HOOKS
    ]
    same: list[Edits] = [Intervention(site=s, do=Scale(by=1.0), at="all") for s in HOOKS]
    nobody = Intervention(site="z", do=Zero(), facts=frozenset({"nobody"}))
    assert estimated("gpt2", [*kept, *same]).abs().max() < 1e-4
    assert estimated("gpt2", nobody).isnan().all(), "no effect was made, not one of 0"


def test_estimates_of_a_cells_sites_add_up_and_its_edits_of_one_site_follow_each_other() -> None:
    one, two, three, _ = varied()
    alone = estimated("llama", [one, two, three])
    torch.testing.assert_close(estimated("llama", [[one, two, three]])[0], alone.sum(0))
    double, quadruple = (Intervention(site="z", do=Scale(by=by), layers=(1,)) for by in (2.0, 4.0))
    chained, plain = estimated("llama", [[double, double], quadruple])
    torch.testing.assert_close(chained, plain)


def test_a_knockout_of_scores_is_one_of_the_pattern() -> None:
    cut: list[Edits] = [Intervention(site=s, do=Knockout(), keys="subject") for s in ATTENTION]  # type: ignore[arg-type]
    pattern, scores = estimated("gpt_neox", cut)
    assert torch.equal(pattern, scores)
    assert pattern.abs().min() > 0


def test_facts_without_a_position_are_not_estimated() -> None:
    model = tiny.both("llama").hooked
    bare = Prompt(text="Ada", subject=(0, 3), answers=("Bury",), fact_id="bare")
    batch = encode(tiny.tokenizer(), [*tiny.prompts()[:3], bare])
    cut = Intervention(site="pattern", do=Knockout(), keys="relation")
    effects = patch(model, batch, cut, tiny.tokenizer(), max_new_tokens=0).effect
    assert effects.isnan().tolist() == [[False, False, False, True]]
    assert torch.equal(attribution(model, batch, cut, tiny.tokenizer()).isnan(), effects.isnan())
    result = screen_cells(model, batch, [cut, replace(cut, keys="subject")], tiny.tokenizer(), keep=2)
    assert abs(result.rank_correlation) == pytest.approx(1)


def grid(name: str = "llama") -> Any:
    return sweep(tiny.both(name).hooked, Intervention(site="z", do=Zero()))


def screened(keep: int, **options: Any) -> Screened:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    return screen_cells(model, batch, grid(), tiny.tokenizer(), keep=keep, max_new_tokens=0, **options)


def test_keeping_every_cell_is_patching_the_grid() -> None:
    result, effects = screened(8), exact("llama", grid())
    assert sorted(result.cells) == list(range(8))
    torch.testing.assert_close(result.effect, effects[list(result.cells)], atol=1e-5, rtol=0)
    assert result.hit_rate == 1
    assert 0 < result.rank_correlation <= 1
    assert torch.equal(result.attribution, estimated("llama", grid()))


def test_the_foremost_are_measured_and_as_many_others() -> None:
    result, size = screened(3), estimated("llama", grid()).mean(1).abs()
    assert list(result.cells[:3]) == size.argsort(descending=True)[:3].tolist()
    assert len(set(result.cells)) == 6
    torch.testing.assert_close(result.effect, exact("llama", grid())[list(result.cells)], atol=1e-5, rtol=0)
    best = set(result.effect.mean(1).abs().argsort(descending=True)[:3].tolist())
    assert result.hit_rate == len(best & {0, 1, 2}) / 3
    assert screened(3).cells == result.cells
    assert screened(3, extra=0).cells == result.cells[:3]
    assert len(screened(3, extra=99).cells) == 8
    assert len({screened(3, seed=seed).cells for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("effects", "hits", "correlation"),
    [((4, 3, 2, 1), 1, 1), ((1, 4, 3, 2), 0.5, -0.2), ((1, 2, -3, 4), 0, -0.4), ((1, 1, 1, 1), 1, None)],
)
def test_hit_rate_and_rank_correlation_count_what_was_measured(
    effects: tuple[int, ...], hits: float, correlation: float | None
) -> None:
    result = screened(2)
    estimates = torch.zeros_like(result.attribution)
    estimates[list(result.cells)] = torch.tensor([4.0, 3.0, 2.0, 1.0])[:, None].expand(-1, 20)
    exactly = torch.tensor(effects, dtype=torch.float32)[:, None].expand(-1, 20)
    made = replace(result, attribution=estimates, log_prob=exactly, clean=torch.zeros(20))
    assert made.hit_rate == hits
    if correlation is None:
        assert math.isnan(made.rank_correlation)
    else:
        assert made.rank_correlation == pytest.approx(correlation)


def test_a_screen_is_saved_and_its_frame_names_the_grids_places(tmp_path: Any) -> None:
    result = screened(2)
    result.save(tmp_path / "screened.safetensors")
    again = Screened.load(tmp_path / "screened.safetensors")
    assert (again.cells, again.keep, again.axes) == (result.cells, 2, grid().labels)
    assert again.hit_rate == result.hit_rate
    frame = result.to_frame()
    assert len(frame) == 4 * 20
    assert (frame["layer"] * 4 + frame["head"] == frame["cell"]).all()
    assert set(frame.loc[frame["screened"], "cell"]) == set(result.cells[:2])
    at = frame[(frame["cell"] == result.cells[2]) & (frame["fact_id"] == "plays3")]
    place = result.fact_ids.index("plays3")
    assert at["attribution"].item() == result.attribution[result.cells[2], place].item()
    assert at["effect"].item() == result.effect[2, place].item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep = 0: the grid has 8 cells"),
        ({"keep": 9}, "keep = 9: the grid has 8 cells"),
        ({"keep": 1, "extra": -1}, "extra = -1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        screened(**options)


def test_cells_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(InputError, match="use Zero"):
        estimated("llama", Intervention(site="v", do=Knockout()))
    with pytest.raises(InterventionError):
        estimated("gptj", Intervention(site="pattern", do=Zero()))
    with pytest.raises(InputError, match="nothing to patch"):
        estimated("llama", [])
