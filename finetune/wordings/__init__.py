"""Wordings of the data sets whose relations are known, each relation's by its name in the data."""

from __future__ import annotations

from finetune.wordings.entity_questions import ENTITY_QUESTIONS
from finetune.wordings.popqa import POPQA, Wording

__all__ = ["ENTITY_QUESTIONS", "POPQA", "Wording"]
