"""Tiny runs of every analysis from two source trees, compared to the bit: behaviour kept by a rebuild.

    python benchmarks/same_numbers.py run TREE OUT      # once in each tree; seconds to a minute an analysis
    python benchmarks/same_numbers.py compare OUT_A OUT_B

``run`` starts the scripts of ``TREE`` in processes of their own, each at sizes whose numbers mean nothing,
and keeps their ``results.json``. ``compare`` lists every number that differs; its last line is one JSON
object.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TINY = "--world tiny --seeds 0 --workers 1 --quiet"
# An earlier run's directory is named by its key in braces.
RUNS = {
    "attention_imbalance": "--world tiny --quiet",
    "two_seeds": "--world tiny --seeds 0 1 --pretrain-steps 500 --tune-steps 20 --quiet",
    "stored_or_suppressed": "--run {two_seeds} --quiet",
    "planted_truth": "--world tiny --seeds 0 --subjects 60 --absent 0.2 --met 5 --pretrain-steps 500"
    " --plant-steps 40 --quiet",
    "mixture_sweep": f"{TINY} --shares 0 1 --tune-steps 4 --pretrain-steps 60",
    "depth_sweep": f"{TINY} --depths 1 3 --pretrain-steps 400 --tune-steps 10",
    "pretraining_sweep": f"{TINY} --lengths 0.5 1 --exponents 1.0 1.3 --tune-steps 4 --placebo",
    "salience_vs_frequency": f"{TINY} --pretrain-steps 600 --placebo",
    "long_tail_domain": f"{TINY} --tune-steps 4 --placebo",
    "popularity_or_diversity": f"{TINY} --draws 2 --tune-steps 4",
    "one_layer_theory": f"{TINY} --placebo",
    "selection_contest": f"{TINY} --tune-steps 4 --scores statement popularity --keeps 0.5 --methods full",
    "mitigations": f"{TINY} --pretrain-steps 300 --only distilled, popular scaled wrong",
    "popularity_splits": "--facts world:tiny --seeds 0 --methods full --learning-rates 1e-3 3e-3 --steps 15"
    " --batch 32 --workers 1 --quiet --analyse attention verdicts",
    "real_facts": "--facts {facts} --pretrain-steps 60 --tune-steps 6 --quiet",
    "own_checkpoints": "--facts {facts} --base {base} --finetuned top={top} bottom={bottom} --quiet",
}
SCRIPTS = dict.fromkeys(("two_seeds", "real_facts", "own_checkpoints"), "attention_imbalance")


def facts_table(path: Path) -> Path:
    """Write a table of invented towns."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("subject", "relation", "answer", "popularity"))
        for i in range(160):
            relation = ("capital of", "born in")[i % 2]
            table.writerow((f"Town {i} Name{i % 7}", relation, f"City {i % 5}", i * i + 1))
    return path


def run(tree: Path, out: Path) -> None:
    """Run every analysis of a tree; one that fails is said and passed over."""
    out.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {name: str(out / name) for name in RUNS}
    places["facts"] = str(facts_table(out / "facts.csv"))
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for name, options in RUNS.items():
        if name == "own_checkpoints":
            held = json.loads((out / "real_facts/seeds/0/checkpoints.json").read_text(encoding="utf-8"))
            places |= {arm: held[arm] for arm in ("base", "top", "bottom")}
        script = tree / "analyses" / f"{SCRIPTS.get(name, name)}.py"
        words = options.format(**places).split()
        cache = [] if "--checkpoints" in words else ["--cache", str(out / "cache")]
        start = time.perf_counter()
        command = [sys.executable, str(script), *words, *cache, "--out", places[name]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=out)
        told = "" if done.returncode == 0 else f" FAILED: {done.stderr.strip()[-300:]}"
        print(f"{name}: {time.perf_counter() - start:.0f} s{told}", flush=True)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested JSON with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, value


def compare(first: Path, second: Path) -> int:
    """Print every number in which two sets of runs differ; the exit status says whether any does."""
    totals: dict[str, dict[str, int]] = {}
    for name in RUNS:
        files = [place / name / "results.json" for place in (first, second)]
        if not all(file.is_file() for file in files):
            totals[name] = {"numbers": 0, "missing": 1}
            continue
        one, other = (dict(leaves(json.loads(file.read_text(encoding="utf-8")))) for file in files)
        differ = [path for path in sorted({*one, *other}) if one.get(path) != other.get(path)]
        for path in differ:
            print(f"{name}: {path}: {one.get(path)} -> {other.get(path)}")
        values = sum(path.endswith(".value") for path in differ)
        totals[name] = {"numbers": len(one), "differ": len(differ), "values": values}
    print(json.dumps(totals))
    return int(any(total.get("differ") or total.get("missing") for total in totals.values()))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve())
    else:
        sys.exit(compare(Path(sys.argv[2]), Path(sys.argv[3])))
