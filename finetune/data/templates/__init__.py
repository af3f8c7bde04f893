"""Wordings of the data sets whose relations are known, each relation's by its name in the data."""

from __future__ import annotations

from finetune.data.records.wording import Wording
from finetune.data.templates.entity_questions import ENTITY_QUESTIONS
from finetune.data.templates.geonames import GEONAMES
from finetune.data.templates.popqa import POPQA

__all__ = ["ENTITY_QUESTIONS", "GEONAMES", "POPQA", "Wording"]
