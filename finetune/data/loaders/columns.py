"""Column names: what a file calls its columns, and what they are called here.

Names that are known here are found whatever their case and the space around them. Others can be mapped:
``{"subject": "Name"}`` says that the file's column ``Name`` holds the subjects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from finetune.common.errors import InputError
from finetune.common.messages import join_names, quote

MAPPED = ("subject", "relation", "answer", "answers", "question", "popularity", "choices", "id")
_KNOWN = re.compile(
    r"subject|relation|answers?|question|popularity|choices|choice\d{1,4}|id|subj|prop|obj|s_pop|possible_answers"
    r"|kind|template"
)


def mapping(given: Sequence[str], option: str = "--columns") -> dict[str, str]:
    """Read ``NAME=COLUMN`` as they are given on a command line.

    Raises:
        InputError: one of another form, an unknown name, or a name twice.
    """
    made: dict[str, str] = {}
    for entry in given:
        name, equals, column = (part.strip() for part in entry.partition("="))
        if not (name and equals and column):
            raise InputError(f"{option} {entry}: write NAME=COLUMN, as in subject=Name")
        if name in made:
            raise InputError(f"{option} {entry}: {name} is given twice; keep one")
        made[name] = column
    check_mapping(made, option)
    return made


def check_mapping(columns: Mapping[str, str], option: str = "columns") -> None:
    """Refuse names that no reader looks for.

    Raises:
        InputError: names the unknown one and those that there are.
    """
    for name in columns:
        if name not in MAPPED:
            raise InputError(f"{option} {quote(name)}: unknown name; use one of {', '.join(MAPPED)}")


def canonical(source: str, found: Iterable[str], columns: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return, by the file's own name of each column, what it is called here.

    Raises:
        InputError: ``columns`` names one that the file lacks, or two columns would have one name.
    """
    names = list(dict.fromkeys(found))
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(_fold_name(name), []).append(name)
    made = {name: name for name in names}
    for fold, alike in folded.items():
        if _KNOWN.fullmatch(fold):
            if len(alike) > 1 and fold not in (columns or {}):
                raise InputError(f"{source}: columns {join_names(map(repr, alike))} are one name; rename one")
            made[alike[0]] = fold
    given: dict[str, str] = {}
    for name, wanted in (columns or {}).items():
        alike = [wanted] if wanted in made else folded.get(_fold_name(wanted), [])
        if len(alike) != 1:
            raise InputError(
                f"{source}: no column {quote(wanted)}, which --columns {name}={wanted} names; it has "
                f"{join_names(names)}"
            )
        if (before := given.setdefault(alike[0], name)) != name:
            raise InputError(
                f"{source}: column {quote(alike[0])} is given as {before} and as {name}; give it one name"
            )
        for other, called in made.items():
            if called == name and other != alike[0]:
                made[other] = f"{name} of the file"
        made[alike[0]] = name
    if twice := [name for name, count in Counter(made.values()).items() if count > 1]:
        raise InputError(f"{source}: two columns would be called {quote(twice[0])}; rename one")
    return made


def _fold_name(name: str) -> str:
    return " ".join(name.replace("\ufeff", "").split()).casefold()
