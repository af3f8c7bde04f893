"""Known wordings of relations, read from YAML: of PopQA, EntityQuestions, GeoNames and the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.common.yaml_files import load_yaml
from finetune.data.loaders.entity_questions import WORDINGS
from finetune.data.records.wording import Wording

FOLDER = Path(__file__).parent


def _forms(held: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(held["statements"]), tuple(held["questions"])


def _wordings(relations: dict[str, Any]) -> dict[str, Wording]:
    return {name: (held["asked"], *_forms(held)) for name, held in relations.items()}


ENTITY_QUESTIONS = _wordings(WORDINGS)
POPQA, GEONAMES = (_wordings(load_yaml(FOLDER / f"{name}.yaml")) for name in ("popqa", "geonames"))
WORLD = load_yaml(FOLDER / "world.yaml")
WORLD_FORMS = {name: _forms(held) for name, held in WORLD.items()}
WORLD_ENDINGS: dict[str, str] = {name: held["ending"] for name, held in WORLD.items()}
