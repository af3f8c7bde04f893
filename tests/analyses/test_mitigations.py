"""Cures side by side: strengths chosen without test facts, numbers that follow from rows, a whole run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from analyses import mitigations
from analyses.experiments.mitigations import cells as mitigations_cells
from analyses.experiments.mitigations import during_training as during
from analyses.experiments.mitigations import experiment as mitigations_experiment
from analyses.experiments.mitigations import treatments
from analyses.experiments.mitigations.after_training import WeightEditor
from analyses.experiments.mitigations.case import load_case
from analyses.experiments.mitigations.numbers import best_elsewhere, relative_times, summarise, with_uncured
from analyses.experiments.mitigations.page import aim, claims
from analyses.experiments.mitigations.respondents import PlainRespondent
from analyses.experiments.mitigations.strength import ValidationScores, ValidationSelector, strongest
from analyses.experiments.mitigations.treatments import (
    ANY,
    CURES,
    NONE,
    PLACEBO_OF,
    PLACEBOS,
    REFERENCES,
)
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.prompts import Prompt
from finetune.evaluation.generate import generate
from interp.reports.pages.study_files import load_study
from interp.reports.read.results import Results


def _prompts(n: int) -> tuple[Prompt, ...]:
    return tuple(Prompt(text=f"s{i} is", subject=(0, 1), answers=("a",), fact_id=str(i)) for i in range(n))


def _ask(known: float, other: float, new: float):
    """Answer those shares of 100 known and 100 other validation facts and of 100 new ones."""

    def ask(prompts):
        if len(prompts) == 200:
            i = np.arange(200)
            return np.where(i < 100, i < 100 * known, i - 100 < 100 * other)
        return np.arange(100) < 100 * new

    return ask


JUDGE = ValidationSelector(validation=_prompts(200), known=np.arange(200) < 100, new=_prompts(100))


def test_marks_are_shares_of_their_own_facts() -> None:
    assert JUDGE.marks(_ask(0.4, 0.2, 0.7)) == ValidationScores(known=0.4, other=0.2, new=0.7)


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ([(0.5, 0.2, 0.5), (0.6, 0.2, 0.5)], 1),
        ([(0.5, 0.2, 0.5), (0.9, 0.17, 0.5)], 0),  # more would be restored, at a cost of three points
        ([(0.5, 0.2, 0.5), (0.9, 0.2, 0.47)], 0),
        ([(0.9, 0.18, 0.48), (0.9, 0.2, 0.5)], 0),  # two points are allowed; the first of equals
        ([(0.4, 0.9, 0.9)], None),  # nothing gained on known facts: none
        ([], None),
    ],
)
def test_the_strength_that_restores_most_at_the_allowed_cost_is_taken(offered, wanted) -> None:
    candidates = [({"strength": i}, i) for i in range(len(offered))]
    before = _ask(0.4, 0.2, 0.5)
    (told, chosen), _ = strongest(iter(candidates), lambda i: _ask(*offered[i]), JUDGE, before)
    assert chosen == wanted
    assert told == {"strength": "none" if wanted is None else wanted}


FACTS = 40  # held out, of which the first 20 are stored and the next 10 retained


def test_whatever_it_costs_the_strength_that_restores_most_is_taken() -> None:
    offered = [(0.5, 0.2, 0.5), (0.9, 0.1, 0.0), (0.3, 0.9, 0.9)]
    candidates = [({"strength": i}, i) for i in range(3)]
    limited, free = strongest(candidates, lambda i: _ask(*offered[i]), JUDGE, _ask(0.4, 0.2, 0.5))
    assert (limited[1], free[1]) == (0, 1)


def _rows(seed: int, cure: str, restored: int, lost: int = 0, new: int = 0) -> list[dict]:
    """Restore that many stored facts, lose that many retained ones and that many newly learned ones."""
    shared = {"seed": seed, "cure": cure, "seconds": 2.0, "training_seconds": 4.0, "told": "{}"}
    rows = []
    for i in range(FACTS):
        right = i < restored if i < 20 else i < 30 - lost
        verdict = "eroded" if i < 20 else "retained" if i < 30 else "never stored"
        base = {"fact_id": f"h{i}", "subject": f"s{i}", "known": i < 30, **shared}
        rows.append(
            {
                **base,
                "group": "held out",
                "correct": float(right),
                "verdict": verdict if cure == NONE else None,
            }
        )
        rows.append({**base, "group": "statements", "log_prob": -1.0 - (cure != NONE)})
    for i in range(10):
        base = {"fact_id": f"t{i}", "subject": f"u{i}", "known": False, **shared}
        rows.append({**base, "group": "trained", "correct": float(i < 10 - new)})
    return rows


def _frame(restored: dict[int, tuple[int, int]]) -> pd.DataFrame:
    """By seed, what the first two cures restore; the second also loses two of twenty others."""
    rows = []
    for seed, (first, second) in restored.items():
        rows += _rows(seed, NONE, 0)
        rows += _rows(seed, CURES[0], first, new=1)
        rows += _rows(seed, CURES[1], second, lost=2)
    return pd.DataFrame(rows)


def test_numbers_are_those_of_the_rows() -> None:
    results = summarise(_frame({0: (12, 18), 1: (12, 18), 2: (12, 18)}))
    one, other = (results["cures"][cure] for cure in CURES[:2])
    assert one["restored"]["value"] == pytest.approx(12 / 20)
    assert one["rest"]["value"] == 0
    assert one["new"]["value"] == pytest.approx(-0.1)
    assert one["new_kept"]["value"] == pytest.approx(0.9)
    assert one["all_change"]["value"] == pytest.approx(12 / 40)
    assert one["statements_change"]["value"] == pytest.approx(1.0), "a nat more a statement"
    assert relative_times(_frame({0: (12, 18)}))[CURES[0]] == pytest.approx(0.5)
    assert other["restored"]["value"] == pytest.approx(18 / 20)
    assert other["rest"]["value"] == pytest.approx(-2 / 20)
    assert other["known_kept"]["value"] == pytest.approx(8 / 10)
    assert results["cures"][NONE]["restored"]["value"] == 0


def test_a_cure_is_laid_beside_its_placebo_on_the_same_stored_facts() -> None:
    cure, placebo = next(iter(PLACEBO_OF.items()))
    rows = []
    for seed in range(3):
        rows += [*_rows(seed, NONE, 0), *_rows(seed, cure, 15 + seed), *_rows(seed, placebo, 5)]
    results = summarise(pd.DataFrame(rows))
    beyond = results["cures"][cure]["beyond"]
    assert beyond["value"] == pytest.approx(11 / 20)
    assert results["seeds"]["2"]["cures"][cure]["beyond"]["value"] == pytest.approx(12 / 20)
    (told,) = [c for c in claims(Results.of(results)) if placebo in c.claim]
    assert told.outcome == "supported"
    assert "beyond" not in results["cures"][placebo]


def test_every_placebo_is_some_cure_s() -> None:
    assert set(PLACEBO_OF) <= set(CURES)
    assert {*PLACEBO_OF.values(), "questions distilled from other subjects"} == set(PLACEBOS)


def _chosen(cures: dict[int, list[dict]]) -> dict[int, str]:
    """By seed, choose among the first cures, each described by what it restores and loses."""
    rows = [row for seed in cures for row in _rows(seed, NONE, 0)]
    for seed, several in cures.items():
        rows += [row for cure, told in zip(CURES, several, strict=False) for row in _rows(seed, cure, **told)]
    return best_elsewhere(with_uncured(pd.DataFrame(rows)))


def test_the_cure_for_a_seed_is_chosen_on_the_others() -> None:
    restored = {0: (20, 1), 1: (2, 9), 2: (3, 9)}
    chosen = _chosen({seed: [{"restored": n} for n in both] for seed, both in restored.items()})
    assert chosen == {0: CURES[1], 1: CURES[0], 2: CURES[0]}, "its own seed would say otherwise of the first"


@pytest.mark.parametrize("cost", [{"lost": 2}, {"new": 1}])
def test_a_cure_that_costs_more_than_allowed_is_not_chosen(cost: dict[str, int]) -> None:
    cures = [{"restored": 12}, {"restored": 19, **cost}]
    assert _chosen(dict.fromkeys(range(3), cures)) == dict.fromkeys(range(3), CURES[0])
    assert _chosen(dict.fromkeys(range(3), cures[1:])) == dict.fromkeys(range(3), NONE)
    assert _chosen({0: cures[:1], 1: cures[:1], 2: [cures[0], {"restored": 20}]}) == dict.fromkeys(
        range(3), CURES[0]
    ), "what failed on a seed is not chosen for any"


def _number(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high, "n": 3}


@pytest.mark.parametrize(
    ("restored", "rest", "said"),
    [
        ((0.8, 0.6, 0.9), (0.0, -0.01, 0.01), "met"),
        ((0.8, 0.6, 0.9), (0.0, -0.03, 0.03), "open, on average met"),
        ((0.4, 0.2, 0.6), (0.0, -0.01, 0.01), "open, on average missed"),
        ((0.2, 0.1, 0.3), (0.0, -0.01, 0.01), "missed"),
        ((0.8, 0.6, 0.9), (-0.1, -0.2, -0.03), "missed"),
    ],
)
def test_the_aim_is_met_by_both_intervals_or_not(restored, rest, said) -> None:
    assert aim(Results.of({"restored": _number(*restored), "rest": _number(*rest)})) == said


def test_every_name_is_one_cell_a_seed_and_a_word_that_is_none_is_refused() -> None:
    options = mitigations.MitigationsOptions(world="tiny", seeds=(0, 1))
    made = mitigations_cells.cells(options)
    assert len(made) == 2 * (len(REFERENCES) + len(CURES) + len(PLACEBOS))
    assert [cell.params["treatment"] for cell in made[:2]] == [NONE, NONE], "no seed waits for another's case"
    with pytest.raises(InputError, match="--only prayer"):
        mitigations.MitigationsOptions(world="tiny", only=("prayer",)).check()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> mitigations.MitigationsOptions:
    folder = tmp_path_factory.mktemp("mitigations")
    words = (
        "uncured",
        "frozen",
        "questions distilled, own",
        "popular half",
        "scaled in named",
        "wrong heads",
    )
    return mitigations.MitigationsOptions(
        out=folder / "run",
        cache=folder / "cache",
        world="tiny",
        seeds=(0,),
        only=words,
        workers=1,
        quiet=True,
        pretrain_steps=300,
    )


@pytest.fixture(scope="module")
def run(options: mitigations.MitigationsOptions) -> Path:
    return mitigations_experiment.EXPERIMENT.run(options)


def test_a_run_leaves_one_row_a_fact_group_and_cure_and_cured_checkpoints(run: Path, options) -> None:
    assert read_json(run / "manifest.json")["finished"]
    frame = pd.read_parquet(run / "facts.parquet")
    assert {cure.removesuffix(ANY) for cure in frame["cure"]} == set(options.cures)
    sizes = frame.groupby(["cure", "group"])["fact_id"].agg(["size", "nunique"])
    assert (sizes["size"] == sizes["nunique"]).all()
    assert sizes.groupby("group")["size"].nunique().eq(1).all(), "every cure is asked the same"
    verdicts = frame[(frame["cure"] == NONE) & (frame["group"] == "held out")]["verdict"]
    assert verdicts.notna().all()
    cured = next(run.glob("cells/treatment=named_heads_from_the_popular*/cured"))
    assert "strength" in read_json(cured / "cure.json") or "heads" in read_json(cured / "cure.json")
    AutoModelForCausalLM.from_pretrained(cured)
    assert all(json.loads(told) is not None for told in frame["told"])
    study = load_study(run)
    assert study.claims[0].source.startswith("issue")
    assert len(study.tables) == 4


def test_plans_give_own_facts_as_many_passes_and_take_no_fact_held_out(run: Path, options) -> None:
    case = load_case(options, 0, run)
    parts = case.setup.parts
    held_out = {fact.subject for part in (parts.test, parts.validation) for fact in part}
    for name, plan_of in (during.DURING | during.PLACEBOS).items():
        plan = plan_of(case)
        ids = [fact.id for fact in plan.facts]
        assert ids[: len(case.own)] == [fact.id for fact in case.own], name
        assert not {fact.subject for fact in plan.facts} & held_out
        assert not {prompt.text[slice(*prompt.subject)] for pair in plan.known for prompt in pair} & held_out
        steps = (plan.settings or {}).get("steps", case.setup.setting.tune.steps)
        assert steps / len(ids) == pytest.approx(case.setup.setting.tune.steps / len(case.own), rel=0.05)
    known, unknown = (during._with_others(case, states).facts for states in (True, False))
    assert len(known) == len(unknown)
    extra = [fact.id in case.stated for fact in known[len(case.own) :]] if len(known) else []
    assert all(extra)


def test_placebos_of_distillation_teach_what_the_base_does_not_know_or_of_others(run: Path, options) -> None:
    case = load_case(options, 0, run)
    of = {fact.id: fact for fact in case.setup.parts.train}
    cure = during.DURING["questions distilled"](case).known
    assert all(said.fact_id == asked.fact_id in case.stated for said, asked in cure)
    unknown = during.PLACEBOS["questions of unknown facts distilled"](case).known
    assert unknown
    assert all(said.fact_id == asked.fact_id not in case.stated for said, asked in unknown)
    assert len(unknown) <= len(cure)
    others = during.PLACEBOS["questions distilled from other subjects"](case).known
    assert others
    for said, asked in others:
        assert said.fact_id != asked.fact_id
        assert {said.fact_id, asked.fact_id} <= case.stated
        assert of[said.fact_id].relation == of[asked.fact_id].relation
    questions = sorted(asked.text for _, asked in cure)
    assert sorted(asked.text for _, asked in others) == questions, "the same questions, as often"


@pytest.mark.parametrize("placebo", [False, True])
def test_candidates_and_no_cure_are_marked_by_the_same_judge(
    run: Path, options, monkeypatch: pytest.MonkeyPatch, placebo: bool
) -> None:
    """An accepted answer that is not the canonical one counts for either."""
    case = load_case(options, 0, run)
    prompts = case.setup.asked(case.setup.parts.validation)[:8]
    plain = PlainRespondent.of(case, case.uncured)
    said = generate(plain.model, plain.tokenizer, prompts)
    asked = [replace(p, answers=("nobody", text.strip())) for p, text in zip(prompts, said, strict=True)]
    marked = []

    def strongest(candidates, ask, judge, none):
        marked.extend((none(asked), none(prompts), plain.right(prompts)))
        return ({}, None), ({}, None)

    monkeypatch.setattr(treatments, "strongest", strongest)
    next(treatments._scaled(WeightEditor(case), named=False, placebo=placebo))
    of_aliases, found, alone = marked
    assert (of_aliases == 1).all()
    assert found.tolist() == alone.tolist(), "attention that is scaled by one is the model's own"


def test_a_run_given_again_is_the_same(run: Path, options) -> None:
    before = (run / "results.json").read_bytes()
    assert mitigations_experiment.EXPERIMENT.run(options) == run
    assert (run / "results.json").read_bytes() == before
