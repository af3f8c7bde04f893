"""Numbers of the documentation are those of the code, and of the results that are kept with it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import tomllib
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from finetune.training.presets import REAL_BASE, REAL_TEXT, WORLDS
from tests.documentation import FENCE, PAGES, ROOT, named, rows_under

DOCS = ROOT / "docs"
NUMBER = r"[+−-]?\d+(?:\.\d+)?"
INTERVAL = re.compile(rf"({NUMBER})%? \(({NUMBER}) to ({NUMBER})\)")


def page(name: str) -> str:
    """Return a page as one line, so that a sentence may be broken anywhere."""
    return " ".join((DOCS / name).read_text(encoding="utf-8").split())


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", "").replace(",", ""))


def default(of: Any, name: str) -> Any:
    """Return a default of a function, or of a dataclass of options."""
    if dataclasses.is_dataclass(of):
        return next(field.default for field in dataclasses.fields(of) if field.name == name)
    return inspect.signature(of).parameters[name].default


def became(rows: list[list[str]]) -> dict[str, list[str]]:
    """Find the row that each world was made of: its name alone in the last cell."""
    found = [(match[1], row) for row in rows if (match := re.fullmatch(r"`([\w-]+)`", row[-1]))]
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


def test_the_worlds_are_the_presets() -> None:
    main = became(rows_under(DOCS / "worlds.md", "| subjects | Zipf α | steps | base states"))
    small = became(rows_under(DOCS / "worlds.md", "| subjects | Zipf α | width | steps"))
    assert set(main) | set(small) == set(WORLDS) - {"tiny"}
    for name, row in main.items():
        preset = WORLDS[name]
        assert (number(row[0]), number(row[1]), number(row[2])) == (
            preset.world.subjects,
            preset.world.alpha,
            preset.base.steps,
        ), name
    for name, row in small.items():
        preset, (steps, batch) = WORLDS[name], row[3].split("×")
        assert [number(cell) for cell in (*row[:3], steps, batch)] == [
            preset.world.subjects,
            preset.world.alpha,
            preset.base.width,
            preset.base.steps,
            preset.base.batch,
        ], name
    assert f"`long-tail` has α = {WORLDS['long-tail'].world.alpha:g}" in page("worlds.md")


def test_what_all_worlds_share_is_the_presets() -> None:
    text, preset = page("worlds.md"), WORLDS["long-tail"]
    world, base = preset.world, preset.base
    assert (
        f"{world.relations} relations, {world.answers} answers each with a Zipf({world.answer_alpha:g})"
        in text
    )
    assert preset.text.asked_share == preset.text.question_share == 0.5
    assert "half of the subjects also met as questions, half of the rows about those being questions" in text
    assert f"{base.layers} layers, width {base.width}, {base.heads} heads" in text
    assert f"batch {base.batch};" in text
    rows = rows_under(DOCS / "guide_world.md", "| `--world` |")
    assert [row[0].strip("`") for row in rows] == list(WORLDS)
    small = WORLDS["small"]
    assert f"{small.world.subjects} people, one learning rate" in rows[2][1]
    assert len(small.tune.learning_rates) == 1


def test_the_comment_on_the_long_tail_is_its_arithmetic() -> None:
    """finetune/training/recipes/worlds.yaml says how often subjects are met: look whether they are."""
    import numpy as np

    from finetune.data.synthetic_world import zipf

    text = " ".join((ROOT / "finetune/training/recipes/worlds.yaml").read_text().replace("#", " ").split())
    told = re.search(
        r"Zipf ([\d.]+) over ([\d,]+) subjects and ([\d,]+) rows: the most popular subject is met ([\d,]+) "
        r"times, the median one (\d+) times",
        text,
    )
    assert told
    alpha, subjects, rows, most, middle = map(number, told.groups())
    preset = WORLDS["long-tail"]
    assert (alpha, subjects) == (preset.world.alpha, preset.world.subjects)
    assert rows == preset.base.steps * preset.base.batch
    met = zipf(int(subjects), alpha) / zipf(int(subjects), alpha).sum() * rows
    assert met[0] == pytest.approx(most, rel=0.005)
    assert np.median(met) == pytest.approx(middle, rel=0.05)


def test_worlds_of_single_experiments_are_their_settings() -> None:
    from finetune.data.synthetic_domains import DomainConfig
    from finetune.data.synthetic_world import LevelsConfig, WorldConfig

    text, levels = page("worlds.md"), LevelsConfig()
    steps = round(levels.rows / WORLDS["long-tail"].base.batch)
    assert (
        f"{len(levels.sightings)} levels of {levels.subjects} subjects, each fact met 1, 2, 4 ... 4,096"
        in text
    )
    assert levels.sightings == tuple(2.0**k for k in range(13))
    assert f"in {steps:,} steps of {WORLDS['long-tail'].base.batch} rows" in text
    domain = DomainConfig(world=WorldConfig(subjects=1500))
    assert domain.relations == 3
    assert domain.world.relations - domain.relations == 2
    others = domain.world.subjects - domain.general
    assert f"{domain.general} general subjects on three relations and {others} of a domain on two" in text
    assert f"met {domain.sightings:g} times (Zipf exponent {domain.alpha:g})" in text


def test_the_verdict_is_the_codes() -> None:
    from analyses.experiments.planted_truth.options import PlantedTruthOptions
    from interp.verdicts.base_knowledge import CHANCE
    from interp.verdicts.controls import CONTROLS, FEWEST_CONTROLS
    from interp.verdicts.diagnose import diagnose
    from interp.verdicts.diagnosis import VERDICTS
    from interp.verdicts.matching import ENOUGH_CONTROLS
    from interp.verdicts.preconditions import FEWEST_FACTS

    text = page("verdict.md")
    rows = rows_under(DOCS / "verdict.md", "| verdict | the base |")
    assert [row[0] for row in rows] == list(VERDICTS)
    rows = rows_under(DOCS / "verdict.md", "| controls | are |")
    assert [row[0].strip("`") for row in rows] == list(CONTROLS)
    assert f"Of fewer than {FEWEST_CONTROLS} never-stored facts" in text
    assert f"as long as there are {ENOUGH_CONTROLS} at most" in text
    assert f"*every* one of these answers is right (`knows={default(diagnose, 'knows')}`" in text
    assert f"not among the first {CHANCE:.0%}" in text
    assert f"fewer than {1 / CHANCE:.0f} answers" in text
    assert f"of which {default(PlantedTruthOptions, 'absent'):.0%} of the subjects are absent" in text
    assert f"met it at least {default(PlantedTruthOptions, 'met')} times" in text
    assert f"At least {FEWEST_FACTS}, of relations with several" in page("guide_checkpoints.md")


def test_intervals_rest_on_as_many_draws_as_they_say() -> None:
    from interp import stats
    from interp.stats.bootstrap import RESAMPLES

    text = page("measurements.md")
    assert f"({RESAMPLES:,} draws" in text
    assert default(stats.estimate, "confidence") == default(stats.over_seeds, "confidence") == 0.95


def test_the_scores_are_the_registry() -> None:
    from interp.selection.scores import DEFAULT, SCORES

    rows = rows_under(DOCS / "which_data.md", "| score | what it is |")
    found: dict[str, list[str]] = {}
    for row in rows:
        for name in re.findall(r"`(\w+)`", row[0]):
            found[name] = row
    assert list(found) == list(SCORES)
    needed = {"subject": "subject", "relation": "relation", "popularity": "popularity", "weights": "adapter"}
    for name, score in SCORES.items():
        passes = re.findall(r"\d+", found[name][2])
        position = re.findall(r"`(\w+)`", found[name][0]).index(name)
        assert float(passes[position % len(passes)]) == score.forwards, name
        if not score.is_placebo:
            told = {key for key, word in needed.items() if word in found[name][3]}
            assert told == set(score.needs), name
    assert DEFAULT == "statement"


def test_defaults_of_which_data_and_the_contest_are_the_codes() -> None:
    from analyses.experiments.selection_contest.claims import MARGIN
    from analyses.experiments.selection_contest.setups import SMALL, WAYS
    from analyses.experiments.which_data.options import WhichDataOptions
    from finetune.evaluation import consistency
    from interp.selection import candidates
    from interp.selection import internal_scores as inside

    text = page("which_data.md")
    for row in rows_under(DOCS / "which_data.md", "| option | does |"):
        flag, _, value = row[0].strip("`").partition(" ")
        held = default(WhichDataOptions, flag.removeprefix("--").replace("-", "_"))
        if re.fullmatch(r"[\d.]+", value):
            assert number(value) == held, row[0]
    assert f"{candidates.CHUNK:,} at a time" in text
    assert f"or {inside.REFERENCE} of the quarter of the candidates" in text
    assert f"at temperature {consistency.TEMPERATURE:g} is the canonical answer" in text
    assert f"WeaklyKnown if {consistency.SAMPLES} draws a prompt" in text
    assert f"a set may be {100 * MARGIN:g} points of held-out accuracy behind" in text
    assert candidates.SHOTS == 2
    assert set(WAYS) - set(SMALL) == {"consistency", "maybe_known"}
    assert "all scores but `consistency` and `maybe_known`" in text


def test_the_contests_table_is_what_contests_found() -> None:
    """Against expected_gains.json, which is made of the contests' results: held-out accuracy, all facts."""
    kept = json.loads((ROOT / "analyses" / "experiments" / "which_data" / "expected_gains.json").read_text())
    settings = [
        "popqa, full fine-tuning, seeds 0 1 2",
        "world long-tail, full fine-tuning, seeds 0 1 2",
        "world long-tail, full fine-tuning, seeds 3 4 5",
        "world long-tail with a domain of rare facts, full fine-tuning, seeds 0 1 2",
        "world long-tail, 1 of its relations, full fine-tuning, seeds 0 1 2",
    ]
    for score in ("statement_even", "statement"):
        by_setting = {each["setting"]: each for each in kept[score]}
        assert set(settings) == set(by_setting)
        rows = {row[0]: row[1:] for row in rows_under(DOCS / "which_data.md", f"| half by `{score}` less")}
        for label, rival in (
            ("all facts", "whole"),
            ("popular half", "popularity"),
            ("random half", "random"),
        ):
            for cell, setting in zip(rows[label], settings, strict=True):
                told = [number(part) for part in INTERVAL.search(cell.replace("*", "")).groups()]  # type: ignore[union-attr]
                assert told == pytest.approx([100 * v for v in by_setting[setting][rival]], abs=0.051), (
                    setting
                )


