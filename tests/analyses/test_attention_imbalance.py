"""The main job as its users run it: a command, its files, its resumption, its errors."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from safetensors import SafetensorError

from analyses import attention_imbalance
from analyses.common.experiment import Experiment
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.synthetic_world import make_world
from finetune.training.presets import WORLDS

SCRIPT = Path(attention_imbalance.__file__)
ARMS = ("base", "top", "bottom", "random", "whole")
ESTIMATE = {
    "type": "object",
    "required": ["value", "low", "high", "n"],
    "additionalProperties": False,
    "properties": {
        "value": {"type": ["number", "null"]},
        "low": {"type": ["number", "null"]},
        "high": {"type": ["number", "null"]},
        "n": {"type": "integer", "minimum": 0},
    },
}


def _object(names, value):
    return {"type": "object", "required": list(names), "properties": dict.fromkeys(names, value)}


QUARTILES = _object(("q1", "q2", "q3", "q4"), ESTIMATE)
ARM = _object(("accuracy", "accuracy_known", "subject_attention"), ESTIMATE)
ARM = {**ARM, "required": [*ARM["required"], "accuracy_by_quartile"]}
ARM["properties"] = {**ARM["properties"], "accuracy_by_quartile": QUARTILES}
CONTRAST = _object(("accuracy", "accuracy_known", "subject_attention"), ESTIMATE)
SCHEMA = _object(("arms", "contrasts", "recovery", "seeds"), {"type": "object"})
SCHEMA["properties"] = {
    "arms": _object(ARMS, ARM),
    "contrasts": _object(("top_minus_bottom",), CONTRAST),
    "recovery": _object(("pattern_only", "placebo", "difference"), ESTIMATE),
    "seeds": {"type": "object", "minProperties": 1},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def command(out, cache, *more):
    return [sys.executable, str(SCRIPT), "--world", "tiny", "--out", str(out), "--cache", str(cache), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A finished run of the command, called in this process, and what it printed."""
    out, printed = tmp_path_factory.mktemp("runs") / "tiny", io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
        patched.setattr(sys, "argv", command(out, cache)[1:])
        assert attention_imbalance.main() == 0
    return out, printed.getvalue()


def test_the_command_prints_the_table_and_where_the_report_is(finished):
    out, printed = finished
    assert all(arm in printed for arm in ARMS)
    assert str(out / "report.html") in printed
    assert (out / "report.html").stat().st_size < 5e6


def test_results_follow_the_contract(finished):
    out, _ = finished
    results = read_json(out / "results.json")
    jsonschema.validate(results, SCHEMA)
    for figure in ("accuracy_by_quartile", "attention_by_head", "fact_attention"):
        assert (out / "figures" / f"{figure}.png").stat().st_size > 1000
        assert (out / "figures" / f"{figure}.svg").is_file()
    manifest = read_json(out / "manifest.json")
    assert manifest["finished"]
    assert manifest["versions"]["torch"]
    assert manifest["facts"]["test"] == results["arms"]["top"]["accuracy"]["n"]


def test_every_headline_number_follows_from_the_table_of_facts(finished):
    out, _ = finished
    results, facts = read_json(out / "results.json"), pd.read_parquet(out / "facts.parquet")
    assert set(facts["arm"]) == set(ARMS)
    by_arm = {arm: rows.set_index("fact_id") for arm, rows in facts.groupby("arm")}
    for arm, rows in by_arm.items():
        told = results["arms"][arm]
        assert told["accuracy"]["value"] == pytest.approx(rows["correct"].mean())
        assert told["accuracy_known"]["n"] == rows["known"].sum()
        assert told["subject_attention"]["value"] == pytest.approx(np.stack(rows["mass"]).mean(), rel=1e-5)
        assert (rows["subject_attention_raw"] <= rows["subject_attention"]).all()
        for name in ("subject_attention_raw", "subject_attention_recall", "value_weighted_share"):
            assert told[name]["value"] == pytest.approx(rows[name].mean(), rel=1e-5)
            assert told[name]["n"] == rows[name].notna().sum()
        quartile = rows[rows["quartile"] == 1]
        assert told["accuracy_by_quartile"]["q1"]["value"] == pytest.approx(quartile["correct"].mean())
        assert quartile["popularity"].min() >= rows[rows["quartile"] == 2]["popularity"].max()
    difference = by_arm["top"]["subject_attention"] - by_arm["bottom"]["subject_attention"]
    assert results["contrasts"]["top_minus_bottom"]["subject_attention"]["value"] == pytest.approx(
        difference.mean(), rel=1e-5
    )
    tried = by_arm["bottom"]["recovered"].notna()
    assert (tried == (by_arm["top"]["correct"] & ~by_arm["bottom"]["correct"])).all()


