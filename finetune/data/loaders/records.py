"""Records of a source: rows, each with its place, and the table that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import join_names
from finetune.common.text_files import decode_utf8
from finetune.data.loaders.columns import MAPPED, canonical
from finetune.data.records.wording import Wording


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record: its cells by column, or the problem it has.

    ``file`` and ``line`` say where it stands, ``number`` its place among the file's records, from 1; of a
    source without lines ``line`` is 0.
    """

    file: str
    line: int = 0
    number: int
    cells: Mapping[str, Any]
    problem: str | None = None

    @property
    def where(self) -> str:
        """Where it stands: ``file:line``, or its number."""
        return place(self.file, self.line, self.number)


def place(file: str, line: int, number: int) -> str:
    """Say where a record stands."""
    return f"{file}:{line}" if line else f"{file} row {number}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """The records of one source in their order; ``columns`` are all the names that occur.

    ``headers`` are the file's own names of columns that are called otherwise here, ``mapped`` the names here
    that the caller gave to some. ``nested`` says that the
    rows stand in a list inside a JSON object, ``relation`` and ``wording`` what that says of all of them.
    """

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    headers: Mapping[str, str] = field(default_factory=dict)
    mapped: frozenset[str] = frozenset()
    path: Path | None = None
    nested: bool = False
    relation: str | None = None
    wording: Wording | None = None

    def require(self, *columns: str) -> None:
        """Raise InputError unless every one of ``columns`` is there."""
        for column in columns:
            if column not in self.columns:
                raise self.lacks(column)

    def lacks(self, *columns: str, but: str = "") -> InputError:
        """Make the error that none of ``columns`` is there; ``but`` is what else would do."""
        names = " or ".join(map(repr, columns))
        mapped = f", or say what the file calls it (--columns {columns[0]}=NAME)"
        mapped = mapped if columns[0] in MAPPED else ""
        return InputError(f"{self.name}: no column {names}; add it{mapped}{but} ({self.found})")

    @property
    def found(self) -> str:
        """The file's own names of its columns, for a message."""
        headers = [self.header(column) for column in self.columns]
        hidden = "" if all(map(str.isprintable, headers)) else ", without characters that cannot be seen"
        return f"found{hidden}: {join_names(headers)}"

    def header(self, column: str) -> str:
        """Return the file's own name of a column."""
        return self.headers.get(column, column)


def table_of(
    name: str,
    rows: list[Row],
    columns: Mapping[str, str] | None = None,
    *,
    path: Path | None = None,
    found: Sequence[str] | None = None,
) -> Table:
    """Make a table of rows, whose cells are by the file's own names, and call its columns as here.

    Args:
        name: the source's name.
        rows: its records.
        columns: what the file calls its columns, by their names here.
        path: the file.
        found: the columns' names, where the rows do not hold all of them.

    Raises:
        InputError: ``columns`` maps one that is not there.
    """
    occur = dict.fromkeys(column for row in rows for column in row.cells) if found is None else found
    names = canonical(name, occur, columns)
    other = {own: called for own, called in names.items() if own != called}
    if other:
        for i, row in enumerate(rows):
            cells = {names[own]: value for own, value in row.cells.items()}
            rows[i] = Row(file=row.file, line=row.line, number=row.number, cells=cells, problem=row.problem)
    headers = {called: own for own, called in other.items()}
    return Table(
        name=name,
        columns=tuple(names.values()),
        rows=rows,
        headers=headers,
        mapped=frozenset(columns or ()),
        path=path,
    )


def text_of(path: Path) -> str:
    """Read a file's text.

    Raises:
        InputError: it cannot be read, or is not UTF-8; names the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    return decode_utf8(raw, str(path))
