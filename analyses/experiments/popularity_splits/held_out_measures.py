"""What one checkpoint of popularity_splits answers to held-out facts, and how it attends to their subjects.

Each measurement leaves a stage file, so that a cell that is continued, or that a newer version measures more
of, measures what is lacking and trains nothing again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from analyses.common.checkpoints import BASE, Checkpoints
from analyses.common.evaluate import answer_rows, with_known
from analyses.common.measurements import mass_stage
from analyses.common.visits import OpenCheckpoint, Stage, visit
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import PreparedFacts, home_of
from analyses.experiments.popularity_splits.survival_predictors import (
    base_predictors_stage,
    divergence_stage,
)
from finetune.checkpoints.loading import load_tokenizer
from finetune.data.prompts import Prompt
from finetune.evaluation.multiple_choice import pick_choices
from finetune.evaluation.prefixes import PrefixMemo
from interp.measures.attention import AttentionMass
from interp.measures.value_weighted import ValueWeightedAttention, value_weighted_attention

ARM = "arm"
ATTENTION, VALUES = "attention.safetensors", "value_weighted.safetensors"


def measure_checkpoint(
    options: PopularitySplitsOptions, data: PreparedFacts, source: str, home: Path
) -> pd.DataFrame:
    """Measure a checkpoint on the held-out facts: a row a fact and number of solved examples (``shots``).

    Rows are ``beside`` where that is not the number of training; further measures are in the others.

    Args:
        options: the experiment's.
        data: the facts, and what the base knows of them.
        source: the checkpoint, or the base itself.
        home: the directory of the stage files.
    """
    home.mkdir(parents=True, exist_ok=True)
    tokenizer, test = load_tokenizer(data.base), data.parts.test
    asked = {
        shots: data.asked(options, test, tokenizer, examples=data.parts.train, shots=shots)
        for shots in options.asked_shots
    }
    checkpoints = Checkpoints(
        base=data.base,
        arms={} if source == data.base else {ARM: source},
        test=test,
        prompts=tuple(asked[options.shots]),
        phrasebook=data.phrasebook,
        answer_sets={},
        sizes={},
        dtype=options.dtype or "float32",
    )
    plain = {shots: _answers_stage(checkpoints, prompts, home, shots) for shots, prompts in asked.items()}
    further = [_predictors_stage(options, data, checkpoints, home)] if options.measures else []
    hooked = _attention_stages(home, options.batch_tokens) if options.measures else []
    name = ARM if checkpoints.arms else BASE
    visit(checkpoints, name, plain=[*plain.values(), *further], hooked=hooked)
    frames = [
        with_known(stage.read().assign(shots=shots, beside=shots != options.shots), data.known)
        for shots, stage in plain.items()
    ]
    for found in (_attention_columns(home), further[0].read()) if further else ():
        frames[0] = frames[0].merge(found, on="fact_id", how="left")
    return pd.concat(frames, ignore_index=True)


def layer_means(home: Path) -> dict[str, list[float]]:
    """Average a checkpoint's attention over facts and heads: a number a layer, by measure."""
    if not (home / VALUES).is_file():
        return {}
    found = {
        "attention": AttentionMass.load(home / ATTENTION).values,
        "value_weighted": ValueWeightedAttention.load(home / VALUES).values,
    }
    return {n: [round(v, 5) for v in values.nanmean((0, 2)).tolist()] for n, values in found.items()}


def _answers_stage(
    checkpoints: Checkpoints, prompts: Sequence[Prompt], home: Path, shots: int
) -> Stage[pd.DataFrame]:
    """Ask the plain model; log p(answer) and options are of the question as it was trained alone."""
    path = home / f"answers,{shots}.parquet"
    as_trained = prompts == list(checkpoints.prompts)

    def make(model: PreTrainedModel, to: Path) -> None:
        asked = model, checkpoints.tokenizer, checkpoints.test, prompts
        memo = None if as_trained else PrefixMemo()
        frame = answer_rows(*asked, told=f"with {shots} examples", scored=as_trained, memo=memo)
        if as_trained and all(prompt.choices for prompt in prompts):
            frame["choice_correct"] = pick_choices(model, checkpoints.tokenizer, prompts).correct
        frame.to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def _predictors_stage(
    options: PopularitySplitsOptions, data: PreparedFacts, checkpoints: Checkpoints, home: Path
) -> Stage[pd.DataFrame]:
    """Measure what may predict survival: the base's own probabilities, and how far an arm has moved."""
    tokenizer, path = checkpoints.tokenizer, home / "predictors.parquet"
    if not checkpoints.arms:
        return base_predictors_stage(options, data, tokenizer, path)
    of_base = home_of(home.parents[3], data.dataset, data.model, data.seed) / "next_tokens.npy"
    dtype = getattr(torch, checkpoints.dtype)
    return divergence_stage(data, tokenizer, checkpoints.prompts, of_base, dtype, path)


def _attention_stages(home: Path, batch_tokens: int) -> list[Stage]:  # type: ignore[type-arg]
    path = home / VALUES

    def make(found: OpenCheckpoint, to: Path) -> None:
        value_weighted_attention(found.model, found.batch, batch_tokens=batch_tokens).save(to)

    values = Stage(paths=(path,), make=make, read=lambda: ValueWeightedAttention.load(path))
    return [mass_stage("a checkpoint", home / ATTENTION, batch_tokens=batch_tokens), values]


def _attention_columns(home: Path) -> pd.DataFrame:
    """Average each fact's attention over layers and heads."""
    mass, norms = AttentionMass.load(home / ATTENTION), ValueWeightedAttention.load(home / VALUES)

    def averaged(values: Tensor) -> list[float]:
        return values.mean((1, 2)).tolist()

    columns = {
        "subject_attention": averaged(mass.values),
        "subject_attention_raw": averaged(mass.raw),
        "value_weighted": averaged(norms.values),
    }
    return pd.DataFrame({"fact_id": mass.fact_ids, **columns})
