"""Arms of one size within and beside a domain of rare facts, and numbers that follow from the rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analyses import long_tail_domain as experiment
from analyses.experiments.long_tail_domain import cells as experiment_cells
from analyses.experiments.long_tail_domain import numbers as domain_page_numbers
from analyses.experiments.long_tail_domain import page as domain_page
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact
from finetune.data.splits import partition
from interp.reports.pages.study_files import load_study
from interp.reports.read.results import Results


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_arms_have_one_size_and_the_popularity_asked_for() -> None:
    options = experiment.LongTailDomainOptions(world="tiny", placebo=True)
    setting, domain, general, _ = experiment_cells.setting_of(options, 3)
    parts = partition(setting.facts, seed=3)
    made = experiment_cells.arms(options, parts, domain, general, seed=3)
    size = len(made["top"])
    assert {name: len(facts) for name, facts in made.items() if name != "whole"} == dict.fromkeys(
        ("top", "bottom", "random", "general_top", "mixed", "shuffled_top", "shuffled_bottom"), size
    )
    assert len(made["whole"]) in (2 * size, 2 * size + 1)
    trained = {fact.id for fact in parts.train}
    assert all(fact.id in trained for facts in made.values() for fact in facts)
    for name in ("top", "bottom", "random", "whole", "shuffled_top"):
        assert {fact.relation for fact in made[name]} <= set(domain)
    assert {fact.relation for fact in made["general_top"]} <= set(general)
    assert min(f.popularity or 0 for f in made["top"]) >= max(f.popularity or 0 for f in made["bottom"])
    left = [f for f in parts.train if f.relation in general and f not in made["general_top"].facts]
    assert min(f.popularity or 0 for f in made["general_top"]) >= max(f.popularity or 0 for f in left)
    own = [fact for fact in made["mixed"] if fact.relation in domain]
    assert len(own) == (size + 1) // 2
    assert {f.id for f in own} <= {f.id for f in made["top"]}
    assert {f.id for f in made["mixed"] if f not in own} <= {f.id for f in made["general_top"]}


def test_options_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(InputError, match="--limit 300: goes with --facts"):
        experiment.LongTailDomainOptions(limit=300).check()
    with pytest.raises(InputError, match="--exponent: goes with --facts"):
        experiment.LongTailDomainOptions(exponent=0.5).check()
    with pytest.raises(InputError, match="--sightings 0"):
        experiment.LongTailDomainOptions(sightings=0).check()


def _rows(seed: int, right: dict[str, int]) -> pd.DataFrame:
    """Make rows in which each arm answers so many of the first of 20 domain facts, and half of 8 others."""
    return pd.DataFrame(
        {
            "seed": seed,
            "arm": arm,
            "fact_id": f"{i}",
            "subject": f"s{i}",
            "domain": i < 20,
            "domain_quartile": 1 + i // 5 if i < 20 else None,
            "known": i % 2 == 0,
            "correct": i < n if i < 20 else i < 24,
            "subject_attention": n / 20,
            "sightings": 10.0,
            "size": 10,
        }
        for arm, n in right.items()
        for i in range(28)
    )


def test_claims_follow_the_rows() -> None:
    right = {"base": 0, "top": 12, "bottom": 6, "random": 12, "whole": 14, "general_top": 2, "mixed": 10}
    frame = pd.concat([_rows(0, right), _rows(1, {**right, "top": 14, "bottom": 9})], ignore_index=True)
    results = domain_page_numbers.summarise(frame)
    change = results["contrasts"]["top_minus_bottom"]
    assert change["accuracy"]["value"] == pytest.approx((6 / 20 + 5 / 20) / 2)
    # Of the facts that the base states, those with even numbers, the arms answer 6 less 3 and 7 less 5.
    assert change["accuracy_known"]["value"] == pytest.approx((3 / 10 + 2 / 10) / 2)
    assert change["general_known"]["value"] == 0
    assert results["arms"]["top"]["accuracy_by_quartile"]["1"]["value"] == 1
    assert results["arms"]["top"]["accuracy_by_quartile"]["4"]["value"] == 0
    assert results["arms"]["top"]["general"]["value"] == pytest.approx(0.5)
    assert results["facts"]["domain"]["sightings"]["value"] == pytest.approx(10)
    outcomes = {claim.claim: claim for claim in domain_page.claims(Results.of(results))}
    other = outcomes[
        "popular facts of the general domain serve the domain better than the domain's own popular half"
    ]
    assert other.number["value"] == pytest.approx((1 - 6 + 1 - 7) / 20)


def test_the_experiment_runs_in_a_world_with_its_placebo(cache: Path, tmp_path: Path) -> None:
    options = experiment.LongTailDomainOptions(
        out=tmp_path / "run",
        world="tiny",
        seeds=(0,),
        tune_steps=4,
        placebo=True,
        cache=cache,
        workers=1,
        quiet=True,
    )
    out = experiment.run(options)
    frame, results = pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json")
    assert set(frame["arm"]) == set(domain_page_numbers.NAMES)
    inside = frame[frame["domain"]].set_index(["arm", "fact_id"])["correct"].astype(float)
    for first, second in (("top", "bottom"), ("shuffled_top", "shuffled_bottom"), ("general_top", "top")):
        expected = (inside[first] - inside[second]).mean()
        found = results["contrasts"][f"{first}_minus_{second}"]["accuracy"]["value"]
        assert found == pytest.approx(expected)
    once = frame[frame["domain"] & (frame["arm"] == "base")]
    assert once.groupby("domain_quartile")["sightings"].min().is_monotonic_decreasing
    assert once["domain_quartile"].value_counts().max() - once["domain_quartile"].value_counts().min() <= 1
    assert load_study(out).claims[0].source == "paper, claim 1; open: long tail"


def test_real_facts_make_a_domain_of_their_rarest_relations(tmp_path: Path) -> None:
    relations = {"occupation": 900, "capital": 500, "genre": 20, "author": 10}
    facts = tuple(
        Fact(
            id=f"{relation}{i}",
            subject=f"Subject {relation} {i}",
            relation=relation,
            answers=(f"answer {i % 4}",),
            popularity=float(level + i),
        )
        for relation, level in relations.items()
        for i in range(40)
    )
    file = tmp_path / "facts.jsonl"
    FactSet(facts=facts, name="some").to_frame().to_json(file, orient="records", lines=True)
    options = experiment.LongTailDomainOptions(facts=str(file), pretrain_steps=2)
    setting, domain, general, rows = experiment_cells.setting_of(options, 1)
    assert domain == ("author", "genre")
    assert general == ("capital", "occupation")
    assert rows == 2 * setting.base.batch
    made = experiment_cells.arms(options, partition(setting.facts, seed=1), domain, general, seed=1)
    assert {fact.relation for fact in made["general_top"]} == {"occupation"}, "the most popular there are"
