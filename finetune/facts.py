"""Facts and errors under the module's earlier name: see :mod:`finetune.data.facts`."""

from finetune.common.errors import InputError, LeftOut
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact

__all__ = ["Fact", "FactSet", "InputError", "LeftOut"]
