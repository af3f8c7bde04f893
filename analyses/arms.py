"""From a setting to checkpoints and what they answer: the part of a run that trains and asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.asking import answered, statements_known
from analyses.bench import Bench, make_bench, tune
from analyses.checkpoints import Checkpoints, handed_on
from analyses.making import Making, Setting, setting_for
from analyses.settings import Options
from analyses.visits import Stage
from finetune.facts import FactSet
from finetune.files import as_json, read_json
from finetune.prompts import asked_prompt

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel


def checkpoints_of(options: Options, facts: FactSet | None, directory: Path, seed: int) -> Checkpoints:
    """Take what was handed on, or the user's own, or make a seed's arms, but for those in ``directory``."""
    if options.checkpoints:
        handed = handed_on(options.checkpoints)
        _require_measurable(handed.base, handed.arms)
        return _alignable(handed)
    if options.base:
        assert facts is not None  # Options demands --facts with --base
        return own_checkpoints(options, facts)
    return trained_arms(options, setting_for(options, facts, seed), directory, seed=seed)


def trained_arms(options: Making, setting: Setting, directory: Path, *, seed: int) -> Checkpoints:
    """Split the facts by subject, pretrain the base, and fine-tune every arm."""
    bench = make_bench(setting, cache=options.bases, seed=seed)
    arms = options.arms(bench.parts.train, seed=seed)
    chosen = {arm: tune(bench, facts, directory / "arms" / arm, name=arm) for arm, facts in arms.items()}
    sizes = {f"train_{arm}": len(facts) for arm, facts in arms.items()}
    return compared(bench, {arm: str(checkpoint.path) for arm, checkpoint in chosen.items()}, sizes=sizes)


def compared(
    bench: Bench, arms: dict[str, str], *, test: FactSet | None = None, sizes: dict[str, int] | None = None
) -> Checkpoints:
    """Lay a bench's base and arms side by side, on its held-out facts or on ``test``."""
    facts, parts = bench.setting.facts, bench.parts
    counts = {part: len(getattr(parts, part)) for part in ("train", "validation", "test")}
    checkpoints = Checkpoints(
        base=str(bench.base),
        arms=arms,
        test=parts.test if test is None else test,
        prompts=bench.asked(parts.test if test is None else test),
        phrasebook=bench.setting.phrasebook,
        answer_sets=_answer_sets(facts),
        sizes={"total": len(facts), **counts, **(sizes or {})},
    )
    return _alignable(checkpoints)


def own_checkpoints(options: Options, facts: FactSet) -> Checkpoints:
    """Take the user's own checkpoints; every fact is asked, and none was trained on here.

    A fact without a question of its own is asked in its relation's wording.
    """
    _require_measurable(str(options.base), options.own)
    book = options.worded(facts)
    prompts = tuple(asked_prompt(fact, book, options.prompt_format) for fact in facts)
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
    from interp.preflight import require_measurable

    require_measurable(base, list(arms.values()))


def known_stage(checkpoints: Checkpoints, path: Path) -> Stage[list[bool]]:
    """Ask the base's plain model which test facts it knows: it completes every statement form of them."""

    def make(model: PreTrainedModel, to: Path) -> None:
        asked = checkpoints.tokenizer, checkpoints.test, checkpoints.phrasebook
        known = checkpoints.known
        if known is None:
            known = statements_known(model, *asked, told="the base").tolist()
        to.write_text(as_json(list(known)), encoding="utf-8")

    return Stage(paths=(path,), make=make, read=lambda: list(read_json(path)))


def answers_stage(checkpoints: Checkpoints, name: str, path: Path, *, seed: int) -> Stage[pd.DataFrame]:
    """Ask a checkpoint's plain model every test prompt: a row a fact, without what the base knows."""
    import pandas as pd

    def make(model: PreTrainedModel, to: Path) -> None:
        frame = answered(model, checkpoints.tokenizer, checkpoints.test, checkpoints.prompts, told=name)
        of_seed = pd.DataFrame({"seed": seed, "arm": name}, index=frame.index)
        pd.concat([of_seed, frame], axis="columns").to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def _answer_sets(facts: FactSet) -> dict[str, tuple[str, ...]]:
    return {relation: facts.answer_set(relation) for relation in facts.relations}


def _alignable(checkpoints: Checkpoints) -> Checkpoints:
    """Set aside, with the reason, every fact whose prompt cannot be asked of every checkpoint, or aligned.

    Raises:
        InputError: the checkpoints' tokenizers disagree, or one brings none.
    """
    from interp.spans import encode

    batch = encode(checkpoints.tokenizer, checkpoints.prompts)
    if not batch.left_out:
        return checkpoints
    kept = set(batch.fact_ids)
    index = [i for i, fact in enumerate(checkpoints.test) if fact.id in kept]
    known = checkpoints.known
    return replace(
        checkpoints,
        test=checkpoints.test.subset(index),
        prompts=batch.prompts,
        left_out=batch.left_out,
        known=None if known is None else tuple(known[i] for i in index),
    )
