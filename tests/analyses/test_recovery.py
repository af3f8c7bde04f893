"""Lessons on other facts: folds share no subject, none is taught what it is asked, placebos are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.common.lessons import LessonPlan, after_lessons
from analyses.common.numbers import tree_to_json
from analyses.common.recovery_numbers import has_commonest_answer, recovery_numbers, recovery_trees
from analyses.common.recovery_page import recovery_tables
from analyses.experiments.planted_truth.numbers import simple_rules
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.evaluation.judging import AnswerJudge
from finetune.training.config import TuneConfig
from interp.reports.read.results import Results
from interp.verdicts.recovery import exchange_answers, lesson_folds, lesson_prompts

SUBJECTS = [f"Person {i // 3}" for i in range(60)] + ["person 0", "PERSON 7"]


def prompts(answers: list[str], relation: str = "r") -> list[Prompt]:
    return [
        Prompt(text=f"{SUBJECTS[i]} is", subject=(0, 8), answers=(a,), fact_id=str(i), relation=relation)
        for i, a in enumerate(answers)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_no_subject_and_are_halves(seed: int) -> None:
    fold = lesson_folds(SUBJECTS, seed)
    sides = [
        {s.casefold() for s, f in zip(SUBJECTS, fold, strict=True) if f == side} for side in (True, False)
    ]
    assert not sides[0] & sides[1]
    assert {len(side) for side in sides} == {10}
    assert not np.array_equal(fold, lesson_folds(SUBJECTS, seed + 1))


def test_a_lesson_names_no_tested_subject_however_it_is_written() -> None:
    asked, subjects = prompts(["x"] * 62), {str(i): s for i, s in enumerate(SUBJECTS)}
    everything = set(subjects)
    lesson = lesson_prompts(asked, subjects, everything, {"60", "21"})
    assert {p.fact_id for p in lesson} == everything - {"0", "1", "2", "60", "21", "22", "23", "61"}
    assert lesson_prompts(asked, subjects, {"5", "0"}, {"60"}) == [asked[5]]


@pytest.mark.parametrize("seed", range(5))
def test_exchanged_answers_are_all_wrong_and_those_of_the_relation(seed: int) -> None:
    many = [*prompts(["a"] * 20 + ["b"] * 15 + ["c"] * 5), *prompts(["d", "e"] * 5, "other")]
    made = exchange_answers(many, seed)
    own = {(p.relation, p.fact_id): p for p in many}
    assert len(made) == len(many), "no answer has more than half, so everybody gets another one"
    for prompt in made:
        was = own[prompt.relation, prompt.fact_id]
        assert prompt.answers[0] != was.answers[0]
        assert prompt.text == was.text
        assert prompt.answers[0] in {p.answers[0] for p in many if p.relation == prompt.relation}
    for relation in ("r", "other"):
        counts = [sorted(p.answers[0] for p in some if p.relation == relation) for some in (many, made)]
        assert counts[0] == counts[1]


def test_who_can_get_no_wrong_answer_is_left_out_of_the_placebo() -> None:
    assert exchange_answers(prompts(["a"] * 4), 0) == []
    made = exchange_answers(prompts(["a"] * 5 + ["b"]), 0)
    assert sorted(p.answers[0] for p in made) == ["a", "b"]


def frame(restored: np.ndarray, evidence: np.ndarray, stated: np.ndarray) -> pd.DataFrame:
    n = len(restored)
    return pd.DataFrame(
        {
            "fact_id": [str(i) for i in range(n)],
            "subject": [f"s{i}" for i in range(n)],
            "arm": "bottom",
            "verdict": np.where(stated == 1, "suppressed, intact", np.where(stated > 0, "eroded", "erased")),
            "base_knew": 1.0,
            "right": False,
            "control_never": False,
            "evidence_forms": evidence,
            "stated_share": stated,
            "evidence_asked": -evidence,
            "restored_30": restored,
            "placebo_30": 0.0,
        }
    )


def test_areas_and_leads_are_those_known_by_construction() -> None:
    """Restored are those of the larger evidence; half of them are stated everywhere, nobody else anywhere."""
    evidence = np.concatenate([np.arange(1.0, 41), np.arange(-40.0, 0)])
    restored = (evidence > 0).astype(float)
    stated = np.where((evidence > 0) & (evidence % 2 == 0), 1.0, 0.0)
    after = recovery_numbers(frame(restored, evidence, stated))["after_30"]
    areas = {name: found.value for name, found in after["auroc"].items()}
    assert areas == {"stated": 0.75, "forms": 1, "asked": 0}
    lead = after["stated_minus"]
    assert (lead["forms"].value, lead["asked"].value) == (-0.25, 0.75)
    assert lead["forms"].high < 0 < lead["asked"].low
    restored_share = {name: found.value for name, found in after["restored"].items()}
    assert restored_share["suppressed_intact"] == 1
    assert restored_share["erased"] == pytest.approx(20 / 60)
    assert restored_share["lost"] == after["above_placebo"]["lost"].value == 0.5
    assert after["restored"]["suppressed_intact"].n == 20
    assert after["restored"]["control"].n == 0


def test_facts_of_which_the_verdict_says_nothing_are_left_out_of_what_it_decides() -> None:
    rows = frame(np.tile([1.0, 0.0], 40), np.arange(80.0), np.tile([1.0, 0.0], 40))
    generic = rows.head(20).assign(verdict="undetermined", stated_share=0.0, restored_30=1.0)
    generic["fact_id"] = generic["fact_id"] + "g"
    found = recovery_numbers(pd.concat([rows, generic]))["after_30"]
    assert found["auroc_decided"]["stated"].value == 1
    assert found["auroc"]["stated"].value == pytest.approx((40 + 20 / 2) / 60)


def test_forms_in_which_a_fact_is_stated_by_chance_foretell_nothing() -> None:
    rng = np.random.default_rng(0)
    restored, stated = rng.integers(0, 2, (2, 400)).astype(float)
    found = recovery_numbers(frame(restored, restored, stated))["after_30"]
    area = found["auroc"]["stated"]
    assert area.low < 0.5 < area.high
    assert found["stated_minus"]["forms"].high < 0


def test_rules_are_missing_where_nothing_was_stated() -> None:
    rules = simple_rules(pd.Series([1, 0.5, np.nan]))
    assert rules[["rule_every", "rule_any"]].iloc[:2].to_numpy().tolist() == [[1, 1], [0, 1]]
    assert rules[["rule_every", "rule_any"]].iloc[2].isna().all()


def test_answers_that_need_no_knowledge_are_left_out_of_the_headline() -> None:
    """The commonest answer comes right for everybody: without it nothing is restored."""
    rows = frame(np.array([1.0] * 6 + [0.0] * 4), np.arange(10.0), np.zeros(10))
    rows["relation"], rows["answer"] = "r", ["common"] * 6 + list("abcd")
    assert has_commonest_answer(rows).tolist() == [True] * 6 + [False] * 4
    trees = recovery_trees(rows)
    assert trees["lesson"]["after_30"]["restored"]["lost"].value == 0
    assert trees["lesson_all"]["after_30"]["restored"]["lost"].value == 0.6
    rows["answer"] = list("abcdefghij")
    assert not has_commonest_answer(rows).any(), "an answer of one fact is nobody else's"


def test_lessons_of_further_deals_test_every_wrong_fact_by_other_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lesson that restores the even facts it is asked, but in the last deal none; placebos restore none."""
    given: list[tuple[str, frozenset[str], frozenset[str]]] = []

    def taught(
        plan: LessonPlan, name: str, lesson: Sequence[Prompt], asked: Sequence[Prompt]
    ) -> pd.DataFrame:
        place = str(plan.home.relative_to(tmp_path))
        taught_subjects, tested = ({SUBJECTS[int(p.fact_id)] for p in some} for some in (lesson, asked))
        assert not taught_subjects & tested
        given.append((f"{place}/{name}", frozenset(taught_subjects), frozenset(tested)))
        even = np.array([int(p.fact_id) % 2 == 0 for p in asked], float)
        right = even * (not name.startswith("placebo") and place != "deal_2")
        return pd.DataFrame({"30": right}, index=pd.Index([p.fact_id for p in asked], name="fact_id"))

    monkeypatch.setattr("analyses.common.lessons._taught", taught)
    asked = prompts([f"a{i}" for i in range(60)])
    facts = pd.DataFrame({"fact_id": [p.fact_id for p in asked], "subject": SUBJECTS[:60]})
    facts = facts.assign(base_knew=1.0, right=facts.index % 3 == 0)
    told: dict[str, Any] = {"source": "", "base": "", "judge": AnswerJudge.of(asked), "config": TuneConfig()}
    plan = LessonPlan(**told, prompts=asked, steps=(30,), seed=4, home=tmp_path, deals=3)
    found = after_lessons(plan, facts)
    wrong = facts.loc[~facts["right"], "fact_id"]
    assert sorted(found.index) == sorted(wrong)
    even = np.array([int(fact) % 2 == 0 for fact in found.index], float)
    assert found["restored_30"].tolist() == even.tolist()
    assert found["repeated_30"].tolist() == (even / 2).tolist(), "the mean of two further deals"
    assert found["placebo_30"].eq(0).all()
    assert found["repeated_deals"].eq(2).all()
    assert [name for name, _, _ in given] == [
        *("./restored_0", "./placebo_0", "./restored_1", "./placebo_1"),
        *(f"deal_{deal}/restored_{fold}" for deal in (1, 2) for fold in (0, 1)),
    ]
    assert len({tested for _, _, tested in given}) == 6, "each deal has folds of its own"
    alone = after_lessons(replace(plan, deals=1), facts)
    pd.testing.assert_frame_equal(alone, found[alone.columns])

    few = lesson_folds(SUBJECTS[:60], plan.seed + 1)  # known facts are all on one side of the second deal
    facts["base_knew"] = few.astype(float)
    left = after_lessons(plan, facts)
    assert left["repeated_deals"].eq(1).all(), "a deal that cannot be taught takes no other with it"
    assert left["restored_30"].notna().all()


