"""The checkpoints to compare and the facts and prompts to compare them on, in memory and handed on in files.

A directory that is handed on holds ``checkpoints.json`` (the base, the arms, how relations are worded),
``facts.parquet`` and ``prompts.jsonl``. So whoever measures asks just what whoever trained has asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from finetune.common.checksums import checksum_entry, matches_entry, sealed_state
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import atomic_file, read_json, write_frame, write_json
from finetune.common.names import require_name
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Phrases, Prompt
from finetune.data.records.fact import Fact
from finetune.evaluation.asking_forms import Known
from interp.models.settings import LoadingSettings
from interp.models.sources import resolve_source
from interp.models.tokenizers import common_tokenizer

BASE, TOP, BOTTOM = "base", "top", "bottom"
LISTED, FACTS, PROMPTS = "checkpoints.json", "facts.parquet", "prompts.jsonl"
EXAMPLES = "examples.parquet"  # training facts that what the base knows is elicited with, where it is


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints to compare, and the facts and prompts to compare them on.

    ``arms`` maps a name to a directory or hub id; ``base`` is the model they came from. Every prompt is
    aligned with the base's tokenizer; facts whose prompt is not are in ``left_out``. ``answer_sets`` maps a
    relation to all its answers, in training facts too. ``known`` says which facts the base knows, where that
    has been found out already. Where there are ``examples`` (training facts), what the base knows is elicited
    with them, and known from the degree ``known_cut`` on. ``aside`` are prompts of facts that are not asked,
    in the same form, to find heads on. ``dtype`` is what models are loaded in.
    """

    base: str
    arms: dict[str, str]
    test: FactSet
    prompts: tuple[Prompt, ...]
    phrasebook: Phrasebook
    answer_sets: dict[str, tuple[str, ...]]
    sizes: dict[str, int]
    left_out: tuple[LeftOut, ...] = ()
    known: tuple[bool, ...] | None = None
    examples: FactSet | None = None
    aside: tuple[Prompt, ...] = ()
    known_cut: Known = "maybe"
    dtype: str = "float32"

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The one tokenizer that every checkpoint is asked with.

        Raises:
            InputError: theirs disagree, or none brings one.
        """
        return common_tokenizer(
            resolve_source(self.base),
            [resolve_source(source) for source in self.arms.values()],
            LoadingSettings(),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The base and every arm."""
        return (BASE, *self.arms)

    def draw_prompts(
        self, fact_ids: Sequence[str] | np.ndarray, most: int, stream: str, seed: int
    ) -> list[Prompt]:
        """Draw the prompts of at most so many of some facts; they keep the order of all prompts.

        Args:
            fact_ids: the facts to draw from.
            most: how many to draw at most.
            stream: the random stream's name (:mod:`finetune.common.seeds`).
            seed: the run's.
        """
        drawn = set(generator(seed, stream).permutation(fact_ids)[:most].tolist())
        return [prompt for prompt in self.prompts if prompt.fact_id in drawn]


def write_facts(path: Path, facts: FactSet) -> None:
    """Write facts as a table that :meth:`FactSet.load` reads, too."""
    write_frame(path, facts.to_frame())


