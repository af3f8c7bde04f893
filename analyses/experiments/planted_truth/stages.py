"""The steps of the planted-truth analysis: models made, and diagnosed beside what is known of their facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.experiment import Measured
from analyses.experiments.planted_truth.options import PlantedTruthOptions
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_frame, cached_json
from finetune.common.run_directory import RunDirectory
from finetune.common.seeds import generator, rotate
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook
from finetune.data.splits import partition
from finetune.data.synthetic_world import make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.generate import states_fact
from finetune.training.examples import sampling_weights
from finetune.training.planted_models import Forms, Part, PlantConfig, plant
from finetune.training.presets import WORLDS, Preset
from finetune.training.pretrain import pretrained_base
from interp.models.load_pair import load_pair
from interp.verdicts.diagnose import diagnose
from interp.verdicts.diagnosis import ERASED, NEVER_STORED, RETAINED, SUPPRESSED

TRUTHS = (SUPPRESSED, ERASED, NEVER_STORED, RETAINED)
PLANTS: dict[str, tuple[Part, Forms]] = {
    "suppressed in every form": ("routing", "all"),
    "suppressed as asked": ("routing", "asked"),
    "erased": ("values", "all"),
}


@dataclass(frozen=True, kw_only=True)
class PlantedWorld:
    """A world whose facts' states are known: who is absent, which facts are targets, how often met."""

    preset: Preset
    facts: FactSet
    present: FactSet
    absent: FactSet
    targets: frozenset[str]
    book: Phrasebook
    met: dict[str, float]


def plant_world(options: PlantedTruthOptions, seed: int) -> PlantedWorld:
    """Draw a world and deal its subjects and relations; which relations are targets changes with the seed."""
    preset = WORLDS[options.world]
    if options.pretrain_steps:
        preset = replace(preset, base=replace(preset.base, steps=options.pretrain_steps))
    facts = make_world(preset.world, seed=seed)
    parts = partition(facts, test=options.absent, validation=0.0, seed=seed)
    turned = rotate(facts.relations, seed)
    targets = set(turned[: min(len(turned) - 1, -(-len(turned) * 3 // 5))])
    rows = preset.base.steps * preset.base.batch
    weights = sampling_weights(parts.train, preset.text.exponent) * rows
    return PlantedWorld(
        preset=preset,
        facts=facts,
        present=parts.train,
        absent=parts.test,
        targets=frozenset(fact.id for fact in parts.train if fact.relation in targets),
        book=world_phrasebook(question_form="seen"),
        met={fact.id: float(n) for fact, n in zip(parts.train, weights, strict=True)},
    )


def measure_seeds(options: PlantedTruthOptions, inputs: None, run: RunDirectory) -> Measured:
    """Plant and diagnose every seed's models."""
    frames = [measure_seed(options, run, seed) for seed in options.seeds]
    return Measured(
        rows=pd.concat(frames, ignore_index=True),
        details={"setting": f"world {options.world}, planted facts"},
    )


def measure_seed(options: PlantedTruthOptions, run: RunDirectory, seed: int) -> pd.DataFrame:
    """Plant and diagnose one seed's models; every stage leaves a file that a continued run reads."""
    here = run.path / "seeds" / str(seed)
    return cached_frame(here / "verdicts.parquet", lambda: _measured(options, run, seed, here))


def _measured(options: PlantedTruthOptions, run: RunDirectory, seed: int, here: Path) -> pd.DataFrame:
    truth = plant_world(options, seed)
    with run.timed(f"seed {seed}: base"):
        base = pretrained_base(
            truth.present,
            truth.book,
            lambda _, book: word_tokenizer(truth.facts, book),
            model=truth.preset.base,
            text=truth.preset.text,
            cache=options.bases,
            seed=seed,
        )
    states = _stated(truth, base, here / "stated.json")
    known = _of(truth.present, lambda fact: states[fact.id])
    config = PlantConfig()
    config = replace(config, steps=options.plant_steps or config.steps)
    frames = []
    for name, (part, forms) in PLANTS.items():
        with run.timed(f"seed {seed}: {name}, planting"):
            planted = plant(
                base,
                truth.facts,
                # What the base does not know can be neither suppressed nor kept, and would only be noise.
                _of(known, lambda fact: fact.id in truth.targets),
                _of(known, lambda fact: fact.id not in truth.targets),
                truth.book,
                here / "models" / name.replace(" ", "-"),
                part=part,
                forms=forms,
                config=config,
                seed=seed,
            )
        with run.timed(f"seed {seed}: {name}, verdicts"):
            found = _diagnosed(options, truth, base, planted.path, seed)
        frames.append(_with_truth(found, options, truth, states, name).assign(seed=seed, model=name))
    return pd.concat(frames, ignore_index=True)


def _diagnosed(
    options: PlantedTruthOptions, truth: PlantedWorld, base: Path, planted: Path, seed: int
) -> pd.DataFrame:
    found = diagnose(
        load_pair(base, planted),
        _sample(truth, options.subjects, seed),
        phrasebook=truth.book,
        answer_sets={relation: truth.facts.answer_set(relation) for relation in truth.facts.relations},
        alpha=options.alpha,
        batch_tokens=options.batch_tokens,
        seed=seed,
    )
    return found.to_frame().assign(threshold=found.threshold)


def _with_truth(
    frame: pd.DataFrame, options: PlantedTruthOptions, truth: PlantedWorld, states: dict[str, bool], name: str
) -> pd.DataFrame:
    """Name each fact's state by how the models were made; empty where construction does not say.

    A present fact that pretraining met too rarely, or that the base does not state in every form, may or may
    not be stored. A kept fact that is answered wrong is collateral damage of unknown kind.
    """
    met = frame["fact_id"].map(truth.met)
    stored = frame["fact_id"].map(states).astype(bool) & (met >= options.met)
    target = frame["fact_id"].isin(truth.targets)
    absent = frame["fact_id"].isin({fact.id for fact in truth.absent})
    state = ERASED if PLANTS[name][0] == "values" else SUPPRESSED
    cases = [absent, stored & frame["right"], stored & target & ~frame["right"]]
    named = np.select(cases, [NEVER_STORED, RETAINED, state], default="")
    return frame.assign(met=met, stated=frame["fact_id"].map(states), target=target, truth=named)


def _stated(truth: PlantedWorld, base: Path, path: Path) -> dict[str, bool]:
    """Ask the base for every fact in every statement form; kept in ``path``."""

    def ask() -> dict[str, bool]:
        model, tokenizer = load_model(str(base))
        known = states_fact(model, tokenizer, truth.facts, truth.book)
        return {fact.id: bool(k) for fact, k in zip(truth.facts, known, strict=True)}

    return dict(cached_json(path, ask))


def _sample(truth: PlantedWorld, subjects: int, seed: int) -> FactSet:
    """Take some subjects with all their facts, absent ones in their share of the world."""
    names = list(dict.fromkeys(fact.subject for fact in truth.facts))
    kept = {names[i] for i in generator(seed, "verdict facts").permutation(len(names))[:subjects]}
    return _of(truth.facts, lambda fact: fact.subject in kept)


def _of(facts: FactSet, wanted: Any) -> FactSet:
    return facts.subset([i for i, fact in enumerate(facts) if wanted(fact)])
