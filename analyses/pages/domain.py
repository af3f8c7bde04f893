"""Numbers, claims and page of the experiment on a domain of rare facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.lab.numbers import mean, paired
from analyses.making import SHUFFLED
from analyses.trees import SHARE, Bounds, Tree

if TYPE_CHECKING:
    import pandas as pd

    from interp.study import Claim, Study, StudyFigure, StudyTable

NAMES = {
    "base": "base",
    "top": "domain, popular half",
    "bottom": "domain, unpopular half",
    "random": "domain, random half",
    "whole": "domain, whole",
    "general_top": "general, most popular",
    "mixed": "even mix",
    "shuffled_top": "domain, half by chance",
    "shuffled_bottom": "domain, other half by chance",
}
PAIRS = (
    ("top", "bottom"),
    ("top", "random"),
    ("top", "whole"),
    ("general_top", "top"),
    ("mixed", "top"),
    ("base", "top"),
    ("base", "bottom"),
    ("base", "general_top"),
    (f"{SHUFFLED}top", f"{SHUFFLED}bottom"),
)
QUARTILES = (1, 2, 3, 4)


def bounds(path: tuple[str, ...]) -> Bounds | None:
    """Say between what a number must lie."""
    if path[-1] == "sightings":
        return None
    return (-1, 1) if path[0] == "contrasts" else SHARE


def one_seed(rows: pd.DataFrame) -> Tree:
    """Return one seed's accuracy and attention by arm, what arms differ by, and what the base states."""
    inside, outside = rows[rows["domain"]], rows[~rows["domain"]]
    tree: Tree = {"facts": _facts(inside, outside), "arms": {}, "contrasts": {}}
    for arm in sorted(set(rows["arm"])):
        tree["arms"][arm] = _arm(inside[inside["arm"] == arm], outside[outside["arm"] == arm])
    for first, second in PAIRS:
        if {first, second} <= set(rows["arm"]):
            ends = {"arm": first}, {"arm": second}
            tree["contrasts"][f"{first}_minus_{second}"] = {
                "accuracy_known": paired(inside[inside["known"]], *ends, "correct"),
                "accuracy": paired(inside, *ends, "correct"),
                "subject_attention": paired(inside, *ends, "subject_attention"),
                "general_known": paired(outside[outside["known"]], *ends, "correct"),
            }
    return tree


def _arm(inside: pd.DataFrame, outside: pd.DataFrame) -> Tree:
    known = inside[inside["known"]]
    return {
        "accuracy": mean(inside, "correct"),
        "accuracy_known": mean(known, "correct"),
        "accuracy_by_quartile": {
            str(q): mean(inside[inside["domain_quartile"] == q], "correct") for q in QUARTILES
        },
        "accuracy_known_by_quartile": {
            str(q): mean(known[known["domain_quartile"] == q], "correct") for q in QUARTILES
        },
        "subject_attention": mean(inside, "subject_attention"),
        "general": mean(outside, "correct"),
        "general_known": mean(outside[outside["known"]], "correct"),
    }


def _facts(inside: pd.DataFrame, outside: pd.DataFrame) -> Tree:
    """Say how often held-out facts were met and how many the base states; any arm's rows will do."""

    def of(rows: pd.DataFrame) -> Tree:
        return {"stated": mean(rows, "known"), "sightings": mean(rows, "sightings", share=False)}

    once = inside.drop_duplicates("fact_id")
    parts = {f"domain, quartile {q}": once[once["domain_quartile"] == q] for q in QUARTILES}
    return {
        "domain": of(once),
        **{name: of(part) for name, part in parts.items()},
        "general": of(outside.drop_duplicates("fact_id")),
    }


