"""What a verdict costs: facts a second of ``diagnose``, and against asking both models once.

    python benchmarks/diagnose.py [--subjects 750 --repeats 3]
    python benchmarks/diagnose.py --base DIR --finetuned ADAPTER --facts FILE [--limit 500 --repeats 1]

The pair is the embedded world's base (from the cache, or pretrained now) and a model fine-tuned from it for a
few steps. ``diagnose`` asks the base in the forms of knowing and as asked, and the fine-tuned model as asked
and in the held-out forms, and compares all answers of the relation. Beside it, in turns in one process:
answering each fact once with either model, as ``ask`` does. Medians; the last line is JSON.

With ``--base`` the pair and the facts are given ones, a real model's say, and ``diagnose`` alone is timed.
The aim there: 500 facts on SmolLM2 in 10 minutes on two cores, within 3 GB.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from analyses.common.options import TrainingOptions
from analyses.common.training_setup import fine_tune, make_training_setup, setting_for
from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.evaluation.generate import ask
from finetune.training.config import Dtype
from interp import diagnose, load_pair


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many subjects, each with all five facts, and how often; or a pair, and how many of its facts."""

    base: str = ""
    finetuned: str = ""
    facts: str = ""
    dtype: Dtype = "float32"  # of the given pair
    limit: int = 500
    subjects: int = 750
    repeats: int = 3
    tune_steps: int = 40


def main(options: Options) -> None:
    print(json.dumps(given_pair(options) if options.base else embedded_world(options)))


def given_pair(options: Options) -> dict[str, float]:
    """Time a verdict on facts of one's own."""
    facts = FactSet.load(options.facts)
    chosen = np.random.default_rng(0).permutation(len(facts))[: options.limit]
    some = facts.subset(sorted(chosen.tolist()))
    pair = load_pair(options.base, options.finetuned, dtype=getattr(torch, options.dtype))
    took = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        try:
            print(diagnose(pair, some, knows=0.5).counts())
        except InputError as error:
            print(f"refused, too early to be a measure: {error}")
        took.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "facts": len(some),
        "seconds": round(statistics.median(took), 1),
        "peak_gigabytes": round(peak, 2),
    }


def embedded_world(options: Options) -> dict[str, float]:
    """Time verdicts in the embedded world, and asking both models once beside them."""
    making = TrainingOptions(tune_steps=options.tune_steps, learning_rates=(3e-4,))
    setup = make_training_setup(setting_for(making, None, 0), cache=making.bases, seed=0)
    facts, book = setup.setting.facts, setup.setting.phrasebook
    names = list(dict.fromkeys(fact.subject for fact in facts))
    kept = {names[i] for i in np.random.default_rng(0).permutation(len(names))[: options.subjects]}
    some = facts.subset([i for i, fact in enumerate(facts) if fact.subject in kept])
    answers = {relation: facts.answer_set(relation) for relation in facts.relations}
    with tempfile.TemporaryDirectory() as folder:
        arm = fine_tune(setup, setup.parts.train, Path(folder) / "arm", name="whole").path
        pair = load_pair(str(setup.base), str(arm))
        plain = [load_model(str(source)) for source in (setup.base, arm)]

        def verdicts() -> None:
            diagnose(pair, some, phrasebook=book, answer_sets=answers)

        def asking() -> None:
            for model, tokenizer in plain:
                ask(model, tokenizer, setup.asked(some))

        seconds: dict[str, list[float]] = {"verdicts": [], "asking": []}
        for _ in range(options.repeats + 1):
            for name, work in (("verdicts", verdicts), ("asking", asking)):
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    took = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    for name, value in took.items():
        print(f"{name}: {value:.2f} s for {len(some):,} facts")
    return {
        "facts_per_second": round(len(some) / took["verdicts"], 1),
        "over_asking": round(took["verdicts"] / took["asking"], 2),
    }


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