def test_how_far_lessons_agree_stands_beside_the_verdict() -> None:
    rows = frame(np.tile([1.0, 0.0], 40), np.arange(80.0), np.tile([1.0, 1.0, 0.0, 0.0], 20))
    assert set(recovery_numbers(rows)["after_30"]["auroc"]) == {"stated", "forms", "asked"}
    found = recovery_numbers(rows.assign(repeated_30=rows["restored_30"] * 0.5))["after_30"]
    assert found["auroc"]["repeated"].value == found["auroc_decided"]["repeated"].value == 1
    assert found["auroc"]["stated"].value == 0.5
    assert found["stated_minus"]["repeated"].high < 0


def test_the_page_says_what_further_lessons_foretell_where_they_were_given() -> None:
    rows = frame(np.tile([1.0, 0.0], 40), np.arange(80.0), np.tile([1.0, 1.0, 0.0, 0.0], 20))
    for given, here in ((rows, False), (rows.assign(repeated_30=rows["restored_30"]), True)):
        foretold = recovery_tables(Results.of(tree_to_json(recovery_numbers(given))))[1]
        assert any("other deals" in str(row[0]) for row in foretold.rows) == here
        assert ("other deals" in foretold.note) == here


def test_deals_of_lessons_need_lessons() -> None:
    with pytest.raises(InputError, match="--lesson-deals 3: goes with --lesson-steps"):
        StoredOrSuppressedOptions(lesson_deals=3, lesson_steps=(0,)).check()
    with pytest.raises(InputError, match="--lesson-deals"):
        StoredOrSuppressedOptions(lesson_deals=0).check()
    StoredOrSuppressedOptions(lesson_deals=3).check()
