"""Rows of CSV and TSV files.

A record that cannot be read (a stray quote, a wrong number of fields) costs its own line only: reading goes
on with the next line, so that one open quote does not swallow the rest of the file. A CSV file whose first
record is a question, its options and a letter is of MMLU's original release, which has no header. A first
line ``sep=;``, as spreadsheets write, says the delimiter and is no record.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.data.loaders.records import Row, text_of

_SEPARATOR = re.compile(r"\ufeff?\"?sep=([,;|:^~\t])\"?[,;\t]*\r?\n?", re.I)
_NAMES = frozenset({"question", "answer", "answers", "subject", "subj", "relation", "id"})  # of columns
_LOOKED_AT = 20  # lines, for what a file without a header holds


def delimited(path: Path) -> Iterator[Row]:
    """Read a file's records.

    Raises:
        InputError: it is not UTF-8, or its first line does not name the columns.
    """
    lines = io.StringIO(text_of(path), newline="").readlines()
    declared = _SEPARATOR.fullmatch(lines[0]) if lines else None
    header = _headless(lines) if path.suffix.lower() == ".csv" and not declared else None
    delimiter = "," if header else delimiter_of(lines[0] if lines else "", path.suffix)
    number = 0
    width, start = len(header) if header else None, int(declared is not None)
    for line, fields, problem in _records(lines, delimiter, width, start):
        if header is None:
            header = _header(path, fields, problem)
            continue
        number += 1
        cells = dict.fromkeys(header) if problem else dict(zip(header, fields, strict=True))
        yield Row(file=path.name, line=line, number=number, cells=cells, problem=problem)


def delimiter_of(first: str, extension: str) -> str:
    """Return what separates the fields of a first line: the most frequent, in ``.tsv`` a tab that is there.

    A first line ``sep=;`` names it.
    """
    if declared := _SEPARATOR.fullmatch(first):
        return declared[1]
    return "\t" if extension.lower() == ".tsv" and "\t" in first else max(",\t;", key=first.count)


def _records(
    lines: Sequence[str], delimiter: str, width: int | None, start: int = 0
) -> Iterator[tuple[int, list[str], str | None]]:
    """Yield the line on which each record begins, its fields, and what is wrong with it.

    Records have as many fields as the first. After a wrong one the next line is a new record's, whatever
    quotes were open.
    """
    at = start
    while at < len(lines):
        start, reader = at, csv.reader(islice(lines, at, None), delimiter=delimiter, strict=True)
        while True:
            line, problem = at + 1, None
            try:
                fields = [field.strip() for field in next(reader)]
            except StopIteration:
                return
            except csv.Error as error:
                fields, problem = [], f"cannot be read ({error})"
            if fields and width is not None and len(fields) != width:
                problem = f"{len(fields)} fields instead of {width}"
            at = line if problem else start + reader.line_num
            if fields or problem or width is None:
                width = len(fields) if width is None else width
                yield line, fields, problem
            if problem and at != start + reader.line_num:
                break


def _headless(lines: Sequence[str]) -> list[str] | None:
    """Name the columns of a file that begins with a question, its options and the right one's letter."""
    records: list[list[str]] = []
    with suppress(csv.Error):
        for record in csv.reader(islice(lines, _LOOKED_AT), strict=True):
            records += [[field.strip() for field in record]] if record else []
    fields = records[0] if records else []
    n = len(fields) - 2
    letters = [chr(ord("A") + i) for i in range(n)]
    lettered = sum(record[-1] in letters for record in records)
    # Of a header ``Country,Capital,Region,A`` the lines below do not end in a letter, too.
    if not 2 <= n <= 26 or fields[-1] not in letters or 2 * lettered <= len(records):
        return None
    if not _NAMES.isdisjoint(field.casefold() for field in fields):
        return None
    return ["question", *(f"choice{i}" for i in range(n)), "answer"]


def _header(path: Path, fields: list[str], problem: str | None) -> list[str]:
    if problem or not any(fields):
        raise InputError(f"{path}:1: {problem or 'is blank'}; the first line must name the columns")
    name, count = Counter(fields).most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}:1: column {quote(name)} occurs twice; rename one")
    return fields
