"""Grids: the same results on every engine, continued where they stopped, whole but for what failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from analyses.common.experiment import Experiment
from analyses.common.grid import run_cells
from analyses.common.grid_cells import GridCell, is_finished, read_cells
from analyses.common.grid_options import Machines
from analyses.common.numbers import mean, paired_difference, summarise_seeds, unpaired_difference
from analyses.common.options import GridOptions
from analyses.experiments.mixture_sweep import cells as mixture_sweep_cells
from analyses.experiments.mixture_sweep import experiment as mixture_sweep_experiment
from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.reports.pages.study import Study, StudyTable, claim_sentence, decide_claim
from interp.reports.read.results import Results
from interp.stats import Estimate

CELLS = [GridCell.of(seed, x=x) for x in (1, 2) for seed in (0, 1)]


@dataclass(frozen=True, kw_only=True)
class Options(GridOptions):
    """A trial grid; cells of ``odd`` x fail as many times as ``times`` says, in the way ``how`` says."""

    odd: int = -1
    times: int = 99
    how: str = "crash"


def measure(options: Options, cell: GridCell, home: Path) -> pd.DataFrame:
    """Draw ten numbers, or fail."""
    import torch

    tries = len(list(home.glob("try-*")))
    home.mkdir(parents=True, exist_ok=True)
    (home / f"try-{tries}").touch()
    if cell.params["x"] == options.odd and tries < options.times:
        if options.how == "input":
            raise InputError("--odd 2: cannot be")
        if options.how == "die":
            os._exit(9)
        raise RuntimeError("numbers ran out\nfor good")
    generator = torch.Generator().manual_seed(cell.seed)
    values = torch.randn(10, 64, generator=generator) @ torch.ones(64)  # its rounding depends on threads
    subjects = [f"s{i // 2}" for i in range(10)]
    return pd.DataFrame({"fact_id": range(10), "subject": subjects, "y": values.numpy() + cell.params["x"]})


def summarise(frame: pd.DataFrame) -> dict:
    def one(rows: pd.DataFrame) -> dict:
        tree = {f"x{x}": mean(some, "y") for x, some in rows.groupby("x")}
        return {**tree, "rise": paired_difference(rows, {"x": 2}, {"x": 1}, "y")} if len(tree) > 1 else tree

    return summarise_seeds(frame, one, lambda path: None)


def study(frame: pd.DataFrame, results: Results) -> Study:
    claims = (decide_claim("y rises with x", "trial", results.at("rise")),)
    table = StudyTable(title="Rows", columns=("Rows",), rows=((len(frame),),))
    return Study(
        title="Trial",
        question="?",
        finding=claim_sentence(claims),
        outcome="measured",
        claims=claims,
        tables=(table,),
    )


EXPERIMENT = Experiment(
    name="trial",
    cells=lambda options: CELLS,
    measure=measure,
    summarise=summarise,
    study=study,
)


@pytest.fixture(autouse=True)
def trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process find the experiment as ``analyses.experiments.trial.experiment``."""
    module = ModuleType("analyses.experiments.trial.experiment")
    module.EXPERIMENT = EXPERIMENT  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "analyses.experiments.trial.experiment", module)


def test_a_grid_leaves_its_rows_numbers_claims_and_page(tmp_path: Path) -> None:
    out = EXPERIMENT.run(Options(out=tmp_path / "run", seeds=(0, 1), workers=1))
    frame = pd.read_parquet(out / "facts.parquet")
    assert len(frame) == 40
    assert set(frame["seed"]) == {0, 1}
    results = read_json(out / "results.json")
    assert results["rise"]["value"] == pytest.approx(1)
    assert results["rise"]["n"] == 2
    (claim,) = read_json(out / "claims.json")
    assert claim["number"] == results["rise"]
    assert claim["outcome"] == "supported"
    assert "y rises with x" in (out / "report.html").read_text()
    assert read_json(out / "manifest.json")["finished"]
    stamp = (out / "results.json").stat().st_mtime_ns
    EXPERIMENT.run(Options(out=out, seeds=(0, 1), workers=3))
    assert (out / "results.json").stat().st_mtime_ns == stamp, "where cells run is no other configuration"


