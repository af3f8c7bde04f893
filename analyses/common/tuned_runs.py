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
from finetune.data.fact_keys import is_asked
from finetune.data.facts import FactSet
from finetune.training.fact_parts import DIGESTS
from finetune.training.training_format import training_places

SEEN = ("train", "validation")  # parts that a training learned from
TAKEN = ("base", "facts", "columns", "phrasebook")  # options that a training and a measurement share


@dataclass(frozen=True, kw_only=True)
class TunedRun:
    """What a directory of ``factscope tune`` says: its settings, and the ids of its facts by part.

    ``digests`` are of what these facts ask, by part; an older training left none.
    """

    path: Path
    settings: dict[str, Any]
    parts: dict[str, list[str]]
    digests: dict[str, list[str]] | None = None

    @classmethod
    def load(cls, path: str | Path) -> TunedRun | None:
        """Read a run's directory, or the one that a model of a run lies in; None where there is none."""
        for home in training_places(path):
            try:
                manifest, parts = read_json(home / "manifest.json"), read_json(home / "partition.json")
                if manifest["analysis"] == "finetune":
                    settings, digests = dict(manifest["config"]), _digests(home)
                    return cls(path=home, settings=settings, parts=parts, digests=digests)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def saw(self, facts: FactSet, source: str) -> set[int]:
        """Return the places of the facts that it was trained on, or chose its checkpoint by.

        Facts are told by what they ask, whatever file they are from; of one file their ids tell it, too.
        Where an older training says only ids, another file is taken to hold its facts if what it was trained
        on is all there, unchanged; ids that occur in both otherwise are said.
        """
        ids = {fact_id for part in SEEN for fact_id in self.parts[part]}
        alike = {i for i, fact in enumerate(facts) if fact.id in ids}
        found: set[int] = set()
        if self._is_source(source) or (self.digests is None and self._holds_training(facts)):
            found = alike
        elif self.digests is None and alike:
            notice(
                f"{len(alike)} facts of {source} have ids of facts that {self.path} was trained on "
                f"({self.settings.get('facts')}); as it says nothing else of those, all are asked: train "
                "again, or give facts that it was not trained on"
            )
        digests = {digest for part in SEEN for digest in (self.digests or {}).get(part, ())}
        return found | {i for i, fact in enumerate(facts) if digests and is_asked(fact, digests)}

    def found(self, name: str) -> str | None:
        """Return a recorded setting; a relative path that is not here is looked for above the training."""
        value = self.settings.get(name)
        path = Path(str(value or "")).expanduser()
        is_file = bool(path.suffix) or "/" in str(value)  # else a data set's or model's name
        if not value or not is_file or path.is_absolute() or path.exists():
            return None if value is None else str(value)
        return next((str(p / path) for p in self.path.resolve().parents if (p / path).exists()), str(value))

    def _is_source(self, source: str) -> bool:
        own = self.found("facts") or ""
        if own == source:
            return True
        one, other = Path(own).expanduser(), Path(source).expanduser()
        return bool(own) and one.exists() and other.exists() and one.resolve() == other.resolve()

    def _holds_training(self, facts: FactSet) -> bool:
        """Whether facts hold all that it was trained on, with the contents that it recorded."""
        place = {fact.id: i for i, fact in enumerate(facts)}
        index = [place[fact_id] for fact_id in self.parts["train"] if fact_id in place]
        whole = len(index) == len(self.parts["train"])
        return whole and facts.subset(index).digest == self.settings.get("train")


def _digests(home: Path) -> dict[str, list[str]] | None:
    """Read the digests of a training's facts, None where it left none."""
    path = home / DIGESTS
    return dict(read_json(path)) if path.is_file() else None


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
        if getattr(options, name):
            continue
        if name == "columns":
            found = {str(run.settings.get(name) or ""): run.settings.get(name) for run in runs}
        else:
            found = {told or "": told for run in runs for told in (run.found(name),)}
        if len(found) > 1:
            raise InputError(f"--{name}: the trainings differ in it ({', '.join(found)}); give it")
        value = next(iter(found.values()))
        if name == "facts" and value and Path(value).suffix and not Path(value).expanduser().exists():
            raise InputError(
                f"the facts that {runs[0].path} was trained on ({value}) are not here; give --facts"
            )
        if value:
            made = {"columns": tuple, "phrasebook": Path}.get(name, str)
            taken[name] = made(value)
    return replace(options, **taken) if taken else options


def held_out(facts: FactSet, source: str, paths: Iterable[str]) -> tuple[FactSet, FactSet]:
    """Return the facts of ``source`` that no training saw, and the ones that some did, for examples.

    What was trained on is told by what it asks, so that a copy of a file, or a part of it, is known again.
    Where trainings held none out all facts are returned, and that is said.

    Args:
        facts: all that are to be asked.
        source: where they are from.
        paths: the checkpoints that are measured.
    """
    saw = [(run, run.saw(facts, source)) for run in tuned_runs(paths)]
    runs = [run for run, places in saw if places]
    seen = {i for _, places in saw for i in places}
    index = [i for i in range(len(facts)) if i not in seen]
    trained = facts.subset(sorted(seen))
    if not seen:
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
