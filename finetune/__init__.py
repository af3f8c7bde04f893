"""Making checkpoints: facts, prompts, splits, worlds, training and evaluation."""

from finetune.facts import Fact, FactSet, InputError, LeftOut
from finetune.popularity import Partition, partition, split
from finetune.prompts import Phrases, Prompt, render
from finetune.train import TuneConfig, train

__all__ = [
    "Fact",
    "FactSet",
    "InputError",
    "LeftOut",
    "Partition",
    "Phrases",
    "Prompt",
    "TuneConfig",
    "partition",
    "render",
    "split",
    "train",
]