def test_the_same_command_again_does_nothing_and_another_is_refused(finished, cache):
    out, _ = finished
    before = (out / "results.json").stat().st_mtime_ns
    options = {"world": "tiny", "out": out, "cache": cache, "quiet": True}
    assert attention_imbalance.run(AttentionImbalanceOptions(**options)) == out
    assert (out / "results.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds another run"):
        attention_imbalance.run(AttentionImbalanceOptions(**options, seeds=(1,)))


def test_a_killed_run_continues_to_the_same_results(finished, cache, tmp_path):
    whole, _ = finished
    out = tmp_path / "killed"
    process = subprocess.Popen(command(out, cache), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "seeds/0/answers/top.parquet").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    trained = (out / "seeds/0/arms/top").stat().st_mtime_ns
    attention_imbalance.run(AttentionImbalanceOptions(world="tiny", out=out, cache=cache))
    assert read_json(out / "results.json") == read_json(whole / "results.json")
    assert (out / "seeds/0/arms/top").stat().st_mtime_ns == trained, "finished stages are not repeated"


@pytest.fixture(scope="module")
def own(finished, tmp_path_factory):
    """A run on checkpoints of one's own, which are the first run's arms, and its options as words."""
    whole, folder = finished[0], tmp_path_factory.mktemp("own")
    ids = set(pd.read_parquet(whole / "facts.parquet")["fact_id"])
    table = _table(make_world(WORLDS["tiny"].world, seed=0), ids, folder / "facts.csv")
    arms = [f"{arm}={next((whole / 'seeds/0/arms' / arm).iterdir())}" for arm in ("top", "bottom", "whole")]
    base = str(_base_of(whole))
    attention_imbalance.run(
        AttentionImbalanceOptions(
            out=folder / "run", base=base, finetuned=tuple(arms), facts=str(table), quiet=True
        )
    )
    return folder / "run", ["--base", base, "--finetuned", *arms, "--facts", str(table), "--quiet"]


def test_own_checkpoints_measure_what_the_arms_measured(finished, own):
    """The third way in, given the first one's checkpoints and facts, must find the first one's numbers."""
    rows = pd.read_parquet(finished[0] / "facts.parquet")
    measured = pd.read_parquet(own[0] / "facts.parquet").set_index(["arm", "fact_id"])
    assert set(measured.index.get_level_values("arm")) == {"base", "top", "bottom", "whole"}
    told = rows.set_index(["arm", "fact_id"]).loc[measured.index]
    assert (measured["correct"] == told["correct"]).all()
    assert measured["subject_attention"].to_numpy() == pytest.approx(told["subject_attention"], abs=1e-5)


def _base_of(run):
    return Path(read_json(run / "seeds/0/checkpoints.json")["base"])


def _table(facts: FactSet, keep: set[str], path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "subject", "relation", "answer", "question", "popularity"])
        for f in facts:
            if f.id in keep:
                question = f"what {f.relation} does {f.subject} have?"
                writer.writerow([f.id, f.subject, f.relation, f.answer, question, f.popularity])
    return path


POPQA = "id subj prop obj s_pop o_pop question possible_answers".split()


def popqa_row(i, **changed):
    subject = f"Zoë Müller-Łuków {i}"
    row = {
        "id": i,
        "subj": subject,
        "prop": "capital",
        "obj": ["Łódź", "São Paulo", "東京"][i % 3],
        "s_pop": 10 + i * i,
        "o_pop": 5,
        "question": f"What is the capital of {subject}?",
        "possible_answers": json.dumps([["Łódź", "São Paulo", "東京"][i % 3]], ensure_ascii=False),
    }
    return {**row, **changed}


