"""The checkpoints that the main job compares: handed on, a user's own, or trained here."""

from __future__ import annotations

from pathlib import Path

from analyses.common.arms import _alignable, _answer_sets, train_arms
from analyses.common.checkpoints import Checkpoints, import_checkpoints
from analyses.common.experiment import Loaded
from analyses.common.training_setup import setting_for
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.data.facts import FactSet
from finetune.data.prompts import fact_prompt
from interp.models.preflight import require_measurable


def load_inputs(options: AttentionImbalanceOptions) -> Loaded:
    """Load the user's facts; there are none of a world, whose facts each seed draws anew."""
    facts = None if options.facts is None else options.load(options.facts, limit=options.limit)
    digest = {"facts_digest": facts.digest if facts else None}
    return Loaded(inputs=facts, config=digest, sources={"base": options.base, **options.own})


def checkpoints_of(
    options: AttentionImbalanceOptions, facts: FactSet | None, directory: Path, seed: int
) -> Checkpoints:
    """Take what was handed on, or the user's own, or make a seed's arms, but for those in ``directory``.

    A base that is given without fine-tuned checkpoints is fine-tuned here.
    """
    if options.checkpoints:
        handed = import_checkpoints(options.checkpoints)
        _require_measurable(handed.base, handed.arms)
        return _alignable(handed)
    if options.finetuned:
        assert facts is not None  # Options demands --facts with --base
        return own_checkpoints(options, facts)
    base = None if options.base is None else resolve_checkpoint(options.base)
    if base is not None:
        _require_measurable(base, {})
    setting = setting_for(options, facts, seed, checkpoint=base)
    return train_arms(options, setting, directory, seed=seed)


def own_checkpoints(options: AttentionImbalanceOptions, facts: FactSet) -> Checkpoints:
    """Take the user's own checkpoints; every fact is asked, and none was trained on here.

    A fact without a question of its own is asked in its relation's wording.
    """
    _require_measurable(str(options.base), options.own)
    book = options.worded(facts)
    prompts = tuple(fact_prompt(fact, book, options.prompt_format) for fact in facts)
    checkpoints = Checkpoints(
        base=str(options.base),
        arms=options.own,
        test=facts,
        prompts=prompts,
        phrasebook=book,
        answer_sets=_answer_sets(facts),
        sizes={"total": len(facts), "train": 0, "validation": 0, "test": len(facts)},
    )
    return _alignable(checkpoints)


def _require_measurable(base: str, arms: dict[str, str]) -> None:
    """Look at all checkpoints before any of them is asked, for the last one's fault would be found late."""
    require_measurable(base, list(arms.values()))
