"""A small made-up run directory: random numbers in the real layout, with hostile names and tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HOSTILE = "</script><img src=x onerror=alert(1)>"
DOLLARS = "$x_{1$ & \\frac"
TRAINED = ("base", "top", "bottom", "random", "whole")
SKILL = {"base": 0.15, "top": 0.66, "bottom": 0.45, "random": 0.58, "whole": 0.64}


def make_run(
    path: Path,
    *,
    arms: Sequence[str] = TRAINED,
    seeds: Sequence[int] = (0,),
    layers: int = 2,
    heads: int = 4,
    n_facts: int = 120,
    tokens: Sequence[str] = (
        "<s>",
        "Who",
        " is",
        " the",
        " Kav",
        "orin",
        HOSTILE,
        DOLLARS,
        "東京",
        " Ans",
        "wer",
        ":",
    ),
    subject: slice = slice(4, 7),
    answer: int = 0,
) -> Path:
    """Write results.json, facts.parquet, attention.json, example.json and manifest.json into ``path``."""
    rng = np.random.default_rng(answer)
    path.mkdir(parents=True, exist_ok=True)
    own = "top" not in arms
    facts = pd.concat([_facts(rng, arms, seed, n_facts, layers * heads, own=own) for seed in seeds])
    facts.to_parquet(path / "facts.parquet")
    trees = {str(seed): _tree(facts[facts["seed"] == seed], arms, own=own) for seed in seeds}
    pooled = trees[str(seeds[0])] if len(seeds) == 1 else _pool(list(trees.values()))
    _write(path / "results.json", {**pooled, "seeds": trees})
    _write(path / "attention.json", _attention(rng, arms, layers, heads, n_facts))
    _write(path / "example.json", _example(rng, arms, layers, heads, list(tokens), subject))
    _write(path / "manifest.json", _manifest(seeds, n_facts, own=own))
    return path


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _facts(
    rng: np.random.Generator, arms: Sequence[str], seed: int, n: int, width: int, *, own: bool
) -> pd.DataFrame:
    quartile = np.repeat([1, 2, 3, 4], -(-n // 4))[:n]
    subjects = [f"Kavorin {i}" for i in range(n)]
    subjects[0], subjects[1], subjects[2] = HOSTILE, DOLLARS, "東京タワー"
    known = rng.random(n) < 1.1 - 0.15 * quartile
    relations = rng.choice(["born in", "capital <of>"], n)
    frames = []
    for i, arm in enumerate(arms):
        skill = SKILL.get(arm, 0.5) - 0.06 * (quartile - 2.5)
        correct = rng.random(n) < skill
        mass = rng.dirichlet(np.ones(3), size=(n, width))[:, :, 0] * (1.2 - 0.15 * i)
        frames.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "arm": arm,
                    "fact_id": [f"w{j}" for j in range(n)],
                    "subject": subjects,
                    "relation": relations,
                    "answer": [f"City {j % 9}" for j in range(n)],
                    "popularity": None if own else np.round(10_000 / (1 + np.arange(n)), 2),
                    "quartile": None if own else quartile,
                    "known": known,
                    "prediction": [f"City {j % 9}" if c else HOSTILE for j, c in enumerate(correct)],
                    "correct": correct,
                    "log_prob": rng.normal(-2, 1, n),
                    "subject_attention": mass.mean(1),
                    "mass": list(mass),
                }
            )
        )
    facts = pd.concat(frames, ignore_index=True)
    lost = (facts["arm"] == "bottom") & ~facts["correct"] & (rng.random(len(facts)) < 0.6)
    for column, rate in (("recovered", 0.5), ("placebo_recovered", 0.22)):
        facts[column] = pd.Series(rng.random(len(facts)) < rate, dtype="boolean").where(lost)
    return facts


def _tree(facts: pd.DataFrame, arms: Sequence[str], *, own: bool) -> dict[str, Any]:
    by_arm = {arm: facts[facts["arm"] == arm].reset_index() for arm in arms}
    pairs = [(arm, "base") for arm in arms if arm != "base"]
    pairs = pairs if own else [("top", "bottom"), ("top", "whole"), ("top", "random")]
    return {
        "arms": {arm: _arm(rows) for arm, rows in by_arm.items()},
        "contrasts": {f"{a}_minus_{b}": _contrast(by_arm[a], by_arm[b]) for a, b in pairs},
        "recovery": {} if own else _recovery(by_arm["bottom"]),
    }


def _arm(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "accuracy": estimate(rows["correct"]),
        "accuracy_known": estimate(rows.loc[rows["known"], "correct"]),
        "accuracy_by_quartile": {
            f"q{q}": estimate(rows.loc[rows["quartile"] == q, "correct"]) for q in (1, 2, 3, 4)
        },
        "subject_attention": estimate(rows["subject_attention"]),
    }


def _contrast(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    correct = a["correct"].astype(float) - b["correct"].astype(float)
    return {
        "accuracy": estimate(correct),
        "accuracy_known": estimate(correct[a["known"]]),
        "subject_attention": estimate(a["subject_attention"] - b["subject_attention"]),
    }


def _recovery(rows: pd.DataFrame) -> dict[str, Any]:
    rows = rows[rows["recovered"].notna()]
    right, placebo = rows["recovered"].astype(float), rows["placebo_recovered"].astype(float)
    return {
        "pattern_only": estimate(right),
        "placebo": estimate(placebo),
        "difference": estimate(right - placebo),
    }


def estimate(values: pd.Series) -> dict[str, Any]:
    """Summarise values as results.json does, with a plain normal interval."""
    values = values.astype(float)
    if not len(values):
        return {"value": None, "low": None, "high": None, "n": 0}
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=0)) / len(values) ** 0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def _pool(trees: list[Any]) -> Any:
    if "value" not in trees[0]:
        return {key: _pool([tree[key] for tree in trees]) for key in trees[0]}
    return estimate(pd.Series([tree["value"] for tree in trees if tree["value"] is not None], dtype=float))


def _attention(
    rng: np.random.Generator, arms: Sequence[str], layers: int, heads: int, n: int
) -> dict[str, Any]:
    shared = rng.random((layers, heads))
    mean = {arm: np.clip(shared - 0.12 * i * rng.random((layers, heads)), 0, 1) for i, arm in enumerate(arms)}
    return {
        "n_layers": layers,
        "n_heads": heads,
        "arms": {arm: m.tolist() for arm, m in mean.items()},
        "low": {arm: (m - 0.03).tolist() for arm, m in mean.items()},
        "high": {arm: (m + 0.03).tolist() for arm, m in mean.items()},
        "n": n,
    }


def _example(
    rng: np.random.Generator, arms: Sequence[str], layers: int, heads: int, tokens: list[str], subject: slice
) -> dict[str, Any]:
    flags = [False] * len(tokens)
    flags[subject] = [True] * len(flags[subject])
    causal = np.tril(np.ones((len(tokens), len(tokens))))
    parts = {}
    for arm in arms:
        raw = causal * rng.gamma(0.5, size=(layers, heads, len(tokens), len(tokens))) + 1e-9 * causal
        parts[arm] = {
            "prediction": f"City {HOSTILE}",
            "patterns": (raw / raw.sum(-1, keepdims=True)).tolist(),
        }
    return {
        "fact_id": "w0",
        "prompt": "".join(tokens[1:]),
        "subject": [0, 5],
        "tokens": tokens,
        "subject_tokens": flags,
        "answers": ["City 0", "Cité"],
        "arms": parts,
    }


def _manifest(seeds: Sequence[int], n: int, *, own: bool) -> dict[str, Any]:
    left_out = [{"where": f"facts.csv line {i}", "reason": "no answer"} for i in range(12)]
    return {
        "version": 1,
        "finished": True,
        "command": "python analyses/attention_imbalance.py --out runs/made_up",
        "config": {"method": "full", "seeds": list(seeds), "note": HOSTILE},
        "seeds": list(seeds),
        "versions": {"python": "3.11", "torch": "2.13.0"},
        "inputs": {"facts.csv": "ab" * 32},
        "git_commit": None,
        "timings": {"pretrain": 71.2, "fine-tune": 80.0},
        "left_out": [
            *left_out,
            {"where": HOSTILE, "reason": f"subject {DOLLARS} does not occur in its question"},
        ],
        "facts": {"total": 4 * n, "train": 2 * n, "validation": n, "test": n},
        "setting": "Own checkpoints." if own else "An embedded world of 300 subjects and five relations.",
    }
