"""The engine against its oracle: every cell equals one plain hooked forward pass, whatever the plan."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import cache
from math import inf
from typing import Any

import pytest
import torch

from finetune.common.errors import InputError
from interp.measures.attention import blocks
from interp.measures.decode import answer_tokens, greedy
from interp.measures.placebos import wrong_subject
from interp.models.edit_check import InterventionError
from interp.patching import cells as cells_module
from interp.patching.engine import plan
from interp.patching.interventions import (
    Edits,
    Intervention,
    Knockout,
    Mean,
    Replace,
    Scale,
    Zero,
    interventions_of,
)
from interp.patching.patch import patch
from interp.patching.planning import full_pass_plan
from interp.patching.positions import Role, positions
from interp.patching.recording import HOOKS, Recording, Site, record
from interp.patching.sweeps import sweep
from tests.architectures import EDITABLE
from tests.interp import measuring_fixtures as tiny

NAMES = tiny.FEW
SITES: tuple[Site, ...] = ("pattern", "scores", "q", "k", "v", "z", "residual", "mlp")


def naive_hooks(model: Any, batch: Any, cell: Edits) -> list[tuple[str, Callable[..., Any]]]:
    """Edit a plain pass over whole prompts, one fact and position at a time: slow and plain."""
    made = []
    for item in interventions_of(cell):
        where = positions(batch, item.at)
        for layer in range(model.cfg.n_layers) if item.layers is None else item.layers:

            def hook(x: torch.Tensor, hook: object, item: Any = item, where: Any = where, layer: int = layer):
                x = x.clone()
                attention = item.site in ("pattern", "scores")
                mean = naive_mean(item.do.source, layer) if isinstance(item.do, Mean) else None
                for f in range(len(batch)):
                    fact_id = batch.fact_ids[f]
                    if item.facts is not None and fact_id not in item.facts:
                        continue
                    keys = None if item.keys is None else positions(batch, item.keys)[f].nonzero().flatten()
                    if keys is not None and not len(keys):
                        continue
                    for slot, p in enumerate(where[f].nonzero().flatten().tolist()):
                        for h in [slice(None)] if item.heads is None else item.heads:
                            at = (f, h, p) if attention else (f, p, h) if x.ndim == 4 else (f, p)
                            x[at] = naive_value(x[at], item, fact_id, layer, slot, h, p, keys, mean)
                return x

            made.append((f"blocks.{layer}.{HOOKS[item.site]}", hook))
    return made


def naive_mean(source: Recording, layer: int) -> torch.Tensor:
    kept = [
        source.values[i, source.layers.index(layer), s]
        for i in range(len(source.fact_ids))
        for s in range(source.places.shape[1])
        if source.places[i, s] >= 0
    ]
    return torch.stack(kept).mean(0)


def naive_value(old, item, fact_id, layer, slot, head, p, keys, mean):
    do = item.do
    if isinstance(do, Replace):
        source, donor = do.source, (do.facts or {}).get(fact_id, fact_id)
        new = source.values[source.fact_ids.index(donor), source.layers.index(layer), slot]
        if item.site in ("residual", "mlp"):
            return new
        if item.site not in ("pattern", "scores"):
            return new[head]
        out = old.clone()
        out[..., : p + 1] = new[head][..., : p + 1]
        return out
    if isinstance(do, Mean):
        return mean if item.site in ("residual", "mlp") else mean[head]
    if item.site not in ("pattern", "scores"):
        return old * do.by if isinstance(do, Scale) else old * 0
    chosen = torch.arange(p + 1) if keys is None else keys[keys <= p]
    out = old.clone()
    if item.site == "scores" and isinstance(do, Knockout):
        out[..., chosen] = torch.finfo(out.dtype).min
    else:
        out[..., chosen] = out[..., chosen] * do.by if isinstance(do, Scale) else 0
    if item.site == "pattern" and not isinstance(do, Zero):
        total = out.sum(-1, keepdim=True)
        out = torch.where(total > 0, out / total, out)
    return out


def reference(name: str, cell: Edits, batch: Any = None) -> tuple[torch.Tensor, list[str]]:
    model, batch, tokenizer = (
        tiny.both(name).hooked,
        tiny.batch() if batch is None else batch,
        tiny.tokenizer(),
    )
    hooks = naive_hooks(model, batch, cell)
    answers = answer_tokens(tokenizer, batch)
    return (
        tiny.answer_log_probs(model, batch, answers, hooks=hooks),
        greedy(model, batch, tokenizer, max_new_tokens=3, hooks=hooks),
    )


@cache
def references(name: str, site: Site) -> list[tuple[torch.Tensor, list[str]]]:
    """Run the cells of a site plainly, once for all ways in which they are patched."""
    return [reference(name, cell) for cell in cells_at(name, site)]


def distance(
    name: str, cells: Sequence[Edits], plain: Sequence[tuple[torch.Tensor, list[str]]] | None = None
) -> float:
    """Return how far packed cells are off one plain forward pass each; infinite if another answer is said."""
    plain = [reference(name, cell) for cell in cells] if plain is None else plain
    result = patch(tiny.both(name).hooked, tiny.batch(), cells, tiny.tokenizer(), max_new_tokens=3)
    found = []
    for i, (log_prob, said) in enumerate(plain):
        made = ~result.log_prob[i].isnan()
        found.append(
            (result.log_prob[i][made] - log_prob[made]).abs().max() if made.any() else torch.zeros(())
        )
        found.append(
            (result.clean[~made] - log_prob[~made]).abs().max() if not made.all() else torch.zeros(())
        )
        found.append(0.0 if list(result.said[i]) == said else inf)
    return float(torch.tensor(found).max())  # NaN where some difference is


def cells_at(name: str, site: Site) -> list[Edits]:
    """Every kind of action on a site, from another model's recording too."""
    batch, other = tiny.batch(), tiny.both(name, seed=1).hooked
    roles: tuple[Role, ...] = ("last", "subject", "all")
    made: list[Edits] = []
    for at in roles:
        source = record(other, batch, site, at=at)
        made += [
            Intervention(site=site, do=Replace(source=source), at=at),
            Intervention(site=site, do=Replace(source=source), at=at, layers=(1,)),
            Intervention(site=site, do=Zero(), at=at, layers=(1,)),
            Intervention(site=site, do=Scale(by=0.5), at=at, layers=(0,)),
        ]
        if site in ("pattern", "scores"):
            made += [
                Intervention(site=site, do=Knockout(), at=at, keys="subject", layers=(1,), heads=(1, 2)),
                Intervention(site=site, do=Scale(by=3.0), at=at, keys="subject"),
            ]
        else:
            made.append(Intervention(site=site, do=Mean(source=source), at=at, layers=(1,)))
    return made


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("name", NAMES)
def test_every_site_equals_one_plain_forward_per_cell(name: str, site: Site) -> None:
    assert distance(name, cells_at(name, site), references(name, site)) <= 1e-5


