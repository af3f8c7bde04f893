"""Making checkpoints: facts, prompts, splits, worlds, training and evaluation."""

from finetune.facts import Fact, FactSet, InputError, LeftOut
from finetune.prompts import Phrases, Prompt, render

__all__ = ["Fact", "FactSet", "InputError", "LeftOut", "Phrases", "Prompt", "render"]
