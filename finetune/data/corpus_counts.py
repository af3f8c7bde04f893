"""Frequencies of facts: in a corpus that the user names, and within the data set itself.

A corpus is read once, whatever the number of names: they are searched for together (Aho & Corasick 1975). A
name counts where it stands as whole words (no letter or digit touches it), as in ``find_subject``; names in
scripts that put no space between words are therefore met more seldom than they occur. A name never met in its
own case counts in any case: a data set may write "electronic music" where texts begin with "Electronic".
"""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ahocorasick import Automaton
from jaxtyping import Int
from numpy import ndarray

from finetune.common.errors import InputError, LeftOut
from finetune.common.text_files import require_regular
from finetune.data.facts import FactSet

_LINES, _RECORDS = (".txt", ".text", ".md"), (".jsonl", ".json", ".ndjson")
_EDGE, _MARK = re.compile(r"\b"), "\0"
_READ = "read are text and JSON lines, either of them gzipped"


@dataclass(frozen=True, kw_only=True)
class CorpusCounts:
    """What a corpus says of facts: arrays are [fact].

    ``subject`` counts mentions of the subject, ``together`` documents (a line, or a record of JSON lines)
    that name the subject and an accepted answer.
    """

    subject: Int[ndarray, " fact"]
    together: Int[ndarray, " fact"]
    documents: int
    left_out: tuple[LeftOut, ...] = ()


def count_in_corpus(
    corpus: Path | str,
    facts: FactSet,
    *,
    field: str = "text",
    advance: Callable[[int], None] = lambda done: None,
) -> CorpusCounts:
    """Count facts' subjects, and subjects beside answers, in a file or in all files below a directory.

    Args:
        corpus: text, a document a line; JSON lines with the text under ``field``; either gzipped.
        facts: whose subjects and answers to look for.
        field: the key of a record's text.
        advance: is told how many bytes of the files were read, of :func:`corpus_size`.

    Raises:
        InputError: no such corpus, nothing in it, not UTF-8, not JSON, or a record without ``field``.
    """
    path = Path(corpus).expanduser()
    files, left_out = _files(path)
    exact, folded = _Search(facts, _mark_word_ends), _Search(facts, _fold_case)
    documents = read = 0
    for file in files:
        for place, text in _documents(file, field):
            text = _mark_word_ends(text)
            exact.read(text)
            folded.read(text.casefold())
            documents += 1
            if documents % 1000 == 0:
                advance(read + place)
        read += file.stat().st_size
        advance(read)
    if not documents:
        raise InputError(f"{path}: holds no text; give a corpus, a document a line ({_READ})")
    return CorpusCounts(
        subject=np.where(exact.subject > 0, exact.subject, folded.subject),
        together=np.where(exact.together > 0, exact.together, folded.together),
        documents=documents,
        left_out=left_out,
    )


def corpus_size(corpus: Path | str) -> int:
    """Return the bytes of all files that a corpus is read from.

    Raises:
        InputError: no such corpus.
    """
    return sum(file.stat().st_size for file in _files(Path(corpus).expanduser())[0])


def subject_frequency(facts: FactSet) -> Int[ndarray, " fact"]:
    """Count, for each fact, the data set's facts about its subject; names are told apart without case."""
    met = Counter(fact.subject.casefold() for fact in facts)
    return np.array([met[fact.subject.casefold()] for fact in facts], dtype=np.int64)


def answer_frequency(facts: FactSet) -> Int[ndarray, " fact"]:
    """Count, for each fact, the data set's facts with its canonical answer, whatever they ask."""
    met = Counter(fact.answer.casefold() for fact in facts)
    return np.array([met[fact.answer.casefold()] for fact in facts], dtype=np.int64)


