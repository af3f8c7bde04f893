"""Sets drawn as asked, gradients against an explicit flattening, effects that follow from the rows."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import popularity_or_diversity as experiment
from analyses.common.training_setup import make_training_setup, setting_for
from analyses.experiments.popularity_or_diversity import cells as experiment_cells
from analyses.experiments.popularity_or_diversity import (
    crossed_sets as crossed,
)
from analyses.experiments.popularity_or_diversity import (
    group_gradients as gradients,
)
from analyses.experiments.popularity_or_diversity.numbers import effect, interaction
from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.splits import partition
from finetune.data.synthetic_world import WorldConfig, make_world
from interp.measures.gradients import mean_gradient
from interp.reports.pages.study_files import load_study

TRAIN = partition(make_world(WorldConfig(subjects=300, answers=12), seed=4), seed=4).train


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_sets_have_the_size_relations_answers_and_popularity_asked_for() -> None:
    options = experiment.PopularityOrDiversityOptions(placebo=True)
    pools = experiment_cells.pools(options, TRAIN, 4)
    size = crossed.largest_size(TRAIN, pools)
    assert set(pools) == {"popular", "unpopular", "random", "shuffled popular", "shuffled unpopular"}
    mixes = {}
    for name, count, answers in itertools.product(pools, (1, 5), ("few", "all")):
        relations = crossed.rotate_relations(TRAIN.relations, count, seed=4)
        made = crossed.draw_set(TRAIN, pools[name], relations, answers, size=size, seed=4)
        assert len(made) == len({fact.id for fact in made}) == size
        assert {fact.id for fact in made} <= {fact.id for fact in pools[name]}
        mixes.setdefault((count, answers), []).append(Counter(fact.relation for fact in made))
        for relation in relations:
            given = {fact.answer for fact in made if fact.relation == relation}
            counted = Counter(fact.answer for fact in TRAIN if fact.relation == relation)
            if answers == "few":
                third = sorted(counted.values())[-3]
                assert len(given) <= 3
                assert all(counted[answer] >= third for answer in given)
            elif count == 1:
                assert len(given) > 3
    assert all(mix == some[0] for some in mixes.values() for mix in some), "one mix whatever the pool"
    assert all(max(mix.values()) - min(mix.values()) <= 1 for some in mixes.values() for mix in some)
    lowest, highest = (
        pick(fact.popularity or 0 for fact in pools[name])
        for pick, name in ((min, "popular"), (max, "unpopular"))
    )
    assert lowest >= highest, "every popular fact is at least as popular as every unpopular one"


def test_a_set_that_cannot_be_drawn_is_refused() -> None:
    few = TRAIN.subset(range(50))
    with pytest.raises(InputError, match="give more facts"):
        crossed.draw_set(TRAIN, few, TRAIN.relations[:1], "all", size=40, seed=0)
    with pytest.raises(InputError, match="commonest answers"):
        crossed.largest_size(few, {"popular": few.subset(range(10))})
    with pytest.raises(InputError, match="--relation-counts 1 9"):
        experiment.PopularityOrDiversityOptions(relations=(1, 9)).check()


def test_relations_rotate_with_the_seed_and_more_hold_what_fewer_do() -> None:
    names = ("a", "b", "c")
    assert [crossed.rotate_relations(names, 1, seed=seed) for seed in range(4)] == [
        ("a",),
        ("b",),
        ("c",),
        ("a",),
    ]
    assert set(crossed.rotate_relations(names, 1, seed=2)) < set(crossed.rotate_relations(names, 2, seed=2))


def test_batches_are_disjoint_equally_large_and_of_their_kind() -> None:
    pools = experiment_cells.pools(experiment.PopularityOrDiversityOptions(), TRAIN, 4)
    made = crossed.batches(pools["popular"], pools["unpopular"], seed=(4, 0))
    ids = [fact.id for facts in made.values() for fact in facts]
    assert len(set(ids)) == len(ids)
    assert len({len(facts) for facts in made.values()}) == 1
    popular = {fact.id for fact in pools["popular"]}
    shares = {name: np.mean([fact.id in popular for fact in facts]) for name, facts in made.items()}
    assert shares["popular1"] == shares["popular2"] == 1
    assert shares["unpopular1"] == shares["unpopular2"] == 0
    assert (shares["random1"] + shares["random2"]) / 2 == pytest.approx(0.5, abs=0.01)
    again = crossed.batches(pools["popular"], pools["unpopular"], seed=(4, 1))
    assert [f.id for f in again["popular1"]] != [f.id for f in made["popular1"]]


def test_norms_and_cosines_are_those_of_explicitly_flattened_gradients(cache: Path) -> None:
    setup = make_training_setup(
        setting_for(experiment.PopularityOrDiversityOptions(world="tiny"), None, 0), cache=cache, seed=0
    )
    model, tokenizer = load_model(str(setup.base))
    a, b = (setup.asked(setup.parts.train)[i * 9 : i * 9 + 9] for i in range(2))
    taken = [mean_gradient(model, tokenizer, prompts)[1] for prompts in (a, b)]
    groups = gradients.groups_of(taken[0])
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    for group, names in {**groups, "all": [n for some in groups.values() for n in some]}.items():
        flat = [np.concatenate([g[name].double().numpy().ravel() for name in names]) for g in taken]
        lengths = [np.sqrt((vector**2).sum()) for vector in flat]
        assert gradients.norms(taken[0], groups)[group] == pytest.approx(lengths[0])
        expected = flat[0] @ flat[1] / (lengths[0] * lengths[1])
        assert gradients.cosines(*taken, groups)[group] == pytest.approx(expected, abs=1e-9)
    assert gradients.cosines(taken[0], taken[0], groups)["W_Q"] == pytest.approx(1)


def test_a_batch_s_mean_gradient_is_the_mean_of_its_facts_and_of_its_chunks(cache: Path) -> None:
    setup = make_training_setup(
        setting_for(experiment.PopularityOrDiversityOptions(world="tiny"), None, 0), cache=cache, seed=0
    )
    model, tokenizer = load_model(str(setup.base))
    prompts = setup.asked(setup.parts.train)[:7]
    loss, whole = mean_gradient(model, tokenizer, prompts)
    singles = [mean_gradient(model, tokenizer, [prompt]) for prompt in prompts]
    _, chunked = mean_gradient(model, tokenizer, prompts, batch_tokens=40)
    assert loss == pytest.approx(np.mean([one for one, _ in singles]), rel=1e-5)
    for name, value in whole.items():
        mean = torch.stack([single[name] for _, single in singles]).mean(0)
        torch.testing.assert_close(value, mean, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(value, chunked[name], atol=1e-6, rtol=1e-4)
    moved = 1e-3 / gradients.norms(whole, gradients.groups_of(whole))["all"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter -= moved * whole[name]
    after, _ = mean_gradient(model, tokenizer, prompts)
    expected = moved * sum(float((g.double() ** 2).sum()) for g in whole.values())
    assert loss - after == pytest.approx(expected, rel=0.05), "a small step down lowers the loss by |g|^2"


def test_parameters_of_another_architecture_are_refused() -> None:
    with pytest.raises(InputError, match="c_attn"):
        gradients.groups_of(["transformer.h.0.attn.c_attn.weight"])
    with pytest.raises(InputError, match="no q_proj, so no W_Q"):
        gradients.groups_of(["model.layers.0.self_attn.k_proj.weight"])


def _crossed_rows(right: dict[tuple[str, int, str], int]) -> pd.DataFrame:
    """Make rows in which each set answers so many of the first of 20 facts."""
    return pd.DataFrame(
        {
            "popularity": popularity,
            "relations": relations,
            "answers": answers,
            "fact_id": f"{i}",
            "subject": f"s{i}",
            "correct": i < n,
        }
        for (popularity, relations, answers), n in right.items()
        for i in range(20)
    )


def test_effects_and_interactions_are_differences_of_means_over_the_cross() -> None:
    cells = itertools.product(("popular", "unpopular", "random"), (1, 5), ("all", "few"))
    # Popular facts are worth 2 of 20 at one relation and 6 at five, five relations 4, all answers 1.
    right = {
        (p, r, a): 5 + (p == "popular") * (2 if r == 1 else 6) + 4 * (r == 5) + (a == "all")
        for p, r, a in cells
    }
    rows = _crossed_rows(right)
    assert effect(rows, "popularity", "popular", "unpopular").value == pytest.approx(4 / 20)
    assert effect(rows, "popularity", "random", "unpopular").value == pytest.approx(0)
    assert effect(rows, "relations", 5, 1).value == pytest.approx((4 + 4 / 3) / 20)
    assert effect(rows, "answers", "all", "few").value == pytest.approx(1 / 20)
    assert interaction(rows, "relations", 5, 1).value == pytest.approx(4 / 20)
    assert interaction(rows, "answers", "all", "few").value == pytest.approx(0)
    # Without one set, what is left is compared with its like only.
    lacking = rows[
        ~((rows["popularity"] == "popular") & (rows["relations"] == 5) & (rows["answers"] == "all"))
    ]
    assert effect(lacking, "popularity", "popular", "unpopular").value == pytest.approx((2 + 2 + 6) / 60)


def test_the_experiment_runs_and_its_numbers_follow_from_its_rows(cache: Path, tmp_path: Path) -> None:
    options = experiment.PopularityOrDiversityOptions(
        out=tmp_path / "run",
        world="tiny",
        seeds=(0,),
        draws=2,
        tune_steps=4,
        cache=cache,
        workers=1,
        quiet=True,
    )
    out = experiment.run(options)
    frame, results = pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json")
    arms = frame[(frame["part"] == "arms") & frame["known"].eq(True)]
    by = arms.assign(correct=arms["correct"].astype(float)).groupby("popularity")["correct"].mean()
    expected = by["popular"] - by["unpopular"]
    assert results["effects"]["known_popular_minus_unpopular"]["value"] == pytest.approx(expected)
    assert frame["size"].nunique() == 1
    some = frame[(frame["popularity"] == "popular") & (frame["relations"] == 1) & (frame["answers"] == "few")]
    wrong = some[some["trained"].eq(True) & some["correct"].eq(False)]
    modes = wrong.loc[wrong["common"].eq(True), "prediction"].unique()
    assert len(modes) <= 1, "a set's commonest answer is one"
    generic = results["sets"]["popular_1_few"]["genericness"]["value"]
    assert generic == pytest.approx(wrong["common"].astype(float).mean())
    for state in ("gradients", "gradients_taught"):
        some = frame[(frame["part"] == state) & (frame["kind"] == "cosine") & (frame["group"] == "all")]
        taken = some.groupby("name")["value"].mean()
        turned = results[state.replace("gradients", "gradient_contrasts")]["all"]
        assert turned["placebo_minus_cross"]["value"] == pytest.approx(
            taken["random_random"] - taken["popular_unpopular"]
        )
        own = np.sqrt(taken["popular_popular"] * taken["unpopular_unpopular"])
        assert results[state]["cosine"]["all"]["own_kind"]["value"] == pytest.approx(own)
    losses = frame[frame["kind"] == "loss"].groupby("part")["value"].mean()
    assert losses["gradients_taught"] < losses["gradients"], "the second model has been trained"
    page = load_study(out)
    assert len(page.tables) == 6
    assert (
        page.claims[0].claim == "popular facts help more than unpopular ones at equal relations and answers"
    )
