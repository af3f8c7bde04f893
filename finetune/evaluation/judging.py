"""Judging answers: what a model said against the accepted answers, by its beginning, whole, or anywhere.

``begins``, the rule of every accuracy here, reads what was said word by word:

1. What models put in front is passed over: a label ("A:", "The answer is"), articles, the subject's own
   statement again ("The capital of Kenya is"), and a few words in lower case ("a small town in the").
2. The first of the relation's answers to be met decides, the longest of those that begin there: "Mexico City"
   is not "Mexico" where it is an answer itself. A name that goes on as the subject's does is the subject.
3. A name of another kind, a negation, a relative clause or the end of the sentence ends the search: wrong.

``exact`` asks for nothing but the answer, ``contains`` for the answer anywhere. ``begins`` compares words:
Unicode forms, accents, case, punctuation, articles, "St." for "Saint", and how a number or a date is written
("XIV", "fourteenth", "14th"; "two", "2"; "5 million", "5,000,000"; "4 July", "July 4th") do not matter, nor
do a hyphen and an apostrophe ("N'Djamena", "Ndjamena"). A sign does ("A+", "C#", "-40").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

from finetune.evaluation.answer_words import (
    Word,
    compound,
    fold,
    is_function_word,
    is_lead,
    lead_in,
    reads_as,
    words_of,
)
from finetune.evaluation.exact_match import contains, matches

if TYPE_CHECKING:
    from finetune.data.prompts import Prompt

Mode = Literal["begins", "contains", "exact"]


@dataclass(frozen=True)
class AnswerJudge:
    """Judges what models said to prompts; ``names`` are each relation's possible answers.

    Examples:
        >>> judge = AnswerJudge({"capital": ("Mexico", "Mexico City")})
        >>> judge.named("The capital is Mexico City.", "capital")
        'Mexico City'
    """

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, prompts: Iterable[Prompt]) -> AnswerJudge:
        """Take as a relation's possible answers the canonical ones of some prompts."""
        names: dict[str, dict[str, None]] = {}
        for prompt in prompts:
            names.setdefault(prompt.relation, {})[prompt.answers[0]] = None
        return cls({relation: tuple(some) for relation, some in names.items()})

    def is_right(self, prompt: Prompt, said: str, mode: Mode = "begins") -> bool:
        """Whether what was said to a prompt is one of its accepted answers."""
        subject = prompt.text[slice(*prompt.subject)]
        names = self.names.get(prompt.relation, ())
        return is_right(said, prompt.answers, mode=mode, names=names, subject=subject)

    def named(self, said: str, relation: str, subject: str = "") -> str:
        """Return which of a relation's answers was given; what was said in short where it is none."""
        names = tuple(self.names.get(relation, ()))
        found = _given(said, (names,), subject, common=_is_common(names))
        return found if found is not None else " ".join(fold(said).split()[:6])


def is_right(
    said: str,
    accepted: Sequence[str],
    *,
    mode: Mode = "begins",
    names: Sequence[str] = (),
    subject: str = "",
) -> bool:
    """Whether what a model said is an accepted answer.

    Args:
        said: the model's words.
        accepted: names of the right answer.
        mode: whether it must begin with one (after what models put in front), contain one, or be one.
        names: the relation's possible answers; one of them that is met first, or is longer, decides.
        subject: what was asked about, which may be named again in front of the answer.

    Examples:
        >>> is_right("A: The capital of Kenya is Nairobi, Kenya.", ["Nairobi"], subject="Kenya")
        True
        >>> is_right("Mexico City", ["Mexico"], names=["Mexico", "Mexico City"])
        False
        >>> is_right("not Nairobi", ["Nairobi"])
        False
    """
    if mode == "contains":
        return contains(said, accepted)
    if mode == "exact" or matches(said, accepted):
        return matches(said, accepted)
    rivals = _rivals(tuple(names), _is_led(accepted))
    sought = _without_common_words(tuple(accepted))
    found = _given(said, (sought, rivals), subject, common=_is_common(accepted[:1]))
    return found is not None and found in accepted


