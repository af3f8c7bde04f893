"""Labels of figures: tokens and names made fit to draw, cut short, and told from one another."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

JOINERS = "\u200c\u200d"  # what Persian, Hindi and emoji need between letters
LEFT_TO_RIGHT = "\u200e"  # isolates would say more, and the font has none


def drawable_label(text: str, longest: int = 18) -> str:
    """Make a token or a name fit to draw: breaks visible, control characters replaced, cut short.

    What is written from right to left is set apart, so that it does not turn the words beside it round.
    """
    return _set_apart(_cut(_visible(text), longest))


def drawable_labels(names: Iterable[str], longest: int = 18) -> dict[str, str]:
    """Make the names of one figure fit to draw, so that no two become the same.

    A name is cut at its end; where several would then look alike, what they share is cut instead. What cannot
    be told apart in so few letters is numbered.
    """
    texts = {name: _visible(name) for name in names}
    labels = {name: _cut(text, longest) for name, text in texts.items()}
    for _ in labels:  # a round may leave some alike that differ further on
        for group in _alike(labels):
            labels |= _told_apart({name: texts[name] for name in group}, longest)
    for i, name in enumerate(chain(*_alike(labels)), 1):
        labels[name] = f"{labels[name][: longest - 4 - len(str(i))]}… ({i})"
    return {name: _set_apart(label) for name, label in labels.items()}


def _alike(labels: Mapping[str, str]) -> list[list[str]]:
    """Return the names that have one label, a list for each label that several have."""
    groups: dict[str, list[str]] = {}
    for name, label in labels.items():
        groups.setdefault(label, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _told_apart(texts: Mapping[str, str], longest: int) -> dict[str, str]:
    """Shorten texts where they agree: keep their beginning and what stands around their first difference."""
    start = _shared(list(texts.values()))
    end = _shared([text[start:][::-1] for text in texts.values()])
    made = {}
    for name, text in texts.items():
        rest = text[start:]
        if len(rest) > longest // 2 and end:  # an end that they share goes as well
            rest = rest[: len(rest) - end] + "…"
        rest = _cut(rest, longest - 2)
        room = longest - 1 - len(rest)
        near = min(room // 2, start)
        made[name] = f"{text[: room - near]}…{text[start - near : start]}{rest}"
    return made


def _shared(texts: Sequence[str]) -> int:
    """Count the letters with which all texts begin."""
    letters = enumerate(zip(*texts, strict=False))
    return next((i for i, each in letters if len(set(each)) > 1), min(map(len, texts)))


def _visible(text: str) -> str:
    """Show breaks, replace control characters, and drop what only formats, joiners of letters excepted."""
    shown = text.replace("\n", "↵").replace("\t", "→")
    kinds = ((c, unicodedata.category(c)) for c in shown)
    shown = "".join(
        "\ufffd" if kind in ("Cc", "Cs") else c for c, kind in kinds if kind != "Cf" or c in JOINERS
    )
    return shown.strip() or ("␣" if text else "∅")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _set_apart(text: str) -> str:
    """Put marks of the direction of reading around a text that holds letters of the other one."""
    return f"{LEFT_TO_RIGHT}{text}{LEFT_TO_RIGHT}" if reads_right_to_left(text) else text


def reads_right_to_left(text: str) -> bool:
    """Say whether a text holds letters that are read from right to left, as Arabic and Hebrew are."""
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)
