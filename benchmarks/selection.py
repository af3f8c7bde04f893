"""What scoring candidate facts costs: seconds, and peak memory against the number of facts.

    python benchmarks/selection.py [--facts 10000 --scores statement question few_shot]

The base is the embedded world's (from the cache, or pretrained now); candidates are its facts, repeated under
other ids. Each number of facts is scored in a fresh process, so that its peak memory is its own; given is how
far it is above that of scoring a quarter of them. ``--base`` times another model. The last line is JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import dataclass, replace

import tyro
from peak import peak_memory

from analyses.common.options import TrainingOptions
from analyses.common.training_setup import make_training_setup, setting_for
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook
from interp.selection.candidates import Candidates
from interp.selection.scores import LABEL_FREE, SCORES

WARM = 25


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many candidates, and which scores."""

    facts: int = 10_000
    scores: tuple[str, ...] = LABEL_FREE
    base: str | None = None
    """Another base: a directory or hub id (default: the world's)."""
    batch_tokens: int = 16_384


def main(options: Options) -> None:
    making = TrainingOptions()
    setup = make_training_setup(setting_for(making, None, 0), cache=making.bases, seed=0)
    facts, book = setup.setting.facts, setup.setting.phrasebook
    base = options.base or str(setup.base)
    found = {}
    for name in options.scores:
        few, some = (
            in_fresh_process(measured, name, base, several(facts, n), book, options.batch_tokens)
            for n in (options.facts // 4, options.facts)
        )
        _, seconds, busy = some
        found[name] = {
            "seconds": round(seconds, 2),
            "cpu_seconds": round(busy, 2),
            "forwards": SCORES[name].forwards,
            "peak_mib_above_quarter": round((some[0] - few[0]) / 2**20),
        }
        print(f"{name}: {seconds:.1f} s for {options.facts:,} facts, {found[name]}")
    print(json.dumps(found))


def several(facts: FactSet, n: int) -> FactSet:
    """Take so many facts, repeating them under other ids."""
    made = tuple(replace(facts[i % len(facts)], id=f"{facts[i % len(facts)].id}#{i}") for i in range(n))
    return replace(facts, facts=made)


def measured(
    name: str, base: str, facts: FactSet, book: Phrasebook, batch_tokens: int
) -> tuple[int, float, float]:
    """Return a scoring process's peak memory (bytes), and the seconds and CPU seconds of scoring alone."""
    candidates = Candidates(facts=facts, base=base, book=book, batch_tokens=batch_tokens)
    # What is loaded and imported once is no part of the cost of an example.
    few = Candidates(facts=facts[:WARM], base=base, book=book, batch_tokens=batch_tokens)
    SCORES[name](few)
    start, busy = time.perf_counter(), time.process_time()
    SCORES[name](candidates)
    return peak_memory(), time.perf_counter() - start, time.process_time() - busy


def in_fresh_process(work, *arguments):  # type: ignore[no-untyped-def]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
