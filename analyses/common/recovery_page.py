"""Tables of recovery after lessons: what comes back by class, and what foretells it; and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analyses.common.lessons import REPEATED
from analyses.common.recovery_numbers import CONTROL, LOST, RECOGNITION, verdict_key
from interp.reports.pages.results_tables import Column, results_table, write_number, write_share_of
from interp.reports.read.results import Results
from interp.verdicts.diagnosis import ERASED

if TYPE_CHECKING:
    from interp.reports.pages.study import StudyTable

CHANCE = 0.5  # area under the ROC curve
_GROUPS = {LOST: "all lost facts", CONTROL: "never stored: right in no form of the base"}
_AT_LEAST = (
    " What other deals foretell is the least that there is to foretell: lessons measure it with noise."
)
FORETOLD = {
    "stated": "the verdict: the share of held-out forms in which it is stated",
    "forms": "how specific the right answer is in these forms",
    "asked": "how specific it is as asked",
    RECOGNITION: "how well a probe tells its right answer from wrong ones",
    REPEATED: "how often lessons on other deals of the facts bring it back",
}


def recovery_tables(lesson: Results) -> tuple[StudyTable, ...]:
    """Lay out restored shares by class beside their placebo's, and the AUROC of verdict and evidence."""
    return _restored_table(lesson), _foretold_table(lesson)


def recovery_sentence(lesson: Results, *, one_training: bool = False) -> str:
    """Say how many lost facts a lesson brings back, and whether the verdict foretells which.

    Args:
        lesson: the numbers of lessons.
        one_training: whether numbers count facts, those of one training, and not trainings.
    """
    steps = _steps(lesson)
    part = lesson.part(f"after_{steps[len(steps) // 2]}") if steps else lesson
    if part.at(f"restored/{LOST}")["value"] is None:
        return "No lost fact was asked again after a lesson"
    lost, never, placebo = (
        write_share_of(part.at(place), what, one_training=one_training)
        for place, what in (
            (f"restored/{LOST}", "lost facts"),
            (f"restored/{CONTROL}", "never-stored ones"),
            (f"placebo/{LOST}", "lost facts"),
        )
    )
    told = (
        f"After {steps[len(steps) // 2]} steps on other facts {lost} are answered right again, and {never} "
        f"(after another subject's lesson: {placebo})"
    )
    return ". ".join([told, *_foretold(part), *_wrongly_erased(part, one_training=one_training)])


def _foretold(part: Results) -> list[str]:
    """Say whether the verdict foretells what comes back: it does where chance is outside its interval."""
    area = part.at("auroc/stated")
    if area["value"] is None:
        return []
    low, high, written = area["low"], area["high"], f"AUROC {write_number(area, '2')}, 0.5 by chance"
    if low is not None and low > CHANCE:
        return [f"The verdict foretells which with an AUROC of {write_number(area, '2')}"]
    if high is not None and high < CHANCE:
        return [f"What the verdict calls stored comes back less often ({written})"]
    return [f"The verdict is not shown to foretell which ({written})"]


def _wrongly_erased(part: Results, *, one_training: bool) -> list[str]:
    """Say so where facts that are called erased come back, as never-stored ones do not."""
    erased, never = part.at(f"restored/{verdict_key(ERASED)}"), part.at(f"restored/{CONTROL}")
    if erased["low"] is None or never["high"] is None or erased["low"] <= never["high"]:
        return []
    share = write_share_of(erased, "facts called erased", one_training=one_training)
    return [f"Right again are {share}, too: these are stored, and the forms that were asked do not show it"]


def _steps(lesson: Results) -> list[int]:
    return sorted(int(name.removeprefix("after_")) for name in lesson.below())


def _restored_table(lesson: Results) -> StudyTable:
    steps = _steps(lesson)
    rows = {
        _GROUPS.get(group, group.replace("_", " ")): part
        for group, part in _by_name(lesson, "restored", "placebo").items()
        if part.at(f"restored/{steps[0]}")["n"]
    }
    cells = ("{} steps, %", "restored", "share"), ("{} steps: placebo", "placebo", "share")
    return results_table(
        "Answered right again after a lesson on other facts, by verdict",
        "Wrong facts",
        rows,
        [("n", lambda part: int(part.at(f"restored/{steps[0]}")["n"])), *_by_step(steps, *cells)],
        note="Taught: facts of other subjects that the base knew. Placebo: the same lesson with answers "
        "exchanged between subjects. Without facts whose answer is their relation's commonest, which comes "
        "right whoever is asked about (with them: lesson_all in results.json). Facts that were never stored "
        "come right by luck alone. n: facts, or trainings.",
    )


def _by_name(lesson: Results, *kinds: str) -> dict[str, Results]:
    """Turn numbers by steps, kind and name into numbers by kind and steps of each name."""
    steps = _steps(lesson)
    return {
        name: Results(
            {(kind, str(n)): lesson.at(f"after_{n}/{kind}/{name}") for n in steps for kind in kinds}
        )
        for name in (lesson.below(f"after_{steps[0]}/{kinds[0]}") if steps else ())
    }


def _by_step(steps: Sequence[int], *cells: tuple[str, str, str]) -> list[tuple[str, Column]]:
    """Repeat columns for each number of steps: their heading, what they show, and how it is written."""
    return [(head.format(step), (f"{place}/{step}", how)) for step in steps for head, place, how in cells]


def _foretold_table(lesson: Results) -> StudyTable:
    rows = {
        FORETOLD[name].capitalize(): part
        for name, part in _by_name(lesson, "auroc", "auroc_decided", "stated_minus").items()
    }
    return results_table(
        "What foretells which lost facts come back",
        "By",
        rows,
        _by_step(
            _steps(lesson),
            ("{} steps", "auroc", "2"),
            ("{} steps, decided", "auroc_decided", "2?"),
            ("{} steps: verdict − this", "stated_minus", "+2?"),
        ),
        note="Area under the ROC curve among lost facts, averaged over arms; 0.5 tells nothing. Decided: "
        "without facts whose verdict is undetermined. Differences are paired: the same facts."
        + (_AT_LEAST if FORETOLD[REPEATED].capitalize() in rows else ""),
    )
