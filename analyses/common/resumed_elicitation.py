"""An elicitation that is stopped and goes on: what each form found and was answered is kept in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from finetune.common.checksums import cached_json
from finetune.data.facts import FactSet
from finetune.evaluation.asking_forms import AskingForm, Elicited, FormAnswers
from finetune.evaluation.elicitation import Elicitation


@dataclass
class ResumedElicitation(Elicitation):
    """Asks as :class:`Elicitation` does; a form of a relation that ``folder`` has is not asked again.

    Once all is asked the folder is gone: what was found is its caller's to keep.
    """

    folder: Path = Path()

    def elicit(self, facts: FactSet) -> Elicited:
        """Choose forms on the training facts and ask ``facts`` in them, or go on with it."""
        found = super().elicit(facts)
        shutil.rmtree(self.folder, ignore_errors=True)
        return found

    def _found(self, probes: FactSet, examples: FactSet, form: AskingForm) -> Bool[ndarray, " fact"]:
        make = partial(super()._found, probes, examples, form)
        return np.array(self._kept("found", probes, form, lambda: make().tolist()), bool)

    def _ask(self, facts: FactSet, pool: FactSet, form: AskingForm) -> FormAnswers:
        ask = partial(super()._ask, facts, pool, form)

        def make() -> dict[str, Any]:
            made = ask()
            own = [None if np.isnan(each) else each for each in made.own.tolist()]
            held = {"right": made.right.tolist(), "said": list(made.said), "sampled": made.sampled.tolist()}
            return {**held, "own": own}

        held = self._kept("answered", facts, form, make)
        right, sampled = np.array(held["right"], bool), np.array(held["sampled"], float)
        own = np.array(held["own"], float)
        return FormAnswers(form=form, right=right, said=held["said"], own=own, sampled=sampled)

    def _kept(self, what: str, facts: FactSet, form: AskingForm, make: Callable[[], Any]) -> Any:
        relation = self.examples.relations.index(facts[0].relation)
        before, held = self.asked, cached_json(self.folder / f"{what}-{relation}-{form}.json", make)
        if self.asked == before:  # of an earlier start
            self.asked += len(facts)
            self.advance(self.asked)
        return held
