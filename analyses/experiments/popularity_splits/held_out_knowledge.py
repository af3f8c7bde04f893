"""What the base of popularity_splits knows of held-out facts, found by the first cell that needs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from analyses.common.elicited_knowledge import knowledge_frame
from analyses.common.evaluate import knows_statements
from analyses.common.resumed_elicitation import ResumedElicitation
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import KNOWLEDGE, KNOWN, PreparedFacts
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_json, recorded_file
from finetune.common.progress import progress_bar
from finetune.evaluation.asking_forms import bound_prompts
from finetune.evaluation.multiple_choice import pick_choices


def with_base_knowledge(
    options: PopularitySplitsOptions, data: PreparedFacts, home: Path, base_rows: Path
) -> PreparedFacts:
    """Add which held-out facts the base knows; cells that need it at the same time wait for the first.

    Args:
        options: the experiment's.
        data: the facts and the base.
        home: where they are prepared.
        base_rows: the rows of the base's own cell, which say it where that is finished.
    """

    def find() -> list[bool]:
        if not base_rows.is_file():
            return _known(options, data, home)
        rows = pd.read_parquet(base_rows).drop_duplicates("fact_id").set_index("fact_id")
        return [bool(rows["known"][fact.id]) for fact in data.parts.test]

    with FileLock(home / "known.lock"):
        known = tuple(cached_json(home / KNOWN, find))
    elicited = home / KNOWLEDGE
    return replace(data, known=known, knowledge=pd.read_parquet(elicited) if elicited.is_file() else None)


def _known(options: PopularitySplitsOptions, data: PreparedFacts, home: Path) -> list[bool]:
    """Say which held-out facts the base knows.

    One that was pretrained here states them in every form; of a given one it is elicited, and how well is
    written, too. Of a fact with options it picks the right one.
    """
    test, given = data.parts.test, dict(options.models)[data.model] is not None
    network, tokenizer = load_model(data.base, dtype=getattr(torch, options.dtype or "float32"))
    picking = [i for i, fact in enumerate(test) if fact.choices]
    stating = [i for i, fact in enumerate(test) if not fact.choices]
    known, some = np.zeros(len(test), bool), test.subset(stating)
    if stating and given:
        asked = network, tokenizer, data.phrasebook, data.parts.train
        with progress_bar(f"Eliciting what {data.model} knows", total=bound_prompts(some, asked[2])) as done:
            asks = ResumedElicitation(*asked, advance=done, folder=home / "eliciting")
            found = knowledge_frame(some, asks.elicit(some))
        with recorded_file(home / KNOWLEDGE) as path:
            found.to_parquet(path)
        known[stating] = found["known"]
    elif stating:
        known[stating] = knows_statements(network, tokenizer, some, data.phrasebook, told=data.model)
    if picking:
        prompts = data.asked(options, test.subset(picking), tokenizer, examples=data.parts.train)
        known[picking] = pick_choices(network, tokenizer, prompts).correct
    return known.tolist()
