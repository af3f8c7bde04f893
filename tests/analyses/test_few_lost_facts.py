"""What is said of a handful of lost facts: counts, and nothing of a rate that is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analyses.common.claims import claims_on_verdicts
from analyses.common.recovery_page import recovery_sentence
from analyses.experiments.stored_or_suppressed.figures import MARKED, _attention, figures
from analyses.experiments.stored_or_suppressed.head_transplants import HEAD_COLUMNS, head_table
from analyses.experiments.stored_or_suppressed.numbers import _bounds, _pathway
from analyses.experiments.stored_or_suppressed.page import _control_table, _examples, _head_table
from analyses.experiments.stored_or_suppressed.pathway_page import pathway_sentence, pathway_table
from analyses.experiments.stored_or_suppressed.sentences import finding
from interp.figures import verdict_bars
from interp.reports.figures.style import PAGE
from interp.reports.read.results import Results
from interp.reports.read.run import NotMeasured
from interp.verdicts.controls import CONTROLS, FEWEST_CONTROLS
from interp.verdicts.diagnosis import ERASED, ERODED, NEVER_STORED, RETAINED, SUPPRESSED
from interp.weight_edits import GROUPS


def number(value: float | None, n: int, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": n}


def of_arm(*verdicts: str, never: int = FEWEST_CONTROLS, known: int = 22) -> pd.DataFrame:
    """Known facts of one training, some of them lost and given verdicts, and facts that nothing stores."""
    kept = known - len(verdicts)
    return pd.DataFrame(
        {
            "arm": "whole",
            "seed": 0,
            "base_knew": [1.0] * known + [0.0] * never,
            "right": [False] * len(verdicts) + [True] * kept + [False] * never,
            "verdict": [*verdicts, *[RETAINED] * kept, *[NEVER_STORED] * never],
            "stated_share": 1.0,
            **{f"control_{name}": [False] * known + [True] * never for name in CONTROLS},
        }
    )


def results_of(frame: pd.DataFrame, rate: float | None, *, silent: float = 0.1) -> Results:
    arms = {}
    for arm, rows in frame.groupby("arm", sort=False):
        lost = rows[~rows["right"] & (rows["base_knew"] == 1)]
        stored, intact = lost["verdict"].isin((SUPPRESSED, ERODED)), lost["verdict"] == SUPPRESSED
        bounds = (None, None) if len(lost) < 2 else (0.0, 1.0)
        arms[arm] = {
            "base_as_asked": number(0.9, len(rows)),
            "lost": number(len(lost) / len(rows), len(rows), 0.0, 0.2),
            "stored_of_lost": number(float(stored.mean()), len(lost), *bounds),
            "suppressed_of_lost": number(float(intact.mean()), len(lost), *bounds),
            "retained": {"unseen": number(silent, len(rows))},
            "stored_above_never": number(None if rate is None else 0.5, len(lost)),
            "controls": {"never": {"false_positives": number(rate, 0 if rate is None else 30)}},
        }
    return Results.of({"arms": arms})


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ((SUPPRESSED,), "whole lost 1 of 22 known facts, still stated in every held-out form."),
        ((ERASED,), "whole lost 1 of 22 known facts, not shown to be still stored."),
        (
            (SUPPRESSED, ERODED, ERASED),
            "whole lost 3 of 22 known facts; 2 shown to be still stored, 1 stated in every held-out form.",
        ),
    ],
)
def test_a_handful_is_told_in_counts(verdicts: tuple[str, ...], told: str) -> None:
    frame = of_arm(*verdicts)
    assert finding(frame, results_of(frame, 0.05)) == told


def test_enough_lost_facts_are_told_in_shares() -> None:
    frame = of_arm(*[SUPPRESSED] * 4, ERASED)
    told = finding(frame, results_of(frame, 0.05))
    assert "of these 80.0% (0.0 to 100.0) are still stated in every held-out form." in told
    some = of_arm(*[SUPPRESSED] * 3, ERODED, ERASED)
    told = finding(some, results_of(some, 0.05))
    assert (
        "80.0% (0.0 to 100.0) are still stated in some held-out form, 60.0% (0.0 to 100.0) in every one."
        in told
    )
    assert "few such facts" not in told


def test_where_kept_facts_are_not_stated_either_erased_is_said_to_tell_little() -> None:
    frame = of_arm(SUPPRESSED, *[ERASED] * 4)
    assert "erased says little" not in finding(frame, results_of(frame, 0.05))
    told = finding(frame, results_of(frame, 0.05, silent=0.6))
    assert "Of the facts that whole kept, 60.0% are stated in no held-out form, either" in told


def test_without_controls_no_rate_is_told_and_no_claim_is_decided() -> None:
    bare = of_arm(SUPPRESSED, never=3)
    without = results_of(bare, None)
    assert finding(bare, without).endswith(
        " How often a fact that nothing stores is called stored rests on few such facts "
        f"(3 for whole; it takes {FEWEST_CONTROLS})."
    )
    rows = {str(of): told for _, of, *told in _control_table(bare, without).rows}
    assert rows[CONTROLS["never"]] == [3, "not measured", "", 0]
    assert rows["retained facts, stated in none"][1:3] == ["", "10.0%"], "what is not stated stands apart"
    assert rows["retained facts, stated in none"][0] == 21
    (claim,) = claims_on_verdicts(without)
    assert (claim.measured, claim.outcome) == ("not measured", "not measured")


def test_lessons_and_grafts_on_a_handful_are_told_in_counts() -> None:
    parts = {
        "restored": {"lost": number(1.0, 1), "control": number(0.25, 4)},
        "placebo": {"lost": number(0.0, 1)},
    }
    lesson = Results.of({"after_30": parts})
    assert recovery_sentence(lesson, one_training=True) == (
        "After 30 steps on other facts 1 of 1 lost facts are answered right again, and 1 of 4 never-stored "
        "ones (after another subject's lesson: 0 of 1 lost facts)"
    )
    assert "100.0% of the lost facts" in recovery_sentence(lesson), "n counts trainings"
    grafted = Results.of({"restored": {"base": number(1.0, 1)}})
    assert "weights 1 of 1 lost facts come back" in pathway_sentence("whole", grafted, one_training=True)


@pytest.mark.parametrize(
    ("area", "erased", "told"),
    [
        ((0.75, 0.68, 0.82), (0.02, 0.0, 0.1), ". The verdict foretells which with an AUROC of 0.75 ("),
        ((0.54, 0.46, 0.64), (0.8, 0.7, 0.9), ". The verdict is not shown to foretell which (AUROC 0.54 ("),
        (
            (0.54, 0.46, 0.64),
            (0.8, 0.7, 0.9),
            ". Right again are 80.0% (70.0 to 90.0) of the facts called erased, too: ",
        ),
        ((0.3, 0.2, 0.4), (0.02, 0.0, 0.1), ". What the verdict calls stored comes back less often ("),
    ],
)
def test_the_page_says_of_a_verdict_what_its_intervals_allow(
    area: tuple[float, ...], erased: tuple[float, ...], told: str
) -> None:
    def bounded(some: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(("value", "low", "high", "n"), (*some, 100), strict=True))

    parts = {
        "restored": {
            "lost": bounded((0.8, 0.7, 0.9)),
            "control": bounded((0.0, 0.0, 0.03)),
            "erased": bounded(erased),
        },
        "placebo": {"lost": bounded((0.0, 0.0, 0.1))},
        "auroc": {"stated": bounded(area)},
    }
    said = recovery_sentence(Results.of({"after_30": parts}), one_training=True)
    assert told in said
    assert ("called erased" in said) == (erased[1] > 0.03)


def test_heads_keep_whole_numbers_beside_an_arm_that_lost_nothing() -> None:
    empty = pd.DataFrame(columns=["layer", "head", "fact_id", "effect", "placebo", "subject"])
    one = pd.DataFrame(
        {"layer": [1, 1], "head": [1, 0], "subject": "a", "effect": [2.0, 1.0], "placebo": [1.0, np.nan]}
    )
    grids = {"top": empty, "whole": one}
    heads = pd.concat([head_table(grid).assign(arm=arm) for arm, grid in grids.items()], ignore_index=True)
    assert {name: str(kind) for name, kind in heads.drop(columns="arm").dtypes.items()} == HEAD_COLUMNS
    table = _head_table(heads)
    assert [row[1] for row in table.rows] == ["1.1", "1.0"]
    for each in (table, pathway_table(Results.of({}))):
        assert len(set(each.columns)) == len(each.columns)


def test_where_nothing_is_stored_no_note_speaks_of_columns_that_are_not_there() -> None:
    frame = of_arm(ERASED, ERASED).assign(evidence_forms=0.0)
    for table in (_head_table(pd.DataFrame()), _examples(frame), pathway_table(Results.of({}))):
        assert not table.rows
        assert table.note.startswith("No arm has a")


def test_what_comes_back_is_a_share_and_bounded_like_one() -> None:
    columns = {
        f"pathway_{donor}_{name}": 0.0
        for donor in ("base", "base_placebo")
        for name in ("restored", *(f"{group}{end}" for group in GROUPS for end in ("", "_alone", "_nats")))
    }
    lost = pd.DataFrame({"subject": [f"s{i}" for i in range(29)], **columns})
    tree = _pathway(lost)
    shares = [*tree["restored"].values(), *(tree[group]["alone"] for group in GROUPS)]
    assert all(share.low == 0 < share.high < 0.13 for share in shares)
    assert all(tree[group]["shapley"].low < 0 for group in GROUPS), "a group may also take facts away"
    assert _bounds(("arms", "top", "pathway", "mlp", "sibling_alone")) == (0, 1)
    assert _bounds(("arms", "top", "pathway", "restored", "base")) == (0, 1)


def pictured(*arms: str) -> pd.DataFrame:
    known = of_arm(SUPPRESSED, ERASED, ERODED).query("base_knew == 1")
    known = known.assign(attention=0.5, attention_other=0.6, other="base", subject="s")
    return pd.concat([known.assign(arm=arm) for arm in arms])


@pytest.mark.parametrize("arms", [1, 3, 7])
def test_the_scatter_of_attention_fits_its_page_and_says_what_it_shows(arms: int) -> None:
    names = [f"mistral-7b-instruct-v0.2-lora-r16-epoch-{i}" for i in range(arms)]
    figure = _attention(pictured(*names))
    box = figure.get_tightbbox()
    assert box.x0 > -0.06
    assert box.x1 < figure.get_figwidth() + 0.06 <= PAGE + 0.07
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len({axes.get_title(loc="left") for axes in drawn}) == arms
    assert all("subject-attention" in axes.get_ylabel() for axes in drawn[:1])
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {RETAINED, SUPPRESSED, ERASED, ERODED}
    assert len(set(MARKED.values())) == len(MARKED)


def test_a_base_that_knew_nothing_has_no_empty_figures() -> None:
    frame = of_arm(known=0).assign(subject="s", popularity=np.nan, fact_id="f")
    names = [(each.name, each.figure is None, bool(each.missing)) for each in figures(frame, [], {})]
    assert names == [("flows", False, False), ("outcomes", True, True)]
    with pytest.raises(NotMeasured, match="knew none"):
        verdict_bars(frame)