def test_cures_and_their_settings_are_the_codes() -> None:
    from analyses.experiments.mitigations import (
        case,
        numbers,
    )
    from analyses.experiments.mitigations import (
        during_training as during,
    )
    from analyses.experiments.mitigations import (
        strength as choosing,
    )
    from analyses.experiments.mitigations import (
        treatments as treating,
    )
    from finetune.training import mitigation_losses as teaching

    text = page("mitigations.md")
    assert f"has at most {teaching.WORDS:,} tokens, beyond that the {teaching.TOP} likeliest" in text
    assert f"at least {numbers.GOAL:.0%} of the suppressed facts restored at a cost of at most" in text
    assert f"at most {100 * choosing.ALLOWED:g} points of the rest" in text
    assert choosing.ALLOWED == 0.02
    assert f"(a draw of {case.TRAINED:,} at most)" in text
    assert "that lose at most two points of the validation facts" in text
    assert during.DURING["W_Q and W_K at a tenth of the rate"](_nobody()).settings == {"qk_rate": 0.1}
    assert "the slower rate (a tenth)" in text
    known = {*treating.CURES, *treating.PLACEBOS, *treating.REFERENCES}
    summed = "any move of weights towards the base"  # several cures in a line
    for header in ("| cure | restored, %: unseen", "| cure | restored, % |"):
        for row in rows_under(DOCS / "mitigations.md", header):
            name = re.sub(r" \((?:placebo|reference)\)$", "", row[0]).strip("*")
            assert name in known or name == summed, name


