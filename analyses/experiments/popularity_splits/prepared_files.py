"""What one data set, model and seed of popularity_splits have in common, on disk: written whole, and read.

data/<data set>,<model>,<seed>/
    facts.parquet     the facts with the popularity that splits them
    partition.json    which of them are trained on, validated on and held out
    base.json         the model that arms are fine-tuned from
    phrasebook.json   how relations are worded
    known.json        which held-out facts the base knows, once a cell has found that out
    knowledge.parquet how well it knows them, where that was elicited
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from analyses.common.checkpoints import phrasebook_from_json, read_facts
from analyses.experiments.popularity_splits.options import WORLD, PopularitySplitsOptions
from finetune.common.checksums import recorded_state, sealed_state
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import ask_in_format
from finetune.data.prompts import Phrasebook, Prompt
from finetune.data.splits import Partition
from finetune.data.synthetic_world import world_phrasebook

PARTS = ("train", "validation", "test")
KNOWN, KNOWLEDGE = "known.json", "knowledge.parquet"


@dataclass(frozen=True, kw_only=True)
class PreparedFacts:
    """Facts in parts that share no subject, their wording, the base, and what it knows of those held out
    (nothing before a cell has found that out)."""

    dataset: str
    model: str
    seed: int
    parts: Partition
    phrasebook: Phrasebook
    base: str
    known: tuple[bool, ...]
    knowledge: pd.DataFrame | None = None

    def asked(
        self,
        options: PopularitySplitsOptions,
        facts: FactSet,
        tokenizer: PreTrainedTokenizerBase,
        *,
        examples: FactSet,
        shots: int | None = None,
    ) -> list[Prompt]:
        """Word facts as the options ask them.

        Args:
            options: the prompt's style.
            facts: what to word.
            tokenizer: the model's own, for its chat template.
            examples: the facts that solved examples are taken from.
            shots: another number of solved examples than the options'; all facts then see the same ones.
        """
        return ask_in_format(
            facts,
            self.phrasebook,
            options.style if shots is None else replace(options.style, shots=shots),
            tokenizer=tokenizer,
            examples=examples,
            seed=self.seed,
            shared=shots not in (None, options.shots),
        )


def home_of(run: Path, dataset: str, model: str, seed: int) -> Path:
    """Return where one data set, model and seed are prepared.

    Args:
        run: the run directory.
        dataset: the name of the facts.
        model: the base's name.
        seed: of the splits.
    """
    return run / "data" / f"{dataset},{model},{seed}"


def read(options: PopularitySplitsOptions, run: Path, dataset: str, model: str, seed: int) -> PreparedFacts:
    """Read what :func:`prepare` left.

    Args:
        options: the experiment's.
        run: the run directory.
        dataset: the name of the facts.
        model: the base's name.
        seed: of the splits.
    """
    home = home_of(run, dataset, model, seed)
    facts = read_facts(home / "facts.parquet", dataset)
    book = home / "phrasebook.json"  # a run that an older program began has none
    return PreparedFacts(
        dataset=dataset,
        model=model,
        seed=seed,
        parts=Partition.load(home / "partition.json", facts),
        phrasebook=phrasebook_from_json(read_json(book))
        if book.is_file()
        else book_of(options, dataset, facts),
        base=read_json(home / "base.json")["base"],
        known=tuple(read_json(home / KNOWN)) if (home / KNOWN).is_file() else (),
    )


def book_of(options: PopularitySplitsOptions, dataset: str, facts: FactSet) -> Phrasebook:
    """Return how a data set's relations are worded."""
    is_world = dict(options.sources)[dataset].startswith(WORLD)
    return world_phrasebook() if is_world else options.worded(facts)


FILES = ("facts.parquet", "partition.json", "base.json", "phrasebook.json", "left_out.json")


def is_prepared(home: Path, *, made_here: bool) -> bool:
    """Whether all files of a preparation are as they were written, and the base that was made here, too."""
    if not (home / "left_out.json").is_file():
        return False
    # A run that an older program began has no phrasebook.
    names = [name for name in FILES if name != "phrasebook.json" or (home / name).is_file()]
    states = {recorded_state(home / name) for name in names}
    try:
        base = Path(read_json(home / "base.json")["base"])
        if "unrecorded" in states:
            read_facts(home / "facts.parquet", home.name)
            _ = [read_json(home / name) for name in names if name.endswith(".json")]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return states <= {"whole", "unrecorded"} and (not made_here or sealed_state(base, strict=True) == "whole")