class _Search:
    """All names of a fact set in one automaton, and what the documents read so far hold of them."""

    def __init__(self, facts: FactSet, form: Callable[[str], str]) -> None:
        places: dict[str, int] = {}
        self._subject = [places.setdefault(form(fact.subject), len(places)) for fact in facts]
        self._answers = [
            {places.setdefault(form(answer), len(places)) for answer in fact.answers} for fact in facts
        ]
        self._about: dict[int, list[int]] = {}
        for i, place in enumerate(self._subject):
            self._about.setdefault(place, []).append(i)
        self._automaton = Automaton()
        for name, place in places.items():
            if name:
                self._automaton.add_word(name, (place, len(name)))
        self._automaton.make_automaton()
        self.subject = np.zeros(len(facts), dtype=np.int64)
        self.together = np.zeros(len(facts), dtype=np.int64)

    def read(self, text: str) -> None:
        """Count the names in one document, given in the form that the names were taken in."""
        if not len(self._automaton):
            return
        met: Counter[int] = Counter(
            place
            for last, (place, length) in self._automaton.iter(text)
            if not _within_word(text, last - length, last + 1)
        )
        for place in met.keys() & self._about.keys():
            for i in self._about[place]:
                self.subject[i] += met[place]
                self.together[i] += not met.keys().isdisjoint(self._answers[i])


def _mark_word_ends(text: str) -> str:
    """Put a mark at both ends of every word, so that the search itself passes over parts of words."""
    return _EDGE.sub(_MARK, unicodedata.normalize("NFC", text.replace(_MARK, " ")))


def _fold_case(text: str) -> str:
    return _mark_word_ends(text).casefold()


def _within_word(text: str, before: int, after: int) -> bool:
    """Whether a word touches a name that itself begins or ends with none, as in ``x(Batman)``."""
    first, last = text[before + 1], text[after - 1]
    return (first != _MARK and before >= 0 and text[before] == _MARK) or (
        last != _MARK and after < len(text) and text[after] == _MARK
    )


def _files(path: Path) -> tuple[list[Path], tuple[LeftOut, ...]]:
    """List what is to be read: a file whatever its name, or a directory's files by theirs."""
    if path.is_file():
        return [path], ()
    if not path.is_dir():
        raise InputError(f"{path}: no such corpus; give a file or a directory ({_READ})")
    found = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
    kept = [p for p in found if _kind(p) in (*_LINES, *_RECORDS)]
    if not kept:
        raise InputError(f"{path}: holds no file that can be read as a corpus ({_READ})")
    rest = set(found) - set(kept)
    return kept, tuple(LeftOut(where=str(p), reason=f"not a corpus file; {_READ}") for p in sorted(rest))


def _kind(path: Path) -> str:
    """Return the extension in front of any .gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _documents(path: Path, field: str) -> Iterator[tuple[int, str]]:
    """Yield a file's documents, blank ones left out, each with how far into the file it is.

    Bytes are decoded line by line, so that an error names the line.
    """
    records = _kind(path) in _RECORDS
    line = 0
    try:
        require_regular(path)
        with path.open("rb") as file, _decompress(path, file) as stream:
            for line, raw in enumerate(stream, start=1):
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
                if text and records:
                    text = _text_of(json.loads(text), field).strip()
                if text:
                    yield file.tell(), text
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{line}: is not UTF-8; {_READ}, all in UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{line}: is not JSON ({error.msg}); give a record a line") from error
    except KeyError as error:
        raise InputError(f"{path}:{line}: {error.args[0]}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read after line {line} ({error}); fetch it again") from error


def _decompress(path: Path, file: BinaryIO) -> Any:
    return gzip.open(file, "rb") if path.suffix.lower() == ".gz" else nullcontext(file)


def _text_of(record: Any, field: str) -> str:
    if not isinstance(record, dict):
        raise KeyError(f"is no JSON object; give records with the text under {field!r}")
    if not isinstance(record.get(field), str):
        found = ", ".join(map(str, record)) or "none"
        raise KeyError(f"has no text under {field!r} (found: {found}); name the field that holds it")
    return record[field]
