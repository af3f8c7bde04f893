"""A directory of fact files, as data sets are released: one file a relation or subset, and one split of them.

1. A directory without files of facts, but with sub-directories named after splits, stands for one of those.
2. Where one file is EntityQuestions' (``P17.dev.json``), only such files are facts.
3. Of files of several splits (``P17.train.json`` beside ``P17.dev.json``), one split is taken.

Which split is for :mod:`finetune.data.loaders.hub_splits` to say: EntityQuestions' train, MMLU's test.
Name a split's own directory, or a file, for another one. Everything else that lies there is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune.common.errors import InputError, LeftOut
from finetune.data.loaders import entity_questions
from finetune.data.loaders.hub_splits import preferred_split, split_of
from finetune.data.loaders.records import Table
from finetune.data.loaders.rows import EXTENSIONS, read_table


def read_directory(
    path: Path, columns: Mapping[str, str] | None = None
) -> tuple[str, list[Table], tuple[LeftOut, ...]]:
    """Read the files of one split below ``path``; return a name for them, their tables and what was left.

    ``columns`` are every file's own names of columns, by what they are called here.

    Raises:
        InputError: no file of facts is there, or one cannot be read.
    """
    name, left_out = path.name, []
    inner = {split: entry for entry in _visible(path) if entry.is_dir() and (split := split_of(entry))}
    if inner and not _fact_files(path):
        taken = preferred_split(
            inner, _columns([file for entry in inner.values() for file in _fact_files(entry)])
        )
        path, name = inner[taken], f"{name}/{inner[taken].name}"
        left_out = [_left_out_files(entry, taken) for split, entry in inner.items() if split != taken]
    files = _fact_files(path)
    if not files:
        raise InputError(f"{path}: holds no file of facts ({', '.join(EXTENSIONS)}); give a file of facts")
    taken_files = set(files)
    others = [entry for entry in _visible(path) if entry not in taken_files]
    left_out += [LeftOut(where=entry.name, reason="is no file of facts of this data set") for entry in others]
    if splits := {split for file in files if (split := split_of(file))}:
        taken = preferred_split(sorted(splits), _columns(files) if len(splits) > 1 else ())
        left_out += [_left_out_files(file, taken) for file in files if split_of(file) not in (None, taken)]
        files = [file for file in files if split_of(file) in (None, taken)]
    return name, [read_table(file, columns) for file in files], tuple(left_out)


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))


def _fact_files(path: Path) -> list[Path]:
    files = [f for f in _visible(path) if f.is_file() and f.suffix.lower() in EXTENSIONS]
    return [f for f in files if entity_questions.relation_of(f.name)] or files


def _columns(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the columns of the smallest file: they tell which data set this is."""
    return read_table(min(files, key=lambda file: file.stat().st_size)).columns if files else ()


def _left_out_files(path: Path, taken: str) -> LeftOut:
    return LeftOut(where=path.name, reason=f"was not read; {taken} is the split taken")
