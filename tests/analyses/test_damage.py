"""A run whose files were damaged, or that was killed, ends with the numbers of one that was left alone."""

from __future__ import annotations

import importlib.util
import multiprocessing
import shutil
import sys
import warnings
from pathlib import Path

import pytest

from analyses import attention_imbalance, popularity_splits
from analyses.common.checkpoints import import_checkpoints
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.common.progress import Notice
from finetune.common.run_directory import RunDirectory
from finetune.common.run_files import require_undamaged
from interp.reports.pages.report import report

RESULTS = ("results.json", "facts.parquet", "attention.json", "heads.json", "claims.json", "examples.json")


def options(home: Path, **more) -> AttentionImbalanceOptions:
    more = {"world": "tiny", "pretrain_steps": 60, "tune_steps": 10, "quiet": True, **more}
    return AttentionImbalanceOptions(out=home / "run", cache=home / "cache", **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    attention_imbalance.run(options(home))
    return home


@pytest.fixture
def copy(whole, tmp_path):
    """The finished run with its cache, to be damaged."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path


def same(home: Path, whole: Path) -> bool:
    return all((home / "run" / n).read_bytes() == (whole / "run" / n).read_bytes() for n in RESULTS)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_everywhere_at_once_changes_no_number(copy, whole):
    seed, run = copy / "run/seeds/0", copy / "run"
    flip(seed / "known.json")
    flip(seed / "answers/top.parquet")
    (seed / "answers/base.parquet").write_bytes(b"")
    (seed / "readings/bottom.safetensors").unlink()
    flip(seed / "readings/top.parquet")
    flip(seed / "transplant.json")
    (seed / "example.json").write_text("{")
    (seed / "arms/top/lr-0.001/tokenizer.json").unlink()
    flip(seed / "arms/bottom/lr-0.001/model.safetensors")
    (base,) = (p for p in (copy / "cache/bases").iterdir() if p.is_dir())
    (base / "generation_config.json").unlink()
    (run / "results.json").write_text("{}")
    with pytest.warns(Notice) as told:
        attention_imbalance.run(options(copy))
    assert same(copy, whole)
    assert len({str(each.message) for each in told if each.category is Notice}) == 10
    names = {p.relative_to(copy) for p in copy.rglob("*")}
    assert names == {p.relative_to(whole) for p in whole.rglob("*")}


def test_a_finished_run_notices_what_is_damaged_and_makes_it_again(copy, whole):
    names = ("facts.parquet", "figures/attention_by_head.svg", "report.html", "results.json")
    for name in names:
        flip(copy / "run" / name)
        with pytest.raises(InputError, match="not as its run wrote it"):
            require_undamaged(copy / "run", name)
    with pytest.warns(Notice) as told:
        attention_imbalance.run(options(copy))
    (words,) = {str(each.message) for each in told if "as the run wrote it" in str(each.message)}
    assert any(name in words for name in names)
    assert " and 3 more are not as the run wrote it" in words
    assert same(copy, whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        attention_imbalance.run(options(copy))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "config": 3, "timings": {}}']
)
def test_a_damaged_manifest_is_told(copy, text):
    (copy / "run/manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        attention_imbalance.run(options(copy))


def test_a_page_that_is_drawn_again_is_no_damage(copy):
    (copy / "run/report.html").write_text("")
    report(copy / "run")
    held = read_json(copy / "run/manifest.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        assert RunDirectory(copy / "run", held["config"], analysis=held["analysis"]).finished


def test_an_older_version_s_run_is_continued_with_a_notice(copy, whole):
    for path in [*(copy / "run").rglob("checksums.json"), *(copy / "run").rglob("checksums.jsonl")]:
        path.unlink()
    manifest = read_json(copy / "run/manifest.json")
    del manifest["files"]
    write_json(copy / "run/manifest.json", manifest)
    with pytest.warns(Notice, match="cannot be verified"):
        attention_imbalance.run(options(copy))
    write_json(copy / "run/manifest.json", {**manifest, "finished": False})
    with pytest.warns(Notice, match="cannot be verified"):
        attention_imbalance.run(options(copy))
    assert same(copy, whole)


def _hold(home, held, end):
    run = RunDirectory(home, {"a": 1})
    run.write(seeds=[0])
    held.set()
    end.wait(60)


def test_two_processes_do_not_work_in_one_run_directory(tmp_path):
    fork = multiprocessing.get_context("fork")
    held, end = fork.Event(), fork.Event()
    other = fork.Process(target=_hold, args=(tmp_path / "run", held, end))
    other.start()
    assert held.wait(60)
    run = RunDirectory(tmp_path / "run", {"a": 1})
    with pytest.raises(InputError, match="another process is at work there"):
        run.write(seeds=[0])
    end.set()
    other.join()
    run.write(seeds=[0])
    RunDirectory(tmp_path / "run", {"a": 1}).write(seeds=[0], finished=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["manifest.json"]


def test_a_run_killed_before_its_first_manifest_can_be_started_again(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").touch()
    RunDirectory(tmp_path / "run", {}).write(seeds=[0])
    assert read_json(tmp_path / "run/manifest.json")["seeds"] == [0]


def test_a_grid_makes_damaged_cells_and_preparations_again_and_hands_on_what_is_whole(tmp_path):
    def grid(out):
        given = {"facts": ("world:tiny",), "arms": ("top", "bottom"), "seeds": (0,), "steps": 4}
        return popularity_splits.PopularitySplitsOptions(
            **given,
            learning_rates=(1e-3,),
            pretrain_steps=12,
            analyse=(),
            workers=1,
            out=out,
            cache=tmp_path / "cache",
            quiet=True,
        )

    out = popularity_splits.run(grid(tmp_path / "run"))
    before = {n: (out / n).read_bytes() for n in ("results.json", "facts.parquet")}
    (handed,) = (out / "handed_on").iterdir()
    assert list(import_checkpoints(handed).arms) == ["top", "bottom"]
    (data,) = (p for p in (out / "data").iterdir() if p.is_dir())
    one, two, *_ = sorted(p for p in (out / "cells").iterdir() if (p / "checkpoint").is_dir())
    flip(data / "partition.json")
    flip(one / "facts.parquet")
    (two / "checkpoint/adapter_config.json").unlink()
    flip(handed / "prompts.jsonl")
    with pytest.raises(InputError, match=r"prompts\.jsonl is not as it was handed on"):
        import_checkpoints(handed)
    with pytest.warns(Notice):
        popularity_splits.run(grid(tmp_path / "run"))
    assert before == {n: (out / n).read_bytes() for n in before}
    assert list(import_checkpoints(handed).arms) == ["top", "bottom"]
    listed = read_json(handed / "checkpoints.json")
    for name in ("../x", "/tmp/x", "", "a\nb"):
        write_json(handed / "checkpoints.json", {**listed, "arms": {name: listed["arms"]["top"]}})
        with pytest.raises(InputError, match="the arm"):
            import_checkpoints(handed)


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "kill.py"
    spec = importlib.util.spec_from_file_location("kill", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["kill"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patched:  # it makes the process quiet, and those that it starts
        patched.setenv("FACTSCOPE_QUIET", "1")
        module.load_everything()
        yield module


@pytest.mark.parametrize("command", ["which_data", "finetune"])
def test_kills_at_random_moments_change_nothing_and_leave_nothing(benchmark, command, tmp_path):
    tally = benchmark.measure(command, 3, tmp_path, seed=1)
    assert tally.differing == []
    assert tally.identical == tally.kills == 3


def test_a_run_does_not_go_on_with_another_base(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    run = RunDirectory(tmp_path / "run", {}, inputs={"base": str(base), "hub": "org/name", "none": None})
    run.write(seeds=[0])
    RunDirectory(tmp_path / "run", {}, inputs={"base": str(base)})
    (base / "config.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="files of base have changed since this run began"):
        RunDirectory(tmp_path / "run", {}, inputs={"base": str(base)})
