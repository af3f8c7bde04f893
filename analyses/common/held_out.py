"""Asking and reading what a cell trained: one row per held-out fact and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.arms import answers_stage, checkpoints_side_by_side, known_stage
from analyses.common.checkpoints import BASE, BOTTOM, TOP, Checkpoints
from analyses.common.evaluate import lost_facts, with_known, with_recovery
from analyses.common.measurements import mass_stage, rows_stage, transplant_stage
from analyses.common.training_setup import TrainingSetup
from analyses.common.visits import Stage, visit
from finetune.data.facts import FactSet
from interp.measures.attention import AttentionMass

ROWS = "rows.safetensors"  # of the transplant's donor, removed when it was made


def stated_by_base(setup: TrainingSetup, checkpoints: Checkpoints, home: Path) -> Stage[list[bool]]:
    """What the base states; cells that share a base and its held-out facts ask it once."""
    name = f"{setup.base.name}-{checkpoints.test.digest[:12]}.json"
    return known_stage(checkpoints, home.parents[1] / "stated" / name)


def asked_only(setup: TrainingSetup, name: str, arm: Path, home: Path, path: Path) -> pd.DataFrame:
    """Ask one arm every held-out fact, without reading it: a row a fact, with what the base knows.

    Args:
        setup: the base and its facts.
        name: the arm's name.
        arm: its checkpoint.
        home: a directory for what the base knows.
        path: the file of the arm's answers.
    """
    checkpoints = checkpoints_side_by_side(setup, {name: str(arm)})
    known = stated_by_base(setup, checkpoints, home)
    answers = answers_stage(checkpoints, name, path, seed=setup.seed)
    visit(checkpoints, BASE, plain=[known])
    visit(checkpoints, name, plain=[answers])
    return with_known(answers.read(), known.read())


def measure_held_out(
    setup: TrainingSetup,
    arms: Mapping[str, Path],
    home: Path,
    *,
    test: FactSet | None = None,
    names: Sequence[str] | None = None,
    layers: bool = False,
    recovery: bool = False,
    batch_tokens: int = 8192,
) -> tuple[Checkpoints, pd.DataFrame]:
    """Ask arms (and the base, if ``names`` says so) every held-out fact and read their subject attention.

    Args:
        setup: the base and its facts.
        arms: where each arm is.
        home: the cell's directory, for stage files.
        test: the facts to ask; the setup's own without it.
        names: which models to ask and read; all arms without it.
        layers: also average attention over the heads of each layer (``attention_0`` ...).
        recovery: also put the rows of ``top`` into ``bottom``, which comes later, and add the outcome.
        batch_tokens: bound on the tokens of one forward pass.

    Returns:
        The models side by side, and a row per fact and model: what is known, said and attended to, averaged
        over layers and heads.
    """
    checkpoints = checkpoints_side_by_side(setup, {name: str(path) for name, path in arms.items()}, test=test)
    read = list(arms if names is None else names)
    known = stated_by_base(setup, checkpoints, home)
    answers, masses = {}, {}
    for name in read:
        path = home / "answers" / f"{name}.parquet"
        answers[name] = answers_stage(checkpoints, name, path, seed=setup.seed)
        masses[name] = mass_stage(name, home / "readings" / f"{name}.safetensors", batch_tokens=batch_tokens)
    moved = _transplant(home, answers, setup.seed, batch_tokens) if recovery else {}
    for name in dict.fromkeys((BASE, *read)):
        asked = name in read
        plain: list[Stage[Any]] = [*([known] if name == BASE else []), *([answers[name]] if asked else [])]
        visit(checkpoints, name, plain=plain, hooked=[masses[name], *moved.get(name, ())] if asked else ())
    frames = [_averaged(answers[name].read(), masses[name].read(), layers) for name in read]
    frame = with_known(pd.concat(frames, ignore_index=True), known.read() * len(read))
    if recovery:
        frame = with_recovery(frame, moved[BOTTOM][0].read())
        (home / ROWS).unlink(missing_ok=True)
    return checkpoints, setup.told(frame)


def _transplant(
    home: Path, answers: Mapping[str, Stage[pd.DataFrame]], seed: int, batch_tokens: int
) -> dict[str, list[Stage[Any]]]:
    """Return what the visits of the donor and of the receiver make for the transplant."""
    rows = rows_stage(home / ROWS, batch_tokens=batch_tokens)
    transplant = transplant_stage(
        home / "transplant.json",
        rows,
        lambda: lost_facts(answers[TOP].read(), answers[BOTTOM].read()),
        seed=seed,
        batch_tokens=batch_tokens,
    )
    return {TOP: [rows] if transplant.due else [], BOTTOM: [transplant]}


def _averaged(frame: pd.DataFrame, mass: AttentionMass, layers: bool) -> pd.DataFrame:
    if tuple(frame["fact_id"]) != mass.fact_ids:
        raise RuntimeError("other facts were read than were asked; remove the run directory")
    frame["subject_attention"] = mass.values.mean((1, 2)).numpy()
    frame["subject_attention_raw"] = mass.raw.mean((1, 2)).numpy()
    if not layers:
        return frame
    by_layer = mass.values.mean(2).numpy().T
    return frame.assign(**{f"attention_{i}": part for i, part in enumerate(by_layer)})
