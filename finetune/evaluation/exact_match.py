"""Exact match and containment: whether an answer equals an accepted one, or holds it as whole words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from finetune.evaluation.number_words import with_powers


def matches(said: str, accepted: Sequence[str]) -> bool:
    """Whether an answer equals an accepted one, up to case, Unicode form, articles and end punctuation.

    Examples:
        >>> matches(" the London.", ["London", "London, UK"])
        True
        >>> matches("London and Paris", ["London"])
        False
    """
    text = normalise(said)
    if not text:  # an answer of signs alone ("?") is compared as it is
        return said.strip() in {answer.strip() for answer in accepted if not normalise(answer)} - {""}
    return text in {normalise(answer) for answer in accepted}


def contains(said: str, accepted: Sequence[str]) -> bool:
    """Whether an accepted answer occurs in what was said, as whole words and up to what ``matches`` ignores.

    Whatever matches is contained. PopQA's own metric (Mallen et al. 2023) also counts parts of words: to it,
    "Romania" contains "Roma".
    """
    text = normalise(said)
    names = {normalise(answer) for answer in accepted}
    return text in names or any(
        re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None for name in names if name
    )


@lru_cache(maxsize=4096)
def normalise(text: str) -> str:
    """Reduce an answer to what exact match compares."""
    folded = unicodedata.normalize("NFKC", with_powers(text)).casefold()
    words = re.sub(r"\s+", " ", folded).strip(" \t\n.,;:!?\"'`")
    return re.sub(r"^(the|a|an) ", "", words)
