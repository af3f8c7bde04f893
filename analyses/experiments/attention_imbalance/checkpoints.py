"""The checkpoints that the main job compares: handed on, a user's own, or trained here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analyses.common.arms import ASIDE, alignable, train_arms
from analyses.common.checkpoints import Checkpoints, import_checkpoints
from analyses.common.elicited_knowledge import set_examples_aside
from analyses.common.experiment import Loaded
from analyses.common.training_setup import setting_for
from analyses.common.tuned_runs import held_out
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions, asking_format
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import ask_in_format
from finetune.data.records.fact import Fact
from interp.models.preflight import require_measurable


def load_inputs(options: AttentionImbalanceOptions) -> Loaded:
    """Load the user's facts; there are none of a world, whose facts each seed draws anew."""
    facts = None
    if options.facts is not None:
        facts = options.load(options.facts, limit=options.limit, subjects=options.needs_subjects)
    digest = {"facts_digest": facts.digest if facts else None}
    handed = {"checkpoints": str(options.checkpoints)} if options.checkpoints else {}
    return Loaded(inputs=facts, config=digest, sources={"base": options.base, **options.own, **handed})


def checkpoints_of(
    options: AttentionImbalanceOptions, facts: FactSet | None, directory: Path, seed: int
) -> Checkpoints:
    """Take what was handed on, or the user's own, or make the arms of a seed.

    A base that is given without fine-tuned checkpoints is fine-tuned here.

    Args:
        options: say which of these.
        facts: real facts; a world's are made without them.
        directory: the arms' own; those that it holds are taken.
        seed: of world, splits and training.
    """
    if options.checkpoints:
        handed = import_checkpoints(options.checkpoints)
        _require_measurable(handed.base, handed.arms)
        return alignable(handed)
    if options.finetuned:
        assert facts is not None  # Options demands --facts with --base
        return own_checkpoints(options, facts)
    base = None if options.base is None else resolve_checkpoint(options.base)
    if base is not None:
        _require_measurable(base, {})
    setting = setting_for(options, facts, seed, checkpoint=base)
    return replace(train_arms(options, setting, directory, seed=seed), known_cut=options.known)


def own_checkpoints(options: AttentionImbalanceOptions, facts: FactSet) -> Checkpoints:
    """Take the user's own checkpoints; every fact is asked that ``factscope tune`` did not train them on.

    A fact without a question of its own is asked in its relation's wording.
    """
    _require_measurable(str(options.base), options.own)
    style, source, set_aside = asking_format(options), str(options.facts), len(facts.left_out)
    facts, trained = held_out(facts, source, (path for _, path in options._named))
    spare: FactSet | tuple[Fact, ...] = trained
    if options.limit is not None:
        spare = (*trained, *options.load(source, subjects=options.needs_subjects))
    test, examples = set_examples_aside(facts, spare)
    both = replace(facts, facts=(*test, *examples))
    book = options.worded(both)
    checkpoints = Checkpoints(
        base=str(options.base),
        arms=options.own,
        test=test,
        prompts=(),
        phrasebook=book,
        answer_sets=both.answer_sets,
        sizes={"total": len(facts), "train": 0, "validation": 0, "test": len(test)},
        left_out=test.left_out[set_aside:],
        examples=examples,
        known_cut=options.known,
        dtype=options.dtype or "float32",
    )
    asked, aside = (
        tuple(ask_in_format(some, book, style, tokenizer=checkpoints.tokenizer, examples=examples))
        for some in (test, examples[:ASIDE])
    )
    return alignable(replace(checkpoints, prompts=asked, aside=aside))


def _require_measurable(base: str, arms: dict[str, str]) -> None:
    """Look at all checkpoints before any of them is asked, for the last one's fault would be found late."""
    require_measurable(base, list(arms.values()))