def write_popqa(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, POPQA, delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_real_facts_with_bad_rows_run_and_say_what_was_left_out(tmp_path, cache):
    rows = [popqa_row(i) for i in range(120)]
    rows += [popqa_row(3), popqa_row(200, possible_answers="[]"), popqa_row(201, s_pop="-4")]
    rows += [popqa_row(202, question="What is the capital of it?"), popqa_row(203, s_pop="")]
    file = write_popqa(tmp_path / "facts.tsv", rows)
    options = AttentionImbalanceOptions(
        out=tmp_path / "run",
        facts=str(file),
        pretrain_steps=4,
        tune_steps=2,
        learning_rates=(1e-3,),
        cache=cache,
    )
    attention_imbalance.run(options)
    manifest = read_json(tmp_path / "run/manifest.json")
    assert manifest["facts"]["total"] == 120
    where = {item["where"].rsplit(":", 1)[-1] for item in manifest["left_out"]}
    assert where == {"122", "123", "124", "125", "126"}
    page = (tmp_path / "run/report.html").read_text()
    assert "facts.tsv:123" in page
    jsonschema.validate(read_json(tmp_path / "run/results.json"), SCHEMA)


def test_two_processes_measure_what_one_measures(own, tmp_path):
    one, words = own
    two = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    launch += ["--log-dir", str(tmp_path / "logs"), "--tee", "3"]
    launch += [str(SCRIPT), *words, "--out", str(two)]
    done = subprocess.run(launch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {log.parent.name for log in (tmp_path / "logs").rglob("stderr.log")} == {"0", "1"}, "two processes"
    assert read_json(one / "results.json") == read_json(two / "results.json")


def test_a_training_runs_checkpoints_are_taken_in_order_of_steps():
    paths = ("run/checkpoint-100", "run/checkpoint-20", "other=x")
    options = AttentionImbalanceOptions(base="b", finetuned=paths, facts="f")
    options.check()
    assert list(options.own) == ["other", "checkpoint-20", "checkpoint-100"]
    assert options.own["checkpoint-20"] == "run/checkpoint-20"


BAD = {
    "missing file": (["--facts", "absent.tsv"], "absent.tsv"),
    "missing column": (["--facts", "{columns}"], "no column 'obj'"),
    "mostly malformed": (["--facts", "{malformed}"], "malformed"),
    "not a number of facts": (["--limit", "3"], "--limit 3"),
    "seed twice": (["--seeds", "1", "1"], "--seeds 1 1"),
    "adapter without base": (["--finetuned", "a=b"], "--base"),
    "base without facts": (["--base", "x", "--finetuned", "a=b"], "--facts"),
    "unnamed checkpoint": (["--base", "x", "--finetuned", "=dir", "--facts", "f"], "NAME=DIRECTORY"),
    "no checkpoint": (["--base", "{empty}", "--finetuned", "a={empty}", "--facts", "{good}"], "config.json"),
    "hub id offline": (
        ["--base", "no-one/nothing", "--finetuned", "a={empty}", "--facts", "{good}"],
        "no-one",
    ),
    "prompt format": (["--prompt-format", "Q:"], "{{question}}"),
    "batch tokens": (["--batch-tokens", "0"], "--batch-tokens"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line_and_leaves_nothing(case, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    columns = tmp_path / "columns.tsv"
    columns.write_text("id\tsubj\tprop\n1\ta\tb\n")
    places = {
        "empty": tmp_path / "empty",
        "columns": columns,
        "good": write_popqa(tmp_path / "good.tsv", [popqa_row(i) for i in range(60)]),
        "malformed": write_popqa(
            tmp_path / "malformed.tsv",
            [popqa_row(i, possible_answers="[]" if i % 3 else "[1") for i in range(30)],
        ),
    }
    arguments, expected = BAD[case]
    out = tmp_path / "run"
    filled = [a.format(**places) for a in arguments]
    monkeypatch.setattr(sys, "argv", ["attention_imbalance.py", "--out", str(out), *filled])
    assert attention_imbalance.main() == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert expected.format() in message
    assert not out.exists()


def test_help_needs_no_heavy_library():
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "import analyses.attention_imbalance as a\n"
        "try:\n    a.main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip().endswith("False False False")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 2),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), 2),
    ],
)
def test_an_interruption_says_how_to_continue(error, code, tmp_path, capsys, monkeypatch):
    def interrupted(self, options):
        raise error

    monkeypatch.setattr(sys, "argv", ["attention_imbalance.py", "--out", str(tmp_path / "run"), "--quiet"])
    monkeypatch.setattr(Experiment, "run", interrupted)
    assert attention_imbalance.main() == code
    assert "the same command continues" in capsys.readouterr().err