def test_tables_of_cures_are_what_the_findings_say() -> None:
    claims = {}
    for row in rows_under(DOCS / "claims.md", "| claim |"):
        if told := re.match(r"(.*): (restores at least|costs at most 2 points of the other)", row[0]):
            claims[told[1], told[2].split()[0], row[-1].split("]")[0].strip("[")] = row[3]
    compared = 0
    for header, run in (
        ("| cure | restored, %: unseen", "mitigations_unseen"),
        ("| cure | restored, % |", "mitigations_popqa"),
    ):
        for row in rows_under(DOCS / "mitigations.md", header):
            for column, what in ((1, "restores"), (2, "costs")):
                claim, cell = claims.get((row[0].strip("*"), what, run)), INTERVAL.search(row[column])
                if claim and cell:
                    found = INTERVAL.search(claim)
                    assert found
                    assert tuple(map(number, cell.groups())) == tuple(map(number, found.groups())), row[0]
                    compared += 1
    assert compared > 20


def _nobody() -> Any:
    class Nobody:
        own = ()

    return Nobody()


def test_the_parts_of_an_intervention_are_the_codes() -> None:
    from interp.patching import interventions, recording
    from interp.patching import positions as roles

    rows = {row[0].strip("`"): row[1] for row in rows_under(DOCS / "interventions.md", "| part | choices |")}
    assert set(rows) == {field.name for field in dataclasses.fields(interventions.Intervention)} - {
        *("layers", "heads", "facts")
    } | {"layers`, `heads`, `facts"}
    assert re.findall(r"`(\w+)`", rows["site"]) == list(get_args(recording.Site))
    assert set(re.findall(r"`(\w+)`", rows["at"])) == set(get_args(roles.Role))
    actions = {each.__name__ for each in get_args(interventions.Action)}
    assert set(re.findall(r"`(\w+)\(", rows["do"])) == actions


