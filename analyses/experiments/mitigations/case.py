"""A mitigation case: of one seed, the arm that lost facts, which of them it stores, what cures are asked.

Cells of one seed share it. Whichever comes first makes it and the others wait, so that every cure is measured
on the same facts, and stored facts are found once, on the uncured arm alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from analyses.common.arms import checkpoints_side_by_side
from analyses.common.checkpoints import Checkpoints
from analyses.common.grid_cells import shared_frame
from analyses.common.training_setup import TrainingSetup, fine_tune, make_training_setup, setting_for
from analyses.common.world_options import WorldOrFactsOptions
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_json
from finetune.common.files import read_json
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt, render
from finetune.evaluation.generate import states_fact
from finetune.evaluation.judging import AnswerJudge
from interp.models.load_pair import load_pair
from interp.verdicts.diagnose import diagnose

UNCURED, OTHERS = "bottom", ("top", "whole")
TRAINED = 1000  # own training facts that a cure is chosen on and asked, at most


@dataclass(frozen=True, kw_only=True)
class MitigationCase:
    """What a seed's cures share; ``home`` holds its arms and what was asked of them.

    ``stated`` are the ids of all facts that the base states, of any part. ``verdicts`` has a row per held-out
    fact, of the uncured arm.
    """

    setup: TrainingSetup
    arms: dict[str, FactSet]
    home: Path
    stated: frozenset[str]
    batch_tokens: int

    @property
    def uncured(self) -> Path:
        """The arm to cure."""
        return self.arm(UNCURED)

    @property
    def own(self) -> FactSet:
        """What the uncured arm was fine-tuned on."""
        return self.arms[UNCURED]

    @cached_property
    def others(self) -> FactSet:
        """Training facts that the uncured arm never met."""
        mine = {fact.id for fact in self.own}
        rest = [i for i, fact in enumerate(self.setup.parts.train) if fact.id not in mine]
        return self.setup.parts.train.subset(rest)

    @cached_property
    def asked_of_own(self) -> FactSet:
        """A sample of its own training facts, on which is seen what of fine-tuning is kept."""
        drawn = generator(self.setup.seed, "own facts asked").permutation(len(self.own))[:TRAINED]
        return self.own.subset(sorted(drawn.tolist()))

    def known(self, facts: FactSet) -> np.ndarray:
        """Whether the base states each fact, Bool [fact]."""
        return np.array([fact.id in self.stated for fact in facts], bool)

    def statements(self, facts: FactSet) -> list[Prompt]:
        """Word facts in every statement form."""
        book = self.setup.setting.phrasebook
        return [render(form, fact) for fact in facts for form in book[fact.relation].statements]

    def arm(self, name: str) -> Path:
        """Return a shared arm's checkpoint, fine-tuning it if no cell of the seed has done so."""
        took = self.home / f"{name}.json"
        with FileLock(self.home / f"{name}.lock"):
            started = time.process_time()
            path = fine_tune(self.setup, self.arms[name], self.home / "arms" / name, name=name).path
            cached_json(took, lambda: time.process_time() - started)
        return path

    @property
    def seconds(self) -> float:
        """The CPU seconds that the uncured arm's fine-tuning took."""
        _ = self.uncured
        return float(read_json(self.home / f"{UNCURED}.json"))

    def verdicts(self) -> pd.DataFrame:
        """Diagnose the uncured arm on the held-out facts."""
        uncured = self.uncured

        def judge() -> pd.DataFrame:
            checkpoints = self.checkpoints({})
            return diagnose(
                load_pair(str(self.setup.base), uncured),
                checkpoints.test,
                phrasebook=checkpoints.phrasebook,
                prompts=checkpoints.prompts,
                answer_sets=checkpoints.answer_sets,
                batch_tokens=self.batch_tokens,
                seed=self.setup.seed,
            ).to_frame()

        return shared_frame(self.home / "stated_verdicts.parquet", judge)

    @cached_property
    def judge(self) -> AnswerJudge:
        """Judges answers as verdicts do, by all answers of a relation."""
        return AnswerJudge(self.checkpoints({}).answer_sets)

    def checkpoints(self, arms: dict[str, str]) -> Checkpoints:
        """Lay arms beside the base on the held-out facts whose prompts can be aligned."""
        return checkpoints_side_by_side(self.setup, arms)


def load_case(options: WorldOrFactsOptions, seed: int, run: Path) -> MitigationCase:
    """Take in one seed's case: facts split, base pretrained, and found out what the base states."""
    facts = None if options.facts is None else options.load(options.facts, limit=options.limit)
    setup = make_training_setup(setting_for(options, facts, seed), cache=options.bases, seed=seed)
    arms = options.arms(setup.parts.train, seed=seed)
    home = run / "patients" / str(seed)
    home.mkdir(parents=True, exist_ok=True)
    path = home / "stated.json"
    with FileLock(home / "stated.lock"):
        stated = cached_json(path, lambda: _stated(setup))
    return MitigationCase(
        setup=setup,
        arms=arms,
        home=home,
        stated=frozenset(stated),
        batch_tokens=options.batch_tokens,
    )


def _stated(setup: TrainingSetup) -> list[str]:
    model, tokenizer = load_model(setup.base)
    parts = (setup.parts.train, setup.parts.validation, setup.parts.test)
    book = setup.setting.phrasebook
    return [
        fact.id
        for part in parts
        for fact, known in zip(part, states_fact(model, tokenizer, part, book), strict=True)
        if known
    ]


def with_tune_config(case: MitigationCase, **changes: Any) -> TrainingSetup:
    """Return the case's setup with other settings of fine-tuning."""
    setting = case.setup.setting
    return replace(case.setup, setting=replace(setting, tune=replace(setting.tune, **changes)))