@lru_cache(maxsize=4096)
def _without_common_words(accepted: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out aliases that are words of any sentence: "in", "no" and "us" beside "IN", "NO" and "US"."""
    return tuple(name for name in accepted if not (name.islower() and name.upper() in accepted))


Key = tuple[str, ...]
Index = Mapping[str, Sequence[tuple[Key, str]]]
Reading = Callable[[Sequence[Word]], tuple[Word, ...]]
# Ways to read what joins words of a name; a later one is tried where an earlier one meets no name.
_READINGS: tuple[Reading, ...] = (tuple, compound, partial(compound, possessive=True))


@lru_cache(maxsize=4096)
def _words(said: str) -> tuple[Word, ...]:
    return tuple(words_of(said))  # models say the same of many subjects


@lru_cache(maxsize=4096)
def _index(names: tuple[str, ...], reading: int) -> Index:
    """Group names by their first word, the longest first."""
    groups: dict[str, list[tuple[Key, str]]] = {}
    for name in names:
        if key := _key(name, reading):
            groups.setdefault(key[0], []).append((key, name))
    return {word: sorted(some, key=lambda entry: -len(entry[0])) for word, some in groups.items()}


@lru_cache(maxsize=4096)
def _rivals(names: tuple[str, ...], led: bool) -> tuple[str, ...]:
    """Return the answers that may be met first: "Yes", "It" or "1945" leads up to one of another kind."""
    return names if led else tuple(name for name in names if not _is_led([name]))


def _is_led(names: Sequence[str]) -> bool:
    """Whether a name is nothing but words that lead up to an answer, or numbers."""
    return any(is_lead(words) and not _is_spelt(name, words) for name in names for words in (_words(name),))


def _is_spelt(name: str, words: Sequence[Word]) -> bool:
    """Whether a name is a number in words ("Seven"), which is a name all the same."""
    return not any(map(str.isdigit, name)) and any(word.text.isdigit() for word in words)


@lru_cache(maxsize=4096)
def _key(name: str, reading: int = 0) -> Key:
    """Return a name's words without an article in front, which the text may have or not."""
    words = tuple(word.text for word in _READINGS[reading](words_of(name)))
    return words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words


def _given(said: str, names: Sequence[tuple[str, ...]], subject: str, *, common: bool) -> str | None:
    """Return the first of some names to be met; joined words are read apart, or else as one ("Spiderman")."""
    apart, whole = _words(said), compound(_words(said))
    for reading in range(len(_READINGS)):
        if reading == 0 or whole != apart or _is_read_otherwise(names[0], reading):
            words, about = whole if reading else apart, _key(subject, min(reading, 1))
            found = _first_name(words, [_index(some, reading) for some in names], about, common=common)
            if found is not None:
                return found
    return None


@lru_cache(maxsize=4096)
def _is_read_otherwise(names: tuple[str, ...], reading: int) -> bool:
    return any(_key(name) != _key(name, reading) for name in names)


def _first_name(words: Sequence[Word], indices: Sequence[Index], subject: Key, *, common: bool) -> str | None:
    """Find the first name in what was said, past what may stand in front; None if nothing of that is met."""
    end, at = lead_in(words, set(subject), common=common), 0
    while at <= min(end, len(words) - 1):
        name, length = _longest(words, at, indices)
        again = _shared(words[at:], subject)
        # Where subject and answer bear one name, "The capital of Phrae is" does not answer yet.
        restated = length == again == len(subject) and _next_is(words, at + length, _COPULAS)
        if length and length >= again and not restated:
            return None if _taken_back(words, at + length) else name
        if again and (again == len(subject) or again > 1 or length):
            at += again
            end = max(end, at + lead_in(words[at:], set(subject), common=common, after_subject=True))
        else:
            at += 1
    return None


def _longest(words: Sequence[Word], at: int, indices: Sequence[Index]) -> tuple[str, int]:
    """Return the longest name that begins at a word, and how many words it has; of equals the first."""
    best = ("", 0)
    if at and words[at].joined and words[at - 1].text[-1:].isdigit() and words[at].text[:1].isdigit():
        return best  # the 5 of "3.5"
    for index in indices:
        for key, name in index.get(words[at].text, ()):
            bare = key[-1] == "percent" and len(words) == at + len(key) - 1  # "The percentage is 80."
            key = key[:-1] if bare else key
            end = at + len(key)
            # "Phrae-Lemmon" is not Phrae, nor is "Iran's north" Iran.
            goes_on = end < len(words) and words[end].joined
            is_longer = len(key) > best[1] and not goes_on
            if is_longer and reads_as(words[at:end], key) and _is_written(name, words, at, end):
                best = (name, len(key))
    return best


def _is_written(name: str, words: Sequence[Word], at: int, end: int) -> bool:
    """Whether upper and lower case allow a name: "us" is not "US", nor "lays" Lay's, nor "Red Devils" red."""
    if len(name) <= 3 and name.isupper() and name[0].isalpha():
        return words[at].capitals if is_function_word(name.lower()) else words[at].upper
    if at > 0 and end == at + 1 and name[:1].isupper() and fold(name).endswith("'s"):
        return words[at].upper
    named = end < len(words) and words[end].upper and words[end].before == " "
    return not (name[:1].islower() and at > 0 and words[at].upper and named)


def _shared(words: Sequence[Word], subject: Key) -> int:
    pairs = enumerate(zip(words, subject, strict=False))
    return next((n for n, (word, part) in pairs if word.text != part), min(len(words), len(subject)))


def _taken_back(words: Sequence[Word], at: int) -> bool:
    """Whether what follows denies the answer ("Paris is not ...")."""
    denied = _next_is(words, at, _COPULAS) and _next_is(words, at + 1, ("not", "never"))
    return denied or (
        _next_is(words, at, ("isn", "wasn", "aren", "weren")) and _next_is(words, at + 1, ("t",))
    )


def _next_is(words: Sequence[Word], at: int, which: Sequence[str]) -> bool:
    return at < len(words) and words[at].text in which


def _is_common(names: Sequence[str]) -> bool:
    """Whether answers are common nouns: most are written in lower case."""
    return 2 * sum(name[:1].islower() for name in names) > len(names)


_COPULAS = ("is", "was", "are", "were")
