"""How a checkpoint was asked in training: remembered in its directory, so that it is asked alike later."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.data.prompt_formats import PromptFormat

ASKED_AS = "prompt_format.json"
DEPTH = 2  # of a model in its training's directory: lr-0.001/checkpoint-20


def write_format(directory: Path, style: PromptFormat) -> None:
    """Leave how a training asks in its directory, which its checkpoints lie in."""
    write_json(directory / ASKED_AS, asdict(style))


def training_places(source: str | Path) -> tuple[Path, ...]:
    """List the directories in which a checkpoint's training may have left what it says of itself."""
    place = Path(source).expanduser()
    return (place, *place.resolve().parents[:DEPTH]) if place.is_dir() else ()


def format_of(source: str | Path) -> PromptFormat | None:
    """Return how a checkpoint was asked in training, looked for in :func:`training_places`.

    Raises:
        InputError: the file is there, but cannot be read.
    """
    for path in (place / ASKED_AS for place in training_places(source)):
        if path.is_file():
            names = {each.name for each in fields(PromptFormat)}
            try:
                return PromptFormat(**{k: v for k, v in read_json(path).items() if k in names})
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{path}: is damaged ({error}); remove it, or train again") from error
    return None


def remembered_format(source: str | Path, told: PromptFormat) -> PromptFormat:
    """Return how a checkpoint is asked: as told, or where nothing is, as it was trained."""
    return (format_of(source) or told) if told == PromptFormat() else told