def test_a_failed_cell_is_tried_again_then_listed_and_the_rest_survives(tmp_path: Path) -> None:
    options = Options(out=tmp_path / "run", workers=1, retries=2, odd=2)
    out = EXPERIMENT.run(options)
    assert len(pd.read_parquet(out / "facts.parquet")) == 20
    manifest = read_json(out / "manifest.json")
    assert not manifest["finished"]
    assert [item["where"] for item in manifest["left_out"]] == ["cells/x=2,seed=0", "cells/x=2,seed=1"]
    assert manifest["left_out"][0]["reason"].startswith("RuntimeError: numbers ran out (")
    home = out / "cells" / "x=2,seed=0"
    assert len(list(home.glob("try-*"))) == 3
    assert "for good" in (home / "error.txt").read_text()
    assert "numbers ran out" in (out / "report.html").read_text()


def test_the_same_command_runs_only_what_is_missing(tmp_path: Path) -> None:
    options = Options(out=tmp_path / "run", workers=1, retries=0, odd=2, times=1)
    EXPERIMENT.run(options)
    stamp = (options.out / "cells" / "x=1,seed=0" / "facts.parquet").stat().st_mtime_ns
    EXPERIMENT.run(options)
    assert read_json(options.out / "manifest.json")["finished"]
    assert not (options.out / "cells" / "x=2,seed=0" / "error.txt").exists()
    assert (options.out / "cells" / "x=1,seed=0" / "facts.parquet").stat().st_mtime_ns == stamp
    whole = EXPERIMENT.run(Options(out=tmp_path / "other", workers=1))
    assert read_json(options.out / "results.json") == read_json(whole / "results.json")


