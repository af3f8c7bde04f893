"""Known wordings of relations, read from YAML: of PopQA, EntityQuestions, GeoNames and the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.common.yaml_files import load_yaml
from finetune.data.loaders.entity_questions import TEMPLATES
from finetune.data.records.wording import Wording

FOLDER = Path(__file__).parent


def _forms(held: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(held["statements"]), tuple(held["questions"])


_POPQA, _ENTITY_QUESTIONS, _GEONAMES, WORLD = (
    load_yaml(FOLDER / f"{name}.yaml") for name in ("popqa", "entity_questions", "geonames", "world")
)
POPQA: dict[str, Wording] = {name: (held["asked"], *_forms(held)) for name, held in _POPQA.items()}
ENTITY_QUESTIONS: dict[str, Wording] = {
    name: (template, *_forms(_ENTITY_QUESTIONS[name])) for name, template in TEMPLATES.items()
}
GEONAMES: dict[str, Wording] = {name: (held["asked"], *_forms(held)) for name, held in _GEONAMES.items()}
WORLD_FORMS = {name: _forms(held) for name, held in WORLD.items()}
WORLD_ENDINGS: dict[str, str] = {name: held["ending"] for name, held in WORLD.items()}
