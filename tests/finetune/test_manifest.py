"""A run directory is whole or absent, belongs to one configuration, and can be continued."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from finetune.common.errors import InputError, LeftOut
from finetune.common.files import atomic_directory, atomic_file, content_hash, read_json, write_json
from finetune.common.run_directory import RunDirectory


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail_in_file():
        with atomic_file(tmp_path / "a.txt") as path:
            path.write_text("half")
            raise RuntimeError("disk")

    def fail_in_directory():
        with atomic_directory(tmp_path / "d") as path:
            (path / "a.txt").write_text("half")
            raise RuntimeError("disk")

    for fail in (fail_in_file, fail_in_directory):
        with pytest.raises(RuntimeError, match="disk"):
            fail()
    assert list(tmp_path.iterdir()) == []


def test_nan_is_refused_in_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_hash_sees_names_and_contents(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = content_hash(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert content_hash(tmp_path / "d") != first


def test_same_configuration_continues_and_another_is_refused(tmp_path):
    out = tmp_path / "run"
    run = RunDirectory(out, {"world": "tiny", "seeds": (0,)})
    assert not out.exists(), "nothing is written before there is something to write"
    run.write(seeds=[0], left_out=[LeftOut(where="f.tsv:3", reason="no answer")], finished=True)
    again = RunDirectory(out, {"world": "tiny", "seeds": (0,)})
    assert again.finished
    assert read_json(out / "manifest.json")["left_out"] == [{"where": "f.tsv:3", "reason": "no answer"}]
    with pytest.raises(InputError, match="world is tiny there and long-tail here"):
        RunDirectory(out, {"world": "long-tail", "seeds": (0,)})


def test_a_run_of_another_analysis_with_the_same_settings_is_refused(tmp_path):
    RunDirectory(tmp_path / "run", {"seed": 0}, analysis="mixture_sweep").write(seeds=[0], finished=True)
    assert RunDirectory(tmp_path / "run", {"seed": 0}, analysis="mixture_sweep").finished
    with pytest.raises(InputError, match="holds a run of mixture_sweep"):
        RunDirectory(tmp_path / "run", {"seed": 0}, analysis="depth_sweep")


def test_directories_that_hold_something_else_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        RunDirectory(tmp_path / "file", {})
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(InputError, match="hold"):
        RunDirectory(tmp_path / "thesis", {})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text(json.dumps({"version": 0, "config": {}}))
    with pytest.raises(InputError, match="layout version 0"):
        RunDirectory(tmp_path / "old", {})


@pytest.mark.parametrize(("held", "wanted"), [(None, 0), (None, 0.0), (0, None), (1, 0), ("", 0)])
def test_a_setting_of_nought_is_one(tmp_path, held, wanted):
    RunDirectory(tmp_path / "run", {"exponent": held}).write(seeds=(0,), finished=True)
    with pytest.raises(InputError, match="holds another run"):
        RunDirectory(tmp_path / "run", {"exponent": wanted})
    # An option that an older program did not have says nothing where it is 0 or off.
    for added in (0, None, False, []):
        RunDirectory(tmp_path / "run", {"exponent": held, "added": added})


def test_inputs_are_those_that_the_next_start_looks_for(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "weights").write_text("1")
    for _ in range(2):
        run = RunDirectory(tmp_path / "run", {}, inputs={"base": str(base)})
        run.write(seeds=(0,), finished=True, inputs={"base": "of the same by another name", "facts": "f"})
    held = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert held["inputs"] == {"base": content_hash(base), "facts": "f"}
    (base / "weights").write_text("2")
    with pytest.raises(InputError, match="the files of base have changed"):
        RunDirectory(tmp_path / "run", {}, inputs={"base": str(base)})


def test_who_finds_another_process_at_work_removes_nothing(tmp_path):
    late = RunDirectory(tmp_path / "run", {})
    code = (
        "import sys; from pathlib import Path; from finetune.common.run_directory import RunDirectory\n"
        f"run = RunDirectory(Path({str(tmp_path / 'run')!r}), {{}}); run.write(seeds=(0,))\n"
        "print('there', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "there\n"
        with pytest.raises(InputError, match="another process is at work"):
            late.write(seeds=(0,))
        late.discard()
        assert (tmp_path / "run" / "manifest.json").is_file()
        other.communicate("")