def page(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and the quartiles as curves."""
    from interp.study import Study, sentence

    made = claims(results)
    return Study(
        title="A domain of rare facts",
        question='Does "train on the popular half" still hold in a domain whose facts are nearly all rare?',
        finding=sentence(made) if made else "Nothing is decided: arms to compare are missing.",
        outcome=made[0].outcome if made else "inconclusive",
        claims=made,
        tables=(_arms_table(frame, results), _contrasts(results), _facts_table(results)),
        figures=(_quartiles(results),),
        notes=_NOTES,
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims, in a domain of which it does not speak."""
    from interp.study import claimed

    paper = "paper, claim 1; open: long tail"
    wording = (
        (
            "top_minus_bottom",
            "accuracy_known",
            "within the long-tail domain the popular half beats the unpopular half",
            paper,
        ),
        (
            "top_minus_bottom",
            "accuracy",
            "over all facts of the long-tail domain the popular half beats the unpopular half",
            paper,
        ),
        (
            "top_minus_random",
            "accuracy_known",
            "within the long-tail domain the popular half beats a random half",
            paper,
        ),
        (
            "general_top_minus_top",
            "accuracy_known",
            "popular facts of the general domain serve the domain better than the domain's own popular half",
            "open: long tail",
        ),
        (
            "mixed_minus_top",
            "accuracy_known",
            "an even mix with popular general facts serves the domain better than its own popular half alone",
            "open: long tail",
        ),
        (
            "top_minus_bottom",
            "subject_attention",
            "attention to the subject in the domain is higher after the popular half than after the "
            "unpopular one",
            "paper, claim 3; open: long tail",
        ),
        (
            "base_minus_top",
            "general_known",
            "fine-tuning on the domain's popular half loses general facts",
            "open: cost",
        ),
    )
    return tuple(
        claimed(
            text,
            source,
            results["contrasts"][pair][key],
            **({"digits": 3} if key == "subject_attention" else {"unit": "points"}),  # type: ignore[arg-type]
        )
        for pair, key, text, source in wording
        if pair in results["contrasts"]
    )


def _arms_table(frame: pd.DataFrame, results: dict[str, Any]) -> StudyTable:
    from interp.study import StudyTable, of

    # The base has no set; without any arm there is no such column.
    sized = frame.dropna(subset=["size"]) if "size" in frame else frame.assign(size=0).head(0)
    sizes = {str(arm): int(some["size"].iloc[0]) for arm, some in sized.groupby("arm")}
    rows = tuple(
        (
            name,
            sizes.get(arm, ""),
            of(results["arms"][arm]["accuracy_known"], unit="%"),
            of(results["arms"][arm]["accuracy"], unit="%"),
            of(results["arms"][arm]["subject_attention"], digits=3),
            of(results["arms"][arm]["general_known"], unit="%"),
        )
        for arm, name in NAMES.items()
        if arm in results["arms"]
    )
    return StudyTable(
        title="Accuracy on held-out facts, %",
        columns=("Fine-tuned on", "Facts", "Domain, known", "Domain, all", "Attention", "General, known"),
        rows=rows,
        note="Known: the base states the fact in every form. Attention to the subject is that on the "
        "domain's questions. Sizes are the first seed's.",
    )


def _contrasts(results: dict[str, Any]) -> StudyTable:
    from interp.study import StudyTable, of

    keys = ("accuracy_known", "accuracy", "subject_attention", "general_known")
    rows = tuple(
        (
            f"{NAMES[first]} − {NAMES[second]}",
            *(
                of(part[key], signed=True, **({"digits": 3} if key == "subject_attention" else {"unit": "%"}))
                for key in keys
            ),
        )
        for first, second in PAIRS
        if (part := results["contrasts"].get(f"{first}_minus_{second}"))
    )
    columns = ("Difference", "Domain, known", "Domain, all", "Attention", "General, known")
    return StudyTable(title="What arms differ by, points", columns=columns, rows=rows)


def _facts_table(results: dict[str, Any]) -> StudyTable:
    from interp.study import StudyTable, of

    rows = tuple(
        (name, of(part["sightings"]), of(part["stated"], unit="%")) for name, part in results["facts"].items()
    )
    return StudyTable(
        title="Held-out facts: how often pretraining meets one (mean), and how many the base states",
        columns=("Facts", "Expected sightings", "Stated by the base"),
        rows=rows,
    )


def _quartiles(results: dict[str, Any]) -> StudyFigure:
    from interp.curves import Curve, curves
    from interp.study import StudyFigure

    shown = [arm for arm in NAMES if arm in results["arms"] and not arm.startswith(SHUFFLED)]
    panels = {"Known to the base": "accuracy_known_by_quartile", "All": "accuracy_by_quartile"}
    figure = curves(
        {
            title: [
                Curve(
                    label=NAMES[arm],
                    x=[str(q) for q in QUARTILES],
                    y=[results["arms"][arm][key][str(q)] for q in QUARTILES],
                )
                for arm in shown
            ]
            for title, key in panels.items()
        },
        x="quartile of the domain's popularity (1: most popular)",
        y="accuracy on domain facts (%)",
        percent=True,
    )
    return StudyFigure(name="quartiles", figure=figure, caption=_CAPTION)


_CAPTION = (
    "Accuracy on held-out facts of the domain by quartile of popularity within it, after fine-tuning on "
    "parts of the domain or on general facts (95% over trainings)."
)
_NOTES = (
    "General facts have other relations, so training on them teaches other question forms than the domain's: "
    "what they do for the domain is transfer across forms as well as across popularity.",
    "The whole domain is a set twice as large, trained for as many steps; all other sets are of one size.",
    "Validation facts of the domain choose the checkpoint, also for sets from outside it.",
    "In an embedded world the domain's median fact is met 20 times in pretraining unless --sightings says "
    "otherwise; that number was chosen, before any arm was trained, for the base to state a good part "
    "of the domain: 44% of the held-out facts of seed 0.",
)