@pytest.mark.parametrize("site", ["pattern", "v", "residual"])
@pytest.mark.parametrize("name", NAMES)
def test_running_every_cell_in_full_gives_the_same(name: str, site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(cells_module, "find_inexactness", lambda *_: "told to")
    cells = cells_at(name, site)
    assert distance(name, cells, references(name, site)) <= 1e-5
    result = patch(tiny.both(name).hooked, tiny.batch(), cells, tiny.tokenizer(), max_new_tokens=0)
    assert "told to" in result.plan


@pytest.mark.parametrize("name", [name for name in EDITABLE if name not in NAMES])
def test_other_architectures_resume_exactly(name: str) -> None:
    cut = Intervention(site="pattern", do=Knockout(), keys="subject", layers=(1,), heads=(1,))
    moved = Intervention(site="residual", do=Scale(by=2.0), at="subject_last", layers=(1,))
    assert distance(name, [cut, moved]) <= 1e-5
    result = patch(tiny.both(name).hooked, tiny.batch(), [cut, moved], tiny.tokenizer(), max_new_tokens=0)
    assert "resume from" in result.plan


def test_half_precision_is_held_to_its_rounding_and_no_other_facts_pass_goes_through(
    monkeypatch: Any,
) -> None:
    """A resumed pass that rounds otherwise is one; another fact's, or one in float32 as far off, is not."""
    found = tiny.both("llama").hooked
    model, batch, half = copy.deepcopy(found).to(torch.bfloat16), tiny.batch(), torch.bfloat16
    unit = torch.finfo(half).eps

    def reason(model: Any, resumed: Callable[[torch.Tensor], torch.Tensor]) -> str:
        def run_group(
            model: Any, cached: Any, cells: Any, group: Any, cell: Any, fact: Any, tails: Any
        ) -> Any:
            return resumed(cached.logits[: len(fact), : tails[0].shape[1] + 1])

        monkeypatch.setattr(cells_module, "run_group", run_group)
        cut = [Intervention(site="pattern", do=Zero(), layers=(1,))]
        answers = [answer[:1] for answer in answer_tokens(tiny.tokenizer(), batch)]
        cells = cells_module.run_cells(model, batch, cut, answers, batch_tokens=8192)
        return next(cells).reason

    def rounded(logits: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        return logits + 0.3 * unit * logits.abs().max() * noise

    assert reason(model, lambda logits: logits) == ""
    assert reason(model, rounded) == ""
    assert "log-probs differ" in reason(found, rounded)
    assert "log-probs differ" in reason(model, lambda logits: logits.flip(0))


def test_bounds_on_memory_change_nothing() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    cells = [*cells_at("llama", "pattern"), *cells_at("llama", "residual")]
    large = patch(model, batch, cells, tiny.tokenizer(), max_new_tokens=2)
    small = patch(model, batch, cells, tiny.tokenizer(), max_new_tokens=2, batch_tokens=60)
    torch.testing.assert_close(large.log_prob, small.log_prob, atol=1e-5, rtol=0)
    assert (large.said, large.clean_said) == (small.said, small.clean_said)
    assert torch.equal(large.rank, small.rank)


def test_interventions_compose_in_their_order() -> None:
    """Patterns from one model and values from another, then doubled."""
    batch = tiny.batch()
    rows = record(tiny.both("llama", seed=1).hooked, batch, "pattern", at="all")
    values = record(tiny.both("llama", seed=2).hooked, batch, "v", at="all")
    cell = [
        Intervention(site="pattern", do=Replace(source=rows), at="all"),
        Intervention(site="v", do=Replace(source=values), at="all"),
        Intervention(site="v", do=Scale(by=2.0), at="subject", layers=(1,), heads=(0,)),
    ]
    assert distance("llama", [cell, cell[::-1]]) <= 1e-5


def test_an_identity_changes_nothing_and_own_activations_neither() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    roles: tuple[Role, ...] = ("last", "subject", "all")
    cells = [
        Intervention(site=site, do=Replace(source=record(model, batch, site, at=at)), at=at)
        for site in SITES
        for at in roles
    ]
    result = patch(model, batch, cells, tiny.tokenizer(), max_new_tokens=0)
    assert result.effect.abs().max() < 1e-5


def test_all_of_another_models_patterns_and_values_make_its_attention() -> None:
    """Replacing what enters the last block by another model's is that model's last block."""
    batch, one, two = tiny.batch(), tiny.both("gpt2").hooked, tiny.both("gpt2", seed=1).hooked
    z = record(one, batch, "z", at="all")
    assert z.values.shape[3:] == (one.cfg.n_heads, one.cfg.d_head)
    assert (
        distance(
            "gpt2", [Intervention(site="z", do=Replace(source=record(two, batch, "z", at="all")), at="all")]
        )
        <= 1e-5
    )


def test_a_source_prompt_may_have_another_length() -> None:
    """A subject's last token from a longer prompt of the same fact's subject."""
    model, batch = tiny.both("llama").hooked, tiny.batch()
    donors = {f"born{i}": f"plays{i}" for i in range(10)}
    source = record(model, batch, "residual", at="subject")
    cell = Intervention(
        site="residual",
        do=Replace(source=source, facts=donors),
        at="subject",
        layers=(1,),
        facts=frozenset(donors),
    )
    assert distance("llama", [cell]) <= 1e-5


def test_an_intervention_is_for_its_facts_alone() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    cell = Intervention(site="pattern", do=Knockout(), keys="subject", facts=frozenset({"born1", "plays2"}))
    result = patch(model, batch, cell, tiny.tokenizer(), max_new_tokens=0)
    touched = dict(zip(batch.fact_ids, result.effect[0].tolist(), strict=True))
    assert {fact_id for fact_id, effect in touched.items() if abs(effect) > 1e-5} == {"born1", "plays2"}
    assert sum(map(math.isnan, touched.values())) == len(batch) - 2, "no effect was made, not one of 0"


def test_a_grid_edits_one_place_per_cell_and_its_frame_names_it() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")
    grid = sweep(model, cut)
    result = patch(model, batch, grid, tiny.tokenizer(), max_new_tokens=0)
    assert result.shape == (2, 4)
    frame = result.to_frame()
    for layer in range(2):
        for head in range(4):
            alone = Intervention(
                site="pattern", do=Knockout(), keys="subject", layers=(layer,), heads=(head,)
            )
            expected, _ = reference("llama", alone)
            here = frame[(frame["layer"] == layer) & (frame["head"] == head)].set_index("fact_id")
            got = torch.tensor(here.loc[list(batch.fact_ids), "log_prob"].to_numpy())
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    lens = result.to_patching_result()
    torch.testing.assert_close(lens.effect(), result.effect.view(2, 4, -1))
    low, high = lens.bootstrap_ci(of_effect=True)
    assert low.shape == (2, 4)
    assert (low <= lens.effect().mean(-1)).all()
    assert (lens.effect().mean(-1) <= high).all()


def test_windows_and_positions_are_axes() -> None:
    model = tiny.both("llama").hooked
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")
    windows = sweep(model, cut, over=("layer",), window=3)
    assert [interventions_of(cell)[0].layers for cell in windows.cells] == [(0, 1), (0, 1)]
    moved = Intervention(site="residual", do=Zero())
    grid = sweep(model, moved, over=("layer", "position"), positions=("subject", "last"))
    assert grid.labels == {"layer": (0, 1), "position": ("subject", "last")}
    assert [interventions_of(cell)[0].at for cell in grid.cells] == ["subject", "last"] * 2


def test_ranks_are_within_the_answer_set() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")
    sets = {relation: list(answers) for relation, answers in tiny.ANSWERS.items()}
    result = patch(model, batch, cut, tiny.tokenizer(), answer_sets=sets, max_new_tokens=0)
    firsts = {
        relation: {a: tiny.tokenizer()(f" {a}", add_special_tokens=False)["input_ids"][0] for a in answers}
        for relation, answers in tiny.ANSWERS.items()
    }
    from interp.measures.attention import last_token_logits

    logits = last_token_logits(model, batch, naive_hooks(model, batch, cut))
    for i, prompt in enumerate(batch.prompts):
        gold = logits[i, firsts[prompt.relation][prompt.answers[0]]]
        others = [logits[i, t] > gold for t in firsts[prompt.relation].values()]
        assert int(result.rank[0, i]) == sum(map(bool, others))
    with pytest.raises(InputError, match="relation 'plays' has no answer set"):
        patch(model, batch, cut, tiny.tokenizer(), answer_sets={"born": sets["born"]})


def test_a_fact_without_the_keys_is_not_measured() -> None:
    model = tiny.both("llama").hooked
    batch = tiny.batch()
    assert not blocks(batch)["rest"][0].all()
    cut = Intervention(site="pattern", do=Knockout(), keys="rest")
    result = patch(model, batch, cut, tiny.tokenizer(), max_new_tokens=0)
    has = positions(batch, "rest").any(1)
    assert torch.equal(result.log_prob[0].isfinite(), has)


def test_facts_whose_logits_are_no_numbers_are_set_aside() -> None:
    both = tiny.both("llama", seed=3)
    model, batch = both.hooked, tiny.batch()
    word = batch.input_ids[0, batch.subject_mask[0]][0]
    with torch.no_grad():
        kept = model.embed.weight[word].clone()
        model.embed.weight[word] = torch.nan
        try:
            cut = Intervention(site="z", do=Zero(), layers=(1,))
            result = patch(model, batch, cut, tiny.tokenizer(), max_new_tokens=1)
        finally:
            model.embed.weight[word] = kept
    odd = {f for f, row in zip(batch.fact_ids, batch.input_ids, strict=True) if (row == word).any()}
    assert set(result.not_finite) == odd
    assert result.log_prob[0].isfinite().sum() == len(batch) - len(odd)


def test_plans_resume_as_late_as_they_can_and_say_so() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    late = Intervention(site="pattern", do=Knockout(), keys="subject", layers=(1,))
    made = plan(model, batch, late, tiny.tokenizer())
    (group,) = made.groups
    assert group.layer == 1
    assert torch.equal(group.start, batch.last)
    assert "resume from" in made.describe()
    early = Intervention(site="v", do=Zero(), at="subject", layers=(0, 1))
    (group,) = plan(model, batch, early, tiny.tokenizer()).groups
    assert group.layer == 0
    assert torch.equal(group.start, batch.subject_mask.int().argmax(1))
    assert "full forward pass" in full_pass_plan(made, "because").describe()


def test_results_and_recordings_are_saved_with_their_model(tmp_path: Any) -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    source = record(model, batch, "pattern")
    source.save(tmp_path / "rows.safetensors")
    loaded = Recording.load(tmp_path / "rows.safetensors")
    loaded.require(model)
    result = patch(model, batch, Intervention(site="pattern", do=Replace(source=loaded)), tiny.tokenizer())
    assert result.effect.abs().max() < 1e-5
    result.save(tmp_path / "result.safetensors")
    again = type(result).load(tmp_path / "result.safetensors")
    assert again.said == result.said
    assert again.labels == result.labels


def test_the_placebos_partner_differs_in_the_subject_alone() -> None:
    batch = tiny.batch()
    partners = wrong_subject(batch, batch, seed=3)
    assert partners
    for mine, theirs in partners.items():
        a, b = batch.fact_ids.index(mine), batch.fact_ids.index(theirs)
        one, two = batch.prompts[a], batch.prompts[b]
        assert one.relation == two.relation
        assert one.text[slice(*one.subject)] != two.text[slice(*two.subject)]
        assert torch.equal(batch.subject_mask[a], batch.subject_mask[b])
        outside = batch.attention_mask[a].bool() & ~batch.subject_mask[a]
        assert torch.equal(batch.input_ids[a][outside], batch.input_ids[b][outside])
    assert wrong_subject(batch, batch, seed=3) == partners
    assert wrong_subject(batch[[0]], batch[[0]]) == {}, "nobody is his own placebo"


def wrong(site: Any, do: Any, **rest: Any) -> Callable[..., Intervention]:
    """An intervention to refuse; what it puts in is recorded when the model is there."""
    return lambda model, batch: Intervention(site=site, do=do(model, batch) if callable(do) else do, **rest)


def kept(site: Site, rows: slice = slice(None), facts: Any = None, **options: Any) -> Callable[..., Replace]:
    return lambda model, batch: Replace(source=record(model, batch[rows], site, **options), facts=facts)


FIRST = frozenset({"born0"})
MISTAKES: dict[str, tuple[Callable[..., Intervention], str]] = {
    "head": (wrong("pattern", Zero(), heads=(4,)), "choose from 0 to 3"),
    "key-value head": (wrong("k", Zero(), heads=(2,)), "key-value heads"),
    "layer": (wrong("mlp", Zero(), layers=(2,)), "choose from 0 to 1"),
    "site": (wrong("mlq", Zero()), "site 'mlq'"),
    "role": (wrong("mlp", Zero(), at="object"), "role 'object'"),
    "headless": (wrong("mlp", Zero(), heads=(0,)), "has no heads"),
    "keys": (wrong("v", Zero(), keys="subject"), "only pattern and scores .*; leave keys out"),
    "knockout": (wrong("v", Knockout()), "use Zero"),
    "mean row": (wrong("pattern", lambda m, b: Mean(source=record(m, b, "pattern"))), "have no mean"),
    "other site": (wrong("q", kept("z")), "'z' cannot replace 'q'"),
    "other role": (wrong("z", kept("z", at="subject")), "recorded at 'subject'"),
    "not recorded": (wrong("z", kept("z", rows=slice(2))), "fact 'born2': has no recorded z"),
    "other length": (
        wrong("pattern", kept("pattern", facts={"born0": "plays0"}), facts=FIRST),
        "fact 'born0' from 'plays0': its prompt has",
    ),
    "other subject": (
        wrong("z", kept("z", at="subject", facts={"born0": "born1"}), at="subject", facts=FIRST),
        "1 positions are 'subject' and 2 were recorded",
    ),
    "other layers": (wrong("z", kept("z", layers=[0])), r"layers \[1\] were not recorded"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_refused_before_anything_runs(what: str) -> None:
    make, message = MISTAKES[what]
    model, batch = tiny.both("llama").hooked, tiny.batch()
    with pytest.raises(InputError, match=message):
        patch(model, batch, make(model, batch), tiny.tokenizer())


def test_a_model_that_ignores_edits_of_attention_can_still_be_patched_elsewhere() -> None:
    model, batch = tiny.both("gptj").hooked, tiny.batch()
    with pytest.raises(InterventionError):
        patch(model, batch, Intervention(site="pattern", do=Zero()), tiny.tokenizer())
    assert (
        distance("gptj", [Intervention(site="residual", do=Scale(by=2.0), at="subject", layers=(1,))]) <= 1e-5
    )


def test_nothing_to_patch_is_refused() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    for nothing in ([], [[]]):
        with pytest.raises(InputError, match="nothing to patch"):
            patch(model, batch, nothing, tiny.tokenizer())
