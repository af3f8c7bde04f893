"""What ``factscope tune`` left: its base, its facts and which of these it held out, read for a diagnosis.

A directory of ``factscope tune`` says by itself how its model is to be measured: on the base that it started
from, and on the facts that it held out, asked as it was trained. Options that are given go first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json
from finetune.common.progress import notice
from finetune.data.facts import FactSet
from finetune.training.training_format import training_places

TAKEN = ("base", "facts", "columns", "phrasebook")  # options that a training and a measurement share


@dataclass(frozen=True, kw_only=True)
class TunedRun:
    """What a directory of ``factscope tune`` says: its settings, and the ids of its facts by part."""

    path: Path
    settings: dict[str, Any]
    parts: dict[str, list[str]]

    @classmethod
    def load(cls, path: str | Path) -> TunedRun | None:
        """Read a run's directory, or the one that a model of a run lies in; None where there is none."""
        for home in training_places(path):
            try:
                manifest, parts = read_json(home / "manifest.json"), read_json(home / "partition.json")
                if manifest["analysis"] == "finetune":
                    return cls(path=home, settings=dict(manifest["config"]), parts=parts)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None


def tuned_runs(paths: Iterable[str]) -> list[TunedRun]:
    """Return those of some checkpoints that are directories of ``factscope tune``."""
    return [run for path in paths if (run := TunedRun.load(path)) is not None]


def completed(options: Any, paths: Iterable[str]) -> Any:
    """Take from trainings what the options do not say: the base, the facts and how these are read.

    Args:
        options: those of a measurement of checkpoints.
        paths: the checkpoints that it names.

    Raises:
        InputError: the trainings differ in what would be taken.
    """
    runs, taken = tuned_runs(paths), {}
    names = TAKEN if options.facts is None else ("base",)
    for name in names if runs else ():
        found = {str(run.settings.get(name) or ""): run.settings.get(name) for run in runs}
        if len(found) > 1 and not getattr(options, name):
            raise InputError(f"--{name}: the trainings differ in it ({', '.join(found)}); give it")
        value = next(iter(found.values()))
        if value and not getattr(options, name):
            made = {"columns": tuple, "phrasebook": Path}.get(name, str)
            taken[name] = made(value)
    return replace(options, **taken) if taken else options


def held_out(facts: FactSet, source: str, paths: Iterable[str]) -> tuple[FactSet, FactSet]:
    """Return the facts of ``source`` that no training saw, and the ones that some did, for examples.

    Where trainings held none out all facts are returned, and that is said.

    Args:
        facts: all that are to be asked.
        source: where they are from; trainings on other facts leave all of them.
        paths: the checkpoints that are measured.
    """
    runs = [run for run in tuned_runs(paths) if run.settings.get("facts") == source]
    seen = {fact_id for run in runs for part in ("train", "validation") for fact_id in run.parts[part]}
    index = [i for i, fact in enumerate(facts) if fact.id not in seen]
    trained = facts.subset([i for i, fact in enumerate(facts) if fact.id in seen])
    if not seen or len(index) == len(facts):
        return facts, replace(trained, left_out=())
    if not index:
        notice(
            f"{runs[0].path} was trained on all of {source}: what it says of these facts is mostly what it "
            "was just taught; train with --test-share 0.3, or give --facts that it was not trained on"
        )
        return facts, replace(trained, facts=(), left_out=())
    reason = f"was trained on, or chose the checkpoint, in {runs[0].path}"
    left_out = tuple(LeftOut(where=fact.id, reason=reason) for fact in trained)
    rest = facts.subset(index)
    return replace(rest, left_out=(*facts.left_out, *left_out)), replace(trained, left_out=())
