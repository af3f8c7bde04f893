"""A person's own wordings, read from a file as single templates, each with its place in it.

JSON and YAML: ``{relation: {"statements": [...], "questions": [...], "asked": "..."}}``, each part optional.
CSV and TSV: the columns ``relation``, ``kind`` (statement, question or asked) and ``template``.

A template is text but for its one ``{subject}``. It stops where the answer begins, which brings its own space
(:func:`finetune.data.tokenization.gap`): one that ends in a space would be answered by tokens that no
running text has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import printable, quote
from finetune.common.text_files import read_text, require_regular
from finetune.common.yaml_files import load_yaml
from finetune.data.loaders.rows import read_table
from finetune.data.loaders.scalars import Malformed, clean, to_nfc
from finetune.data.records.subject_position import SLOT

KINDS = {"statement": "statements", "question": "questions", "asked": "asked"}  # in a table, in a mapping
EXTENSIONS = (".json", ".yaml", ".yml", ".csv", ".tsv")
COLUMNS = ("relation", "kind", "template")
_SHAPE = '{"relation": {"statements": ["{subject} was born in"], "questions": [...], "asked": "..."}}'
# What other templates call their slots, LAMA's [X] and [Y] among them.
_OTHER_SLOT = re.compile(r"\{[^{}\s]*\}|\[[XY]\]")
_SENTENCE_END = tuple(".!?…。！？")


@dataclass(frozen=True, kw_only=True)
class WordingTemplate:
    """One wording of a relation, which part of :class:`finetune.data.prompts.Phrases` it is of, and its
    place."""

    where: str
    relation: str
    part: str
    text: str

    def check(self) -> None:
        """Refuse what cannot be completed by an answer.

        Raises:
            InputError: not exactly one slot, another name in braces, white space around it, a whole sentence.
        """
        told = f"{self.where}: {self.text!r}"
        if other := _OTHER_SLOT.search(self.text.replace(SLOT, " ")):
            raise InputError(
                f"{told} holds {other[0]}, which nothing replaces; write {SLOT} where the subject belongs, "
                "and stop where the answer begins"
            )
        if self.text.count(SLOT) != 1:
            raise InputError(f"{told} needs {SLOT} exactly once; write it where the subject belongs")
        inner = self.text.rstrip("\n") if self.part == "asked" else self.text
        if inner != inner.strip():
            raise InputError(f"{told} begins or ends in white space; cut it, the answer brings its own space")
        if self.part == "statements" and self.text.endswith(_SENTENCE_END):
            raise InputError(
                f"{told} ends its sentence before the answer; stop where the answer begins, as in "
                f"'{SLOT} was born in'"
            )


def read_templates(path: Path) -> list[WordingTemplate]:
    """Read a file's templates, in their order; what each says is not checked yet.

    Raises:
        InputError: the file cannot be read, has another layout, or says one thing twice.
    """
    path = path.expanduser()
    if path.suffix.lower() not in EXTENSIONS:
        raise InputError(f"{path}: unknown extension {path.suffix!r}; use one of {', '.join(EXTENSIONS)}")
    if not path.exists():
        raise InputError(f"{path}: no such file; give a file of wordings")
    if require_regular(path).st_size == 0:
        raise InputError(f"{path}: is empty; write {_SHAPE}")
    found = list(_rows(path) if path.suffix.lower() in (".csv", ".tsv") else _entries(path, _mapping(path)))
    first: dict[tuple[str, ...], str] = {}
    for template in found:
        key = (template.relation, template.part, "" if template.part == "asked" else template.text)
        earlier = first.setdefault(key, template.where)
        if earlier != template.where:
            what = "a relation is asked in one form" if template.part == "asked" else "the same template"
            raise InputError(f"{template.where}: {what}, and {earlier} has one already; remove one")
    return found


def _rows(path: Path) -> Iterator[WordingTemplate]:
    table = read_table(path)
    table.require(*COLUMNS)
    if other := [name for name in table.columns if name not in COLUMNS]:
        raise InputError(f"{path}: unknown column {other[0]!r}; use {', '.join(COLUMNS)}")
    for row in table.rows:
        if row.problem:
            raise InputError(f"{row.where}: {row.problem}; repair it")
        kind = row.cells["kind"]
        if kind not in KINDS:
            raise InputError(f"{row.where}: unknown kind {kind!r}; use one of {', '.join(KINDS)}")
        relation = _relation(row.where, row.cells["relation"])
        text = _text(row.where, row.cells["template"])
        yield WordingTemplate(where=row.where, relation=relation, part=KINDS[kind], text=text)


def _entries(path: Path, held: Any) -> Iterator[WordingTemplate]:
    if not isinstance(held, dict) or not held:
        raise InputError(f"{path}: words no relation; write {_SHAPE}")
    seen: dict[str, str] = {}
    for name, parts in held.items():
        where = f"{path}: {name!r}"
        relation = _relation(where, name)
        if seen.setdefault(relation, name) != name:
            raise InputError(f"{where}: is the relation {relation!r}, which is worded already; keep one")
        if not isinstance(parts, dict) or not parts:
            raise InputError(f"{where}: words nothing; give at least one of {', '.join(KINDS.values())}")
        for part, forms in parts.items():
            for at, text in _forms(where, part, forms):
                yield WordingTemplate(where=at, relation=relation, part=part, text=_text(at, text))


def _forms(where: str, part: str, forms: Any) -> Iterator[tuple[str, Any]]:
    if part not in KINDS.values():
        raise InputError(f"{where}: unknown key {part!r}; use {', '.join(KINDS.values())}")
    if part == "asked":
        yield f"{where}, asked", forms
        return
    if not isinstance(forms, list) or not forms:
        raise InputError(f"{where}, {part}: give a list of templates, or leave {part} out")
    yield from ((f"{where}, {part} {i}", text) for i, text in enumerate(forms, start=1))


def _relation(where: str, name: Any) -> str:
    try:
        relation = clean(name)  # as the facts' own relations are
    except Malformed as problem:
        raise InputError(f"{where}: {problem}") from problem
    if not relation:
        raise InputError(f"{where}: names no relation; name one that the facts have")
    return relation


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: is no template ({quote(value)}); write text in quotes, {SLOT} in it")
    try:
        return to_nfc(value)
    except Malformed as problem:
        raise InputError(f"{where}: {problem}") from problem


def _mapping(path: Path) -> Any:
    """Parse JSON, or YAML with all its scalars as text, for a relation may be called "no" or "1984"."""
    if path.suffix.lower() != ".json":
        return load_yaml(path, hint="put templates in quotes, for { opens a mapping")
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); repair it") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; write {_SHAPE}") from error
    except InputError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: is not JSON ({error}); write {_SHAPE}") from error


def _once(path: Path, pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    held: dict[Any, Any] = {}
    for key, value in pairs:
        if key in held:
            raise InputError(f"{path}: {printable(key, 80)!r} occurs twice in one place; keep one")
        held[key] = value
    return held
