"""The list of findings: every claim of every run, nothing of this machine, and only finished runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from analyses import findings
from analyses.common.claims import claims_on_arms, claims_on_planted_truth, claims_on_verdicts
from analyses.experiments.findings import page as findings_page
from finetune.common.errors import InputError
from interp.reports.pages.study import decide_claim
from interp.reports.pages.study_files import write_claims
from interp.reports.read.results import Results


def number(value: float, half: float = 0.01) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "n": 3}


def made(run: Path, *, finished: bool = True, claims: bool = True) -> Path:
    run.mkdir(parents=True)
    command = (
        f"python /home/someone/analyses/mixture_sweep.py --out {run.resolve()} --cache /x/y/cache --seeds 0"
    )
    manifest = {"finished": finished, "command": command, "seeds": [0, 1], "setting": "world | tiny"}
    (run / "manifest.json").write_text(json.dumps(manifest))
    if claims:
        numbers = {"a | b <c>": 1.0, "d": -0.01001, "e": 0.001}
        write_claims(run, [decide_claim(claim, "paper", number(value)) for claim, value in numbers.items()])
    return run


def test_the_page_lists_every_claim_and_how_to_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [made(tmp_path / "runs" / name) for name in ("one", "two")]
    out = tmp_path / "docs" / "findings.md"
    monkeypatch.setattr(sys, "argv", ["findings.py", *map(str, runs), "--out", str(out)])
    assert findings.main() == 0
    text = out.read_text()
    told = "6 claims from 2 runs, after correction: 2 supported, 4 inconclusive; each by its own interval: "
    assert f"{told}2 supported, 2 not supported, 2 inconclusive." in text
    rows = [line for line in text.splitlines() if line.startswith(("| a", "| d"))]
    assert rows[0].startswith(
        r"| a \| b &lt;c> | paper | world \| tiny | +1.0 (+1.0 to +1.0), n = 3 | supported | "
    )
    assert rows[0].endswith(" | supported | [one](#one) |")
    assert rows[1].endswith(" | inconclusive | [one](#one) |")
    assert "python analyses/mixture_sweep.py --out runs/two --cache cache --seeds 0" in text
    assert str(tmp_path) not in text
    assert "How many popular facts should a fine-tuning set hold" in text


def test_claims_without_their_bounds_are_refused(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    held = json.loads((run / "claims.json").read_text())
    (run / "claims.json").write_text(json.dumps([{k: v for k, v in held[0].items() if k != "above"}]))
    with pytest.raises(InputError, match=r"run: its claims do not say their bounds.*make it again"):
        findings_page.RunFindings.load(run)


def test_a_setting_is_shortened_for_the_table() -> None:
    assert findings_page.brief("world tiny, full fine-tuning") == "world tiny, full fine-tuning"
    long = 'The embedded world "tiny" (a smoke test); full fine-tuning on a question form.'
    assert findings_page.brief(long) == 'The embedded world "tiny"'
    real = "Real facts from popqa.tsv, a small base pretrained on them here; full fine-tuning on a form"
    assert findings_page.brief(real) == "Real facts from popqa.tsv"


@pytest.mark.parametrize(
    ("how", "problem"), [({"finished": False}, "is not finished"), ({"claims": False}, "decides no claim")]
)
def test_a_run_that_decides_nothing_is_refused(tmp_path: Path, how: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        findings_page.RunFindings.load(made(tmp_path / "run", **how))
    with pytest.raises(InputError, match=r"no manifest\.json"):
        findings_page.RunFindings.load(tmp_path)


def test_the_papers_claims_are_decided_by_the_main_jobs_contrasts() -> None:
    gap = {"accuracy": number(-0.1), "accuracy_known": number(0.3), "subject_attention": number(0.0)}
    results = {"contrasts": {"top_minus_bottom": gap}, "recovery": {"difference": number(0.2)}}
    outcomes = [claim.outcome for claim in claims_on_arms(Results.of(results))]
    assert outcomes == ["supported", "not supported", "inconclusive", "supported"]
    assert claims_on_arms(Results.of({"contrasts": {"mine_minus_base": gap}, "recovery": {}})) == ()


def test_lost_facts_must_beat_those_that_nothing_stores() -> None:
    arms = {"a": {"stored_above_never": number(0.005)}, "b": {"stored_above_never": number(0.3)}}
    assert [claim.outcome for claim in claims_on_verdicts(Results.of({"arms": arms}))] == [
        "inconclusive",
        "supported",
    ]


def test_without_a_lesson_nothing_is_said_of_recovery() -> None:
    natural = {"called": {"rule_any": {"of_lost": number(0.9), "of_never": number(0.0)}}}
    natural["auroc"] = {"stated": number(1.0)}
    made = claims_on_planted_truth(Results.of({"cells": {"natural_routing_asked": natural}}))
    assert next(claim.outcome for claim in made if "AUROC" in claim.claim) == "not measured"


@pytest.mark.parametrize(
    ("rate", "outcome"), [(0.02, "supported"), (0.05, "inconclusive"), (0.2, "not supported")]
)
def test_false_positives_are_held_against_what_is_allowed(rate: float, outcome: str) -> None:
    lesson = {"auroc": {"stated": number(0.9)}}
    natural = {
        "called": {"rule_any": {"of_lost": number(0.7), "of_never": number(rate)}},
        "lesson": {"after_30": lesson},
    }
    noise = {"verdicts": {"suppressed_intact": number(0.3)}}
    cells = {"natural_routing_asked": natural, "noise_values_asked": noise}
    made = claims_on_planted_truth(Results.of({"cells": cells}))
    by_place = {claim.claim: claim for claim in made}
    spared = next(claim for text, claim in by_place.items() if "never-stored" in text)
    assert spared.outcome == outcome
    other = {text: claim.outcome for text, claim in by_place.items() if claim is not spared}
    assert sorted(other.values()) == ["not supported"] * 2 + ["supported"]
    assert next(o for text, o in other.items() if "AUROC" in text) == "supported"
    assert spared.number["value"] == pytest.approx(0.05 - rate)
    assert spared.number["low"] < spared.number["high"]