def test_wrong_input_is_not_tried_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def all_odd(options: Options) -> list[GridCell]:
        return CELLS[2:]

    wrong = Experiment(**{**EXPERIMENT.__dict__, "cells": all_odd})
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"^--odd 2: cannot be$"):
        wrong.run(Options(out=out, workers=1, odd=2, how="input", retries=5))
    assert not out.exists()
    with pytest.raises(InputError, match="numbers ran out"):
        wrong.run(Options(out=out, workers=1, odd=2, retries=0))
    assert (out / "cells" / "x=2,seed=0" / "error.txt").is_file(), "a crash leaves what it left"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"workers": 0}, "--workers"),
        ({"threads": 0}, "--threads"),
        ({"address": "auto"}, "--engine ray"),
        ({"gpus": 1}, "--engine ray"),
        ({"gpus": -1, "engine": "ray"}, "--gpus -1"),
        ({"seeds": ()}, "--seeds"),
    ],
)
def test_mistakes_name_the_setting(setting: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        EXPERIMENT.run(Options(out=tmp_path / "run", **setting))
    assert not (tmp_path / "run").exists()


def test_two_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one name"):
        run_cells("trial", Options(), [CELLS[0], CELLS[0]], tmp_path, Machines(workers=1))


MIXTURE = {"world": "tiny", "seeds": (0,), "shares": (0.0, 1.0), "tune_steps": 4, "pretrain_steps": 60}


def run_mixtures(folder: Path, **machines: object) -> Path:
    """Run one real grid, with a cache of bases of its own, so that nothing is handed on."""
    from analyses import mixture_sweep

    options = mixture_sweep.MixtureSweepOptions(
        out=folder / "run",
        cache=folder / "cache",
        quiet=True,
        **MIXTURE,  # type: ignore[arg-type]
        **machines,  # type: ignore[arg-type]
    )
    return mixture_sweep_experiment.EXPERIMENT.run(options)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the grid in one process."""
    return run_mixtures(tmp_path_factory.mktemp("engine"), workers=1)


def assert_same_results(one: Path, other: Path) -> None:
    """Compare two runs' numbers and rows."""
    assert (one / "results.json").read_text() == (other / "results.json").read_text()
    here, there = (pd.read_parquet(run / "facts.parquet") for run in (one, other))
    pd.testing.assert_frame_equal(here, there)


def test_ray_gives_the_same_results(mixtures: Path, tmp_path: Path) -> None:
    assert_same_results(mixtures, run_mixtures(tmp_path, engine="ray", workers=2))


def test_mixtures_are_numbers_of_their_rows(mixtures: Path) -> None:
    out = mixtures
    frame = pd.read_parquet(out / "facts.parquet")
    results = read_json(out / "results.json")
    rows = frame[(frame["share"] == 1) & (frame["quartile"] >= 3) & frame["known"]]
    assert results["shares"]["1"]["unpopular"]["accuracy_known"]["value"] == pytest.approx(
        rows["correct"].mean()
    )
    assert {json.dumps(claim["number"]) for claim in read_json(out / "claims.json")} <= {
        json.dumps(number) for part in ("contrasts", "gain") for number in results[part].values()
    }


def test_a_mixture_holds_the_share_that_was_asked_for() -> None:
    from analyses.experiments.mixture_sweep.cells import mixture
    from finetune.data.facts import FactSet
    from finetune.data.records.fact import Fact

    def half(name: str, n: int) -> FactSet:
        facts = tuple(
            Fact(id=f"{name}{i}", subject=f"{name}{i}", relation="r", answers=("a",)) for i in range(n)
        )
        return FactSet(facts=facts, name=name)

    top, bottom = half("t", 20), half("b", 20)
    smaller: set[str] = set()
    for share in (0, 0.25, 0.5, 1):
        made, popular = mixture(top, bottom, share, seed=3)
        ids = [fact.id for fact in made]
        assert len(set(ids)) == 20
        assert [name.startswith("t") for name in ids] == popular
        assert sum(popular) == 20 * share
        assert smaller <= {name for name in ids if name.startswith("t")}, "a larger share holds a smaller one"
        smaller = {name for name in ids if name.startswith("t")}


def test_a_worker_that_dies_is_reported_and_the_rest_is_run(tmp_path: Path) -> None:
    from analyses import mixture_sweep

    options = mixture_sweep.MixtureSweepOptions(
        out=tmp_path / "run", cache=tmp_path / "cache", quiet=True, **MIXTURE
    )
    good = mixture_sweep_cells.cells(options)[:1]
    bad = GridCell(key="bad", seed=0, params={"share": "none", "order": "shuffled", "by": "popularity"})
    failures = run_cells("mixture_sweep", options, [*good, bad], tmp_path, Machines(workers=2, retries=0))
    assert [failure.cell.key for failure in failures] == ["bad"]
    assert is_finished(tmp_path, good[0])
    assert set(read_cells(tmp_path, [*good, bad])["share"]) == {0.0}


def test_a_killed_grid_leaves_no_worker_behind_and_continues_to_the_same_numbers(
    mixtures: Path, tmp_path: Path
) -> None:
    arguments = "--world tiny --seeds 0 --shares 0 1 --tune-steps 4 --pretrain-steps 60 --workers 2".split()
    command = [sys.executable, mixture_script(), *arguments, "--out", str(tmp_path / "run")]
    command += ["--cache", str(tmp_path / "cache")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("run/cells/*/facts.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its grid"
        time.sleep(0.1)
    assert_same_results(mixtures, run_mixtures(tmp_path, workers=1))


def mixture_script() -> str:
    from analyses import mixture_sweep

    return str(mixture_sweep.__file__)


def children(pid: int) -> list[int]:
    """List the processes that a process has started, where the system tells."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.is_file():
        pytest.skip("this system does not list a process's children")
    return [int(child) for child in listed.read_text().split()]


def test_differences_pair_facts_and_seeds() -> None:
    rows = pd.DataFrame(
        {
            "fact_id": [1, 2, 3, 1, 2],
            "subject": list("abcab"),
            "arm": ["x", "x", "x", "y", "y"],
            "correct": [True, True, False, True, False],
        }
    )
    difference = paired_difference(rows, {"arm": "x"}, {"arm": "y"}, "correct")
    assert (difference.value, difference.n) == (0.5, 2), "a fact that one arm lacks is not compared"
    one, other = (Estimate(value=v, low=None, high=None, n=3) for v in (0.7, 0.2))
    assert unpaired_difference(one, other).value == pytest.approx(0.5)
    assert unpaired_difference(one, Estimate(value=None, low=None, high=None, n=0)).value is None
