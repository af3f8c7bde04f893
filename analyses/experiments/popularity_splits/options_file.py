"""Options of popularity_splits from a YAML file, as words of its command line: one parser reads both."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from finetune.common.errors import InputError
from finetune.common.messages import printable
from finetune.common.yaml_files import load_yaml

FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def command_words() -> list[str]:
    """Return the arguments of the command line, those of its --yaml file in front."""
    given = sys.argv[1:]
    if sum(word.partition("=")[0] == "--yaml" for word in given) > 1:
        raise InputError("--yaml: is given twice; put all options into one file")
    for i, word in enumerate(given):
        flag, mark, value = word.partition("=")
        if flag == "--yaml":
            if not mark and i + 1 == len(given):
                raise InputError("--yaml: name a file of options")
            return [*words(Path(value if mark else given[i + 1])), *given]
    return given


def words(path: Path, options: type[Any] = PopularitySplitsOptions) -> list[str]:
    """Turn a YAML file of options into command-line arguments.

    Raises:
        InputError: no such file, not YAML, not a mapping, or an option that there is not.
    """
    held = load_yaml(path, label=f"--yaml {path}")
    if not isinstance(held, dict):
        raise InputError(f"--yaml {path}: holds no options; write one a line, as in steps: 100")
    known = {field.name: field.type for field in fields(options) if field.name != "yaml"}
    made: list[str] = []
    first: dict[str, str] = {}
    for key, value in held.items():
        name = key.replace("-", "_")
        told = f"--yaml {path}: {printable(key, 80)}"
        if name not in known:
            raise InputError(f"{told}: there is no such option; choose from {', '.join(sorted(known))}")
        if (earlier := first.setdefault(name, key)) != key:
            raise InputError(f"{told}: is the same option as {earlier}; keep one")
        made += _arguments(told, f"--{name.replace('_', '-')}", value, is_flag=known[name] in (bool, "bool"))
    return made


def _arguments(told: str, flag: str, value: Any, *, is_flag: bool) -> list[str]:
    """Turn one option of a YAML file into arguments, the words as they stand in the file."""
    if value is None:
        return []
    if is_flag:
        if not isinstance(value, str) or value.lower() not in FLAGS:
            raise InputError(f"{told}: give true or false")
        return [flag if FLAGS[value.lower()] else f"--no-{flag[2:]}"]
    if isinstance(value, dict):
        items = [f"{name}={_word(told, item)}" for name, item in value.items()]
    else:
        items = [_word(told, item) for item in (value if isinstance(value, list) else [value])]
    if marked := [word for word in items if word.startswith("-") and not _is_number(word)]:
        raise InputError(f"{told}: {printable(marked[0])!r} looks like an option; write a value")
    return [flag, *items]


def _word(told: str, item: Any) -> str:
    if not isinstance(item, str):
        raise InputError(f"{told}: give a value or a plain list of values")
    return item


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