def read_facts(path: Path, name: str) -> FactSet:
    """Read facts back just as they were written."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    # A column of empty lists comes back as one of nothing.
    facts = (Fact(**_tuples({**row, "choices": row["choices"] or ()})) for row in rows)
    return FactSet(facts=tuple(facts), name=name)


def export_checkpoints(directory: Path, checkpoints: Checkpoints) -> Path:
    """Write checkpoints for others to measure, and return the directory; ``left_out`` is not handed on.

    Local checkpoints are named from the directory on, so that both may be moved together.
    """
    write_facts(directory / FACTS, checkpoints.test)
    with atomic_file(directory / PROMPTS) as temporary:
        rows = (json.dumps(asdict(prompt), ensure_ascii=False) for prompt in checkpoints.prompts)
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    here = directory.resolve()
    listed = {
        "base": _from(here, checkpoints.base),
        "arms": {name: _from(here, source) for name, source in checkpoints.arms.items()},
        "name": checkpoints.test.name,
        "phrasebook": phrasebook_to_json(checkpoints.phrasebook),
        "answer_sets": checkpoints.answer_sets,
        "sizes": checkpoints.sizes,
        "known": checkpoints.known,
        "dtype": checkpoints.dtype,
    }
    files = [FACTS, PROMPTS]
    if checkpoints.examples is not None:
        write_facts(directory / EXAMPLES, checkpoints.examples)
        files.append(EXAMPLES)
    listed["files"] = {name: checksum_entry(directory / name) for name in files}
    write_json(directory / LISTED, listed)
    return directory


def import_checkpoints(directory: Path) -> Checkpoints:
    """Read checkpoints that :func:`export_checkpoints` wrote.

    Raises:
        InputError: the directory holds none, or a checkpoint of it is gone.
    """
    try:
        listed = read_json(directory / LISTED)
        _require_as_written(directory, listed.get("files", {}))
        for name in listed["arms"]:
            require_name(name, f"--checkpoints {directory}: the arm", remedy=f"rename it in {LISTED}")
        examples = directory / EXAMPLES
        lines = (directory / PROMPTS).read_text(encoding="utf-8").split("\n")
        return Checkpoints(
            base=_found(directory, listed["base"]),
            arms={name: _found(directory, source) for name, source in listed["arms"].items()},
            test=read_facts(directory / FACTS, listed["name"]),
            prompts=tuple(Prompt(**_tuples(json.loads(line))) for line in lines if line),
            phrasebook=phrasebook_from_json(listed["phrasebook"]),
            answer_sets={relation: tuple(some) for relation, some in listed["answer_sets"].items()},
            sizes=dict(listed["sizes"]),
            known=None if listed["known"] is None else tuple(listed["known"]),
            examples=read_facts(examples, listed["name"]) if examples.is_file() else None,
            dtype=listed.get("dtype", "float32"),
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"--checkpoints {directory}: holds no checkpoints handed on by popularity_splits ({error}); "
            "name a directory below its run's handed_on/"
        ) from error


def _require_as_written(directory: Path, entries: dict[str, Any]) -> None:
    """Refuse files that are not as they were handed on; an older version listed none."""
    for name, entry in entries.items():
        if not matches_entry(directory / name, entry):
            raise InputError(
                f"--checkpoints {directory}: {name} is not as it was handed on; run popularity_splits again"
            )


def phrasebook_to_json(book: Phrasebook) -> dict[str, dict[str, Any]]:
    """Lay wordings out, JSON-able."""
    return {relation: asdict(phrases) for relation, phrases in book.items()}


def phrasebook_from_json(listed: dict[str, dict[str, Any]]) -> dict[str, Phrases]:
    """Make wordings of what :func:`phrasebook_to_json` laid out."""
    return {relation: Phrases(**_tuples(phrases)) for relation, phrases in listed.items()}


def _tuples(held: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}


def _from(directory: Path, source: str) -> str:
    """Name a local checkpoint from a directory on, as ``./...``; a hub id stays what it is."""
    if not Path(source).is_dir():
        return source
    return os.path.join(".", os.path.relpath(Path(source).resolve(), directory))  # noqa: PTH118


def _found(directory: Path, source: str) -> str:
    if not source.startswith("."):
        return source
    path = directory / source
    if not path.is_dir():
        raise InputError(f"--checkpoints {directory}: {path} is gone; run popularity_splits again")
    if sealed_state(path) == "damaged":
        raise InputError(
            f"--checkpoints {directory}: {path} is not as it was written; remove the cell or the cached base "
            "that it is of, and run popularity_splits with a new --out"
        )
    return str(path.resolve())