def test_the_proxies_are_the_codes() -> None:
    from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions
    from analyses.experiments.popularity_proxies.proxies import PROXIES

    rows = rows_under(DOCS / "popularity.md", "| name | what it measures |")
    assert [row[0].strip("`") for row in rows] == list(PROXIES)
    for row, proxy in zip(rows, PROXIES.values(), strict=True):
        assert row[2].strip("`-") == proxy.needs
        assert (row[3] == "yes") == proxy.signed
    assert default(PopularityProxiesOptions, "shots") == 4
    assert "four at most (`--shots`)" in page("popularity.md")


def test_training_is_told_as_it_is_done() -> None:
    from finetune.training import callbacks as fitting
    from finetune.training.config import TuneConfig

    text = page("training.md")
    assert "warmup=min(10, steps // 5)" in (ROOT / "finetune" / "training" / "train.py").read_text()
    assert "linear warm-up (10 steps, or a fifth of a short training)" in text
    assert (fitting.FIRST_SAVE, fitting.SAVING_SHARE) == (60.0, 1 / 20)
    assert "the first after a minute, then so that saving takes a twentieth of the time" in text
    fields = {field.name for field in dataclasses.fields(TuneConfig)}
    for row in rows_under(DOCS / "training.md", "| setting | what it does |"):
        assert {name.split("=")[0] for name in re.findall(r"`(\w+)`", row[0])} <= fields


def test_real_facts_are_told_as_they_are_trained_on() -> None:
    assert REAL_TEXT.exponent == 0.5
    assert "sampled by the square root of their popularity" in page("guide_facts.md")
    assert f"({REAL_BASE.steps:,} steps)" in page("real_scale.md")


def test_every_experiment_is_in_the_table() -> None:
    rows = rows_under(DOCS / "experiments.md", "| script | question |")
    listed = {row[0].strip("`").removesuffix(".py") for row in rows}
    rooms = (ROOT / "analyses" / "experiments").glob("*/experiment.py")
    grids = {path.parent.name for path in rooms if "Experiment.of_grid(" in path.read_text()}
    assert listed == grids - {"popularity_splits"}  # has a page of its own
    theory = default(import_module("analyses.one_layer_theory").OneLayerTheoryOptions, "seeds")
    assert f"(3 of its {len(theory)} seeds)" in next(row[2] for row in rows if "theory" in row[0])


