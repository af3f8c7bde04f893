"""One cell of the contest: the facts that a score keeps, and what a base fine-tuned on them answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from analyses.common.grid_cells import shared_frame
from analyses.common.training_setup import (
    FEWEST,
    TrainingSetup,
    WorldSetting,
    make_training_setup,
    setting_for,
)
from analyses.experiments.long_tail_domain.cells import facts_of_relations, setting_of
from analyses.experiments.long_tail_domain.options import LongTailDomainOptions
from analyses.experiments.selection_contest.options import SelectionContestOptions
from analyses.experiments.selection_contest.setups import HALF, POPULAR, WHOLE, ContestSet, score_of
from finetune.common.checksums import cached_json
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.evaluation.generate import states_fact
from interp.models.load_pair import load_pair
from interp.selection.candidates import Candidates
from interp.selection.choose import choose
from interp.selection.scores import SCORES
from interp.verdicts.diagnose import diagnose


def training_setup_of(options: SelectionContestOptions, contest: ContestSet, seed: int) -> TrainingSetup:
    """Make the base and the parts of the facts, and set the training as the set of the contest wants it."""
    setting, domain = _setting(replace(options, method=contest.method), seed)
    setup = make_training_setup(setting, cache=options.bases, seed=seed)
    relations = largest(setup.parts.train, options.relations) if options.relations else None
    parts = setup.parts
    for names in filter(None, (domain, relations)):
        some = {p: facts_of_relations(getattr(parts, p), names) for p in ("train", "validation", "test")}
        parts = replace(parts, **some)
    if min(len(parts.train), len(parts.test)) < FEWEST or not len(parts.validation):
        raise InputError(
            f"{setting.facts.name}: too few facts are left; give more facts or a larger --relations"
        )
    tune = setting.tune
    if contest.budget == "epochs":
        tune = replace(tune, epochs=tune.steps * tune.batch / len(parts.train))
    return replace(setup, setting=replace(setting, tune=tune), parts=parts)


def _setting(options: SelectionContestOptions, seed: int) -> tuple[WorldSetting, tuple[str, ...] | None]:
    """Resolve a seed's facts and base, and a domain's relations where there is one."""
    if options.domain:
        names = {field.name for field in fields(LongTailDomainOptions)}
        given = {f.name: getattr(options, f.name) for f in fields(options) if f.name in names}
        setting, domain, _, _ = setting_of(LongTailDomainOptions(**given), seed)
        return setting, domain
    facts = None if options.facts is None else options.load(options.facts, limit=options.limit)
    return setting_for(options, facts, seed), None


def largest(facts: FactSet, n: int) -> tuple[str, ...]:
    """Return the relations with most facts."""
    sizes = dict.fromkeys(facts.relations, 0)
    for fact in facts:
        sizes[fact.relation] += 1
    return tuple(sorted(sizes, key=lambda relation: (-sizes[relation], relation))[:n])


def score_candidates(
    options: SelectionContestOptions, setup: TrainingSetup, folder: Path
) -> Mapping[str, Float[ndarray, " fact"]]:
    """Score the training facts by everything that the contest compares; one process does it for a seed.

    Gradients are compared with validation facts that the base states in every form.
    """
    facts, book = setup.parts.train, setup.setting.phrasebook

    def score() -> pd.DataFrame:
        candidates = Candidates(
            facts=facts,
            base=str(setup.base),
            book=book,
            seed=setup.seed,
            batch_tokens=options.batch_tokens,
        )
        held = setup.parts.validation
        known = states_fact(candidates.open_model(), candidates.tokenizer, held, book)
        # Where the base states none, all of them have to serve.
        candidates.reference = held.subset(np.flatnonzero(known).tolist()) if known.any() else held
        names = {POPULAR, *(score_of(s.score)[0] for s in options.setups)}
        columns = {name: SCORES[name](candidates) for name in SCORES if name in names}
        return pd.DataFrame({"fact_id": [fact.id for fact in facts], **columns})

    table = shared_frame(folder / f"seed-{setup.seed}.parquet", score)
    if tuple(table.pop("fact_id")) != tuple(fact.id for fact in facts):
        raise RuntimeError("other facts were scored than are trained on; remove the run directory")
    return {str(name): table[name].to_numpy(np.float64) for name in table}


def select_kept(
    setup: TrainingSetup, scores: Mapping[str, Float[ndarray, " fact"]], contest: ContestSet
) -> tuple[FactSet, float]:
    """Return the facts that a set of the contest keeps, and the share of them that is in the popular half."""
    train = setup.parts.train
    popular = set(choose(scores[POPULAR], train, HALF, seed=setup.seed).indices.tolist())
    indices = range(len(train))
    if contest.score != WHOLE:
        score, floor = score_of(contest.score)
        indices = choose(scores[score], train, contest.keep, floor=floor, seed=setup.seed).indices.tolist()
    facts = replace(train.subset(indices), name=f"{contest.keep:.0%} by {contest.score}")
    if len(facts) < FEWEST:
        raise InputError(f"{contest.keep:g} of {len(train)} facts are {len(facts)}; raise --keeps")
    return facts, sum(i in popular for i in indices) / len(facts)


def with_verdicts(
    frame: pd.DataFrame, setup: TrainingSetup, arm: Path, path: Path, batch_tokens: int
) -> pd.DataFrame:
    """Add the verdict on each held-out fact; None where the base knows none, or too few can be compared.

    Args:
        frame: a row a held-out fact.
        setup: the base and its facts.
        arm: the fine-tuned checkpoint.
        path: the file of the verdicts.
        batch_tokens: bound on the tokens of one forward pass.
    """

    def judge() -> dict[str, str]:
        facts, test = setup.setting.facts, setup.parts.test
        sets = {relation: facts.answer_set(relation) for relation in test.relations}
        found: dict[str, str] = {}
        try:
            result = diagnose(
                load_pair(str(setup.base), str(arm)),
                test,
                phrasebook=setup.setting.phrasebook,
                prompts=setup.asked(test),
                answer_sets=sets,
                batch_tokens=batch_tokens,
                seed=setup.seed,
            )
            found = dict(zip(result.fact_ids, result.verdicts, strict=True))
        except InputError:  # the base knows none, or too few can be compared
            pass
        return found

    return frame.assign(verdict=frame["fact_id"].map(cached_json(path, judge)).astype("string"))
