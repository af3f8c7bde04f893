"""How a checkpoint was asked in training: remembered in its directory, so that it is asked alike later."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.data.prompt_formats import PromptFormat

ASKED_AS = "prompt_format.json"


def write_format(directory: Path, style: PromptFormat) -> None:
    """Leave how a training asks in its directory, which its checkpoints lie in."""
    write_json(directory / ASKED_AS, asdict(style))


def format_of(source: str | Path) -> PromptFormat | None:
    """Return how a checkpoint was asked in training, looked for in its directory and the one above it.

    Raises:
        InputError: the file is there, but cannot be read.
    """
    place = Path(source).expanduser()
    for path in (place / ASKED_AS, place.parent / ASKED_AS):
        if place.is_dir() and path.is_file():
            names = {each.name for each in fields(PromptFormat)}
            try:
                return PromptFormat(**{k: v for k, v in read_json(path).items() if k in names})
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{path}: is damaged ({error}); remove it, or train again") from error
    return None


def remembered_format(source: str | Path, told: PromptFormat) -> PromptFormat:
    """Return how a checkpoint is asked: as told, or where nothing is, as it was trained."""
    return (format_of(source) or told) if told == PromptFormat() else told