def test_findings_counts_its_own_claims() -> None:
    from interp.reports.pages.study import OUTCOMES

    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    each = r"(\d+) supported, (\d+) not supported, (\d+) inconclusive, (\d+) not measured"
    told = re.search(
        rf"(\d+) claims from (\d+) runs, after correction: {each}; each by its own interval: {each}", text
    )
    assert told
    rows = rows_under(DOCS / "claims.md", "| claim |")
    after, own = Counter(row[-2] for row in rows), Counter(row[-4] for row in rows)
    assert set(after) | set(own) <= set(OUTCOMES)
    found = [len(rows), len({row[-1] for row in rows})]
    assert [*found, *(of[name] for of in (after, own) for name in OUTCOMES[:4])] == list(
        map(int, told.groups())
    )
    assert f"{told[1]} claims of {told[2]} runs" in page("findings.md")


def test_corrected_outcomes_follow_from_corrected_p() -> None:
    """An outcome is kept where the corrected p is at most 0.05."""
    rows = rows_under(DOCS / "claims.md", "| claim |")
    for row in rows:
        own, p, after = row[-4], row[-3], row[-2]
        if p == "0.0500":  # rounded to the bound
            continue
        kept = p.startswith("&lt;") or (p != "" and number(p) <= 0.05)
        assert after == (own if kept or own == "not measured" else "inconclusive"), row


@pytest.mark.parametrize("path", [*PAGES, *sorted((ROOT / "notebooks").glob("*.ipynb"))], ids=named)
def test_every_value_on_a_page_lies_inside_its_interval(path: Path) -> None:
    wrong = ("0.746", "0.090", "0.219")  # docs/corrections.md tells of it
    for told in INTERVAL.findall(path.read_text(encoding="utf-8")):
        value, low, high = map(number, told)
        assert low <= value <= high or told == wrong, told


def test_the_readme_counts_what_there_is() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    words = {5: "five", 6: "six", 7: "seven", 8: "eight"}
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert f"{words[len(notebooks)]} notebooks" in text.replace("[", "").replace("]", "")
    assert f"{words[len(notebooks)]} notebooks among them" in page("what_to_expect.md")
    assert len(text.split()) <= 1000, "a README that is read"
    assert all(path.name in text for path in notebooks)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in text
    for target in re.findall(r"^make (\w+)", "\n".join(code for _, code in FENCE.findall(text)), re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_main_table_of_what_to_expect_is_what_the_findings_say() -> None:
    """The gap and the transplant of eight trainings of the long-tail world, and of mixtures and domains."""
    known = {tuple(map(number, told)) for told in INTERVAL.findall((DOCS / "claims.md").read_text())}
    rows = {
        row[0].strip("*"): row[1]
        for row in rows_under(DOCS / "what_to_expect.md", "| | `long-tail` world, seeds 0 to 7")
    }
    for label in (
        "top − bottom, accuracy",
        "top − bottom, raw attention mass",
        "transplant − placebo, points",
    ):
        told = INTERVAL.search(rows[label])
        assert told
        assert tuple(map(number, told.groups())) in known, label


def test_the_citation_is_valid_and_of_this_version() -> None:
    """By the Citation File Format 1.2.0: what it requires, and the kinds of its values."""
    held = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(held)
    assert held["cff-version"] == "1.2.0"
    assert (held["title"], held["version"], held["license"]) == (
        project["name"],
        project["version"],
        project["license"],
    )
    assert held["type"] in ("software", "dataset")
    assert held["authors"] == [{"name": "The factscope authors"}]
    assert len(set(held["keywords"])) == len(held["keywords"])
    allowed = {
        *("type", "title", "authors", "collection-title", "conference", "year", "identifiers", "url"),
    }
    for reference in held["references"]:
        assert {"type", "title", "authors"} <= set(reference) <= allowed
        assert isinstance(reference["year"], int)
        for each in reference["identifiers"]:
            assert each["type"] in ("doi", "url", "swh", "other")
            assert each["value"]
    assert any("2406.14785" in reference["url"] for reference in held["references"])


def test_the_changelog_keeps_what_is_coming_on_top() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", text, re.M)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert heads[0] == "Unreleased"
    assert heads[1].split(" ")[0].strip("[]") == version
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= kinds
