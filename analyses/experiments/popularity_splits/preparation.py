"""Preparing popularity_splits: facts with their popularity, parts and the base, made once."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from analyses.common.checkpoints import phrasebook_to_json, write_facts
from analyses.common.grid_cells import is_finished
from analyses.common.options import TrainingOptions
from analyses.common.training_setup import FEWEST, setting_for
from analyses.experiments.popularity_proxies.proxies import measure, with_popularity
from analyses.experiments.popularity_splits.archive import import_cells
from analyses.experiments.popularity_splits.cells import cells
from analyses.experiments.popularity_splits.cost_estimate import estimate_grid
from analyses.experiments.popularity_splits.options import OWN, WORLD, PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import (
    PARTS,
    PreparedFacts,
    book_of,
    home_of,
    is_prepared,
)
from finetune.checkpoints.loading import context_of, load_tokenizer
from finetune.checkpoints.precision import note_slow_dtype
from finetune.checkpoints.preflight import require_trainable
from finetune.common.checksums import cached_json, recorded_file, write_recorded_json
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import PromptFormat, prompts_within_context
from finetune.data.prompts import Phrasebook
from finetune.data.splits import Partition, partition, split
from finetune.data.synthetic_world import make_world
from finetune.training.presets import WORLDS
from finetune.training.pretrain import pretrained_base


def prepare(options: PopularitySplitsOptions, run: Path) -> list[LeftOut]:
    """Prepare every data set, model and seed that is not prepared yet; return what was left out.

    Raises:
        InputError: a data set or model cannot be used as the options want it.
    """
    note_slow_dtype(options.dtype)
    for base in filter(None, dict(options.models).values()):
        require_trainable(base)
    left_out: list[LeftOut] = []
    every = cells(options)
    import_cells(options, every, run)
    for dataset, source in options.sources:
        # Attention to subjects and verdicts need to know them; training and asking do not.
        own = not source.startswith(WORLD)
        subjects = bool(options.analyse) or options.measures
        real = options.load(source, limit=options.limit, subjects=subjects) if own else None
        for seed in options.seeds:
            facts = make_world(WORLDS[source.removeprefix(WORLD)].world, seed=seed) if real is None else real
            left_out += [LeftOut(where=f"{dataset}: {o.where}", reason=o.reason) for o in facts.left_out]
            for model, checkpoint in options.models:
                home = home_of(run, dataset, model, seed)
                if not is_prepared(home, made_here=checkpoint is None):
                    here = {"dataset": dataset, "model": model}
                    of_seed = [c for c in every if c.seed == seed and here.items() <= c.params.items()]
                    if all(is_finished(run, cell) for cell in of_seed):
                        continue  # from an archive
                    _prepare(options, facts, home, checkpoint, dataset, model, seed)
                left_out += [LeftOut(**item) for item in read_json(home / "left_out.json")]
    return list(dict.fromkeys(left_out))


def _prepare(
    options: PopularitySplitsOptions,
    facts: FactSet,
    home: Path,
    checkpoint: str | None,
    dataset: str,
    model: str,
    seed: int,
) -> None:
    source, before = dict(options.sources)[dataset], len(facts.left_out)
    book = book_of(options, dataset, facts)
    if checkpoint is None:  # its text is sampled by popularity, which therefore cannot come from it
        facts = _with_popularity(options, facts, book, None, home)
        base = _pretrained(options, facts, book, source, seed)
    else:
        base = checkpoint
        facts = _with_popularity(options, facts, book, base, home)
    data = PreparedFacts(
        dataset=dataset,
        model=model,
        seed=seed,
        parts=_parts(options, facts, dataset, model, seed),
        phrasebook=book,
        base=base,
        known=(),
    )
    data, unusable = _usable(options, data)
    _require_facts(options, data)
    left_out = [
        LeftOut(where=f"{dataset}: {item.where}", reason=item.reason)
        for item in (*facts.left_out[before:], *unusable)
    ]
    with recorded_file(home / "facts.parquet") as path:
        write_facts(path, facts)
    with recorded_file(home / "partition.json") as path:
        data.parts.save(path)
    write_recorded_json(home / "base.json", {"base": base})
    write_recorded_json(home / "phrasebook.json", phrasebook_to_json(book))
    write_recorded_json(home / "left_out.json", [asdict(item) for item in left_out])
    train = data.parts.train
    asked = data.asked(options, train, load_tokenizer(base), examples=train)
    estimate_grid(options, base, asked, home / "budget.json", of=f"{dataset}, {model}")


def _with_popularity(
    options: PopularitySplitsOptions, facts: FactSet, book: Phrasebook, base: str | None, home: Path
) -> FactSet:
    """Give facts the popularity that the options name; it is measured once for all seeds."""
    name = options.popularity
    if name == OWN:
        if any(fact.popularity is None for fact in facts) and set(options.arms) & {"top", "bottom"}:
            raise InputError(
                f"{facts.name}: brings no popularity to split by; add a column popularity, or choose "
                "another --popularity (docs/popularity.md)"
            )
        return facts
    path = home.parent / f"popularity-{name}-{facts.digest[:12]}.json"
    if base is not None:
        path = path.with_name(f"{home.name.split(',')[1]}-{path.name}")

    def find() -> list[float | None]:
        asked = PromptFormat(template=options.template, chat=options.chat)
        values = measure(name, facts, base=base, corpus=options.corpus, book=book, style=asked)
        return [None if np.isnan(value) else float(value) for value in values]

    return with_popularity(facts, np.array(cached_json(path, find), dtype=np.float64), name)


def _pretrained(
    options: PopularitySplitsOptions, facts: FactSet, book: Phrasebook, source: str, seed: int
) -> str:
    world = source.removeprefix(WORLD) if source.startswith(WORLD) else "long-tail"
    making = TrainingOptions(world=world, pretrain_steps=options.pretrain_steps)  # type: ignore[arg-type]
    setting = setting_for(making, None if source.startswith(WORLD) else facts, seed)
    text = setting.text
    if any(fact.popularity is None for fact in facts):
        facts = replace(facts, facts=tuple(replace(fact, popularity=1.0) for fact in facts))
        text = replace(text, exponent=0.0)
    return str(
        pretrained_base(
            facts,
            book,
            setting.make_tokenizer,
            model=setting.base,
            text=text,
            cache=options.bases,
            seed=setting.base_seed,
        )
    )


def _parts(
    options: PopularitySplitsOptions, facts: FactSet, dataset: str, model: str, seed: int
) -> Partition:
    if options.splits is None:
        return partition(facts, test=options.test, seed=seed)
    return Partition.load(home_of(options.splits, dataset, model, seed) / "partition.json", facts)


def _usable(options: PopularitySplitsOptions, data: PreparedFacts) -> tuple[PreparedFacts, list[LeftOut]]:
    """Set aside facts whose question is longer than the context, or whose answer tokenises to nothing."""
    tokenizer, context = load_tokenizer(data.base), context_of(data.base)
    parts: dict[str, FactSet] = {}
    left_out: list[LeftOut] = []
    for name in PARTS:
        facts = getattr(data.parts, name)
        asked = data.asked(options, facts, tokenizer, examples=data.parts.train)
        kept, odd = prompts_within_context(tokenizer, asked, context)
        ids = {prompt.fact_id for prompt in kept}
        parts[name] = facts.subset([i for i, fact in enumerate(facts) if fact.id in ids])
        left_out += odd
    return replace(data, parts=Partition(**parts)), left_out


def _require_facts(options: PopularitySplitsOptions, data: PreparedFacts) -> None:
    """Refuse parts and arms of too few facts."""
    for name in PARTS:
        if (n := len(getattr(data.parts, name))) < FEWEST:
            raise InputError(
                f"{data.dataset}: only {n} facts are left for the {name} part; give more facts, or a model "
                "with a longer context if questions did not fit"
            )
    train = data.parts.train
    for arm in options.arms:
        for fraction in options.parts:
            n = len(split(train, arm, fraction=fraction, seed=data.seed, match=options.match))
            if n < FEWEST:
                raise InputError(
                    f"{data.dataset}: the {arm} arm gets {n} of {len(train)} facts at --fractions "
                    f"{fraction:g}; raise the fraction, or give more facts ({FEWEST} or more are needed)"
                )
