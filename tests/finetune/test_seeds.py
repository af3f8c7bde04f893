"""Random streams have names, today's numbers to the bit, and one place where they are made."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.common.seeds import STREAMS, draw_seed, generator, torch_generator

ROOT = Path(__file__).parents[2]
PLACES = [
    path
    for package in ("finetune", "interp", "analyses", "factscope")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path != ROOT / "finetune/common/seeds.py"
]
MAKERS = {"default_rng", "RandomState", "SeedSequence", "manual_seed", "set_seed", "Random", "seed_all"}


def is_seed(node: ast.AST) -> bool:
    """Whether an expression is a seed, by its name."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return bool(re.search(r"(^|_)seed$", name))


def makes_streams(tree: ast.AST) -> list[str]:
    """List where a module makes a generator, or does arithmetic with a seed."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            if name in MAKERS:
                found.append(ast.unparse(node))
        if isinstance(node, ast.BinOp) and (is_seed(node.left) or is_seed(node.right)):
            found.append(ast.unparse(node))
    return found


def test_generators_are_made_in_one_place() -> None:
    made = ((path.relative_to(ROOT), makes_streams(ast.parse(path.read_text("utf-8")))) for path in PLACES)
    assert [(str(path), calls) for path, calls in made if calls] == []


@pytest.mark.parametrize(
    "line",
    ["rng = np.random.default_rng([seed, 7])", "x = self.seed + 1000", "g.manual_seed(0)", "2 * a_seed"],
)
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert makes_streams(ast.parse(line))


@pytest.mark.parametrize(
    "call", [r"\b(?:torch_)?generator\([^\"]*\"([^\"]+)\"", r"draw_seed\([^\"]*\"([^\"]+)\""]
)
def test_every_stream_that_is_drawn_from_has_a_name(call: str) -> None:
    drawn = {name for path in PLACES for name in re.findall(call, path.read_text("utf-8"))}
    assert drawn <= set(STREAMS)
    assert drawn


def test_no_name_is_left_over() -> None:
    texts = "".join(path.read_text("utf-8") for path in PLACES)
    assert [name for name in STREAMS if f'"{name}"' not in texts] == []


@pytest.mark.parametrize(
    ("made", "before"),
    [
        (generator(3, "partition"), np.random.default_rng([3, 7])),
        (generator(3, "crossed set", 2, True), np.random.default_rng([3, 31, 2, 1])),
        (generator((3, 1), "gradient batches"), np.random.default_rng([3, 1, 32])),
        (generator(3, "bootstrap"), np.random.default_rng(3)),
        (generator(None, "calibration folds"), np.random.default_rng(44)),
        (generator(np.int64(3), "world"), np.random.default_rng([3, 0])),
    ],
)
def test_numbers_are_what_they_were(made: np.random.Generator, before: np.random.Generator) -> None:
    assert (made.random(8) == before.random(8)).all()


def test_numbers_of_torch_and_of_draws_are_what_they_were() -> None:
    before = torch.rand(8, generator=torch.Generator().manual_seed(5))
    assert (torch.rand(8, generator=torch_generator(5, "random direction")) == before).all()
    assert draw_seed(5, "few-shot draw", 2) == 1007


def test_a_stream_without_a_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        generator(0, "no such stream")
    with pytest.raises(ValueError, match="has a number"):
        torch_generator(0, "partition")
