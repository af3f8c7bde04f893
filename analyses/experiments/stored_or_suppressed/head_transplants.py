"""Stored lost facts looked at closely: transplants head by head, and what the last token looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.checkpoints import BASE, Checkpoints
from analyses.common.visits import OpenCheckpoints
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.common.checksums import cached_frame, cached_json
from interp.measures.attention import last_row_patterns, without_sinks
from interp.measures.placebos import wrong_subject
from interp.patching.interventions import Intervention, Replace
from interp.patching.partner_rows import replace_by_partners
from interp.patching.patch import patch
from interp.patching.recording import record
from interp.patching.sweeps import sweep
from interp.stats import adjusted, estimate, mean_p_values
from interp.verdicts.diagnosis import STORED

PICTURES = 3  # facts an arm
MOST_TRANSPLANTS = 20_000  # heads times facts of an arm: minutes, on a model of 30 layers
# An arm that lost nothing has no rows; with types of their own they leave those of other arms as they are.
HEAD_COLUMNS = {
    "layer": "int64",
    "head": "int64",
    "gain": "float64",
    "low": "float64",
    "high": "float64",
    "placebo": "float64",
    "placebo_low": "float64",
    "placebo_high": "float64",
    "n": "int64",
    "placebo_n": "int64",
    "difference": "float64",
    "difference_low": "float64",
    "difference_high": "float64",
    "corrected": "float64",
}


def sibling_of(checkpoints: Checkpoints, arm: str) -> str | None:
    """Name the arm whose attention is tried in this one: the popular half, or else the first other."""
    return next((name for name in _ranked(checkpoints) if name != arm), None)


def in_order(checkpoints: Checkpoints) -> list[str]:
    """Order the arms so that each is opened once, with no more than the base and its sibling beside it.

    The first in rank is the sibling of all others, and the second its own.
    """
    first, *others = _ranked(checkpoints)
    return [*others[:1], first, *others[1:]]


def _ranked(checkpoints: Checkpoints) -> list[str]:
    arms = checkpoints.arms
    return list(dict.fromkeys(name for name in ("top", "whole", *arms) if name in arms))


def transplanted_heads(
    options: StoredOrSuppressedOptions,
    models: OpenCheckpoints,
    arm: str,
    frame: pd.DataFrame,
    directory: Path,
    seed: int,
) -> pd.DataFrame:
    """Transplant one head's last row at a time into stored lost facts, and the placebo's; nats gained.

    Args:
        options: the experiment's.
        models: the open checkpoints.
        arm: the arm that receives.
        frame: the arm's facts with their verdicts.
        directory: of the files, one an arm.
        seed: of the facts drawn and of the placebo.
    """
    return cached_frame(
        directory / f"{arm}.parquet", lambda: _transplanted(options, models, arm, frame, seed)
    )


def _transplanted(
    options: StoredOrSuppressedOptions, models: OpenCheckpoints, arm: str, frame: pd.DataFrame, seed: int
) -> pd.DataFrame:
    ids = frame.loc[frame["verdict"].isin(STORED), "fact_id"].to_numpy()
    with models.opened(arm, beside=arm) as found:
        most = min(
            options.grid_facts, MOST_TRANSPLANTS // (found.model.cfg.n_layers * found.model.cfg.n_heads)
        )
    prompts = models.checkpoints.draw_prompts(ids, most, "grid facts", seed)
    columns = ["layer", "head", "fact_id", "effect", "placebo", "subject"]
    table = pd.DataFrame(columns=columns)
    if prompts:
        donor = sibling_of(models.checkpoints, arm) or BASE
        with models.opened(donor, beside=arm) as found:
            pool, batch = found.batch, found.encoded(prompts)
            rows = record(found.model, pool, "pattern", batch_tokens=options.batch_tokens)
        partners = wrong_subject(batch, pool, seed=seed)
        right = Intervention(site="pattern", do=Replace(source=rows))
        wrong = replace_by_partners(rows, pool, batch, partners)
        with models.opened(arm, beside=arm) as found:
            effects = [
                patch(
                    found.model,
                    batch,
                    sweep(found.model, what),
                    found.tokenizer,
                    max_new_tokens=0,
                    batch_tokens=options.batch_tokens,
                    progress=f"Transplanting heads into {arm}",
                ).to_frame()
                for what in (right, wrong)
            ]
        table = effects[0][["layer", "head", "fact_id", "effect"]].copy()
        table["placebo"] = effects[1]["effect"]
        subject = dict(zip(frame["fact_id"], frame["subject"], strict=True))
        table["subject"] = table["fact_id"].map(subject)
    return table


def pictures(models: OpenCheckpoints, arm: str, frame: pd.DataFrame, directory: Path) -> list[dict[str, Any]]:
    """Record the last token's attention in typical stored lost facts, sinks left out, averaged over heads.

    One entry a fact: its tokens, which are the subject's, and a row for the base, the sibling and the arm.

    Args:
        models: the open checkpoints.
        arm: the arm that is looked at.
        frame: its facts with their verdicts.
        directory: of the files, one an arm.
    """
    chosen = typical_stored(frame)["fact_id"].tolist()
    return list(cached_json(directory / f"{arm}.json", lambda: _looked_at(models, arm, chosen)))


def typical_stored(frame: pd.DataFrame, most: int = PICTURES) -> pd.DataFrame:
    """Take the stored lost facts whose evidence is nearest to the median: typical, not picked."""
    some = frame[frame["verdict"].isin(STORED)]
    distance = (some["evidence_forms"].rank(pct=True) - 0.5).abs()
    return some.loc[distance.sort_values(kind="stable").index[:most]]


def _looked_at(models: OpenCheckpoints, arm: str, chosen: list[str]) -> list[dict[str, Any]]:
    asked = models.checkpoints.prompts
    prompts = [prompt for fact_id in chosen for prompt in asked if prompt.fact_id == fact_id]
    if not prompts:
        return []
    rows: dict[str, np.ndarray] = {}
    for name in dict.fromkeys((BASE, sibling_of(models.checkpoints, arm) or BASE, arm)):
        with models.opened(name, beside=arm) as found:
            batch = found.encoded(prompts)
            rows[name] = without_sinks(last_row_patterns(found.model, batch), batch).mean((1, 2)).numpy()
            tokens = batch.tokens(found.tokenizer)
    place = {prompt.fact_id: i for i, prompt in enumerate(batch.prompts)}
    return [
        {
            "fact_id": fact_id,
            "tokens": tokens[i],
            "subject": batch.subject_mask[i, : len(tokens[i])].tolist(),
            "rows": {
                name: row[i, : len(tokens[i])].astype(float).round(4).tolist() for name, row in rows.items()
            },
        }
        for fact_id, i in place.items()
    ]


def head_table(grid: pd.DataFrame) -> pd.DataFrame:
    """Average a head-by-head transplant: gain and placebo (nats) with 95% intervals, largest gain first.

    ``difference`` is what the gain exceeds the placebo by, over the ``placebo_n`` facts that have both;
    ``corrected`` is the one-sided p-value of its being above zero, corrected over all heads by
    Benjamini-Hochberg, for the foremost of hundreds of heads that do nothing stand out as well.
    """
    rows, p_values = [], []
    for (layer, head), cell in grid.groupby(["layer", "head"]):
        groups = cell["subject"].to_numpy()
        columns = (cell["effect"], cell["placebo"], cell["effect"] - cell["placebo"])
        gain, placebo, beyond = (
            estimate(column.to_numpy(dtype=np.float64), groups=groups, share=False) for column in columns
        )
        both = columns[2].notna().to_numpy()
        excess = columns[2].to_numpy(dtype=np.float64)[both]
        p_values.append(float(mean_p_values(excess, groups=groups[both], side="above")))
        rows.append(
            {
                "layer": layer,
                "head": head,
                "gain": gain.value,
                "low": gain.low,
                "high": gain.high,
                "placebo": placebo.value,
                "placebo_low": placebo.low,
                "placebo_high": placebo.high,
                "n": gain.n,
                "placebo_n": placebo.n,
                "difference": beyond.value,
                "difference_low": beyond.low,
                "difference_high": beyond.high,
            }
        )
    table = pd.DataFrame(rows, columns=list(HEAD_COLUMNS)).assign(corrected=adjusted(p_values))
    table = table.astype(HEAD_COLUMNS)
    return table.sort_values("gain", ascending=False, ignore_index=True)
