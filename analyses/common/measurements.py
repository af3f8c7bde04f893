"""Measurements of an open checkpoint: subject attention, value readout, knock-outs, the transplant of rows.

Each is a stage of a visit (:mod:`analyses.common.visits`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.visits import OpenCheckpoint, Stage, json_stage
from finetune.common.seeds import generator
from finetune.data.prompts import Prompt
from finetune.evaluation.judging import AnswerJudge
from interp.measures.attention import AttentionMass, MassTable, subject_attention
from interp.measures.placebos import wrong_subject
from interp.measures.recall_parts import recall_parts
from interp.measures.value_readout import value_readout
from interp.measures.value_weighted import value_weighted_attention
from interp.models.edit_check import InterventionError
from interp.patching.interventions import Intervention, Knockout, Replace
from interp.patching.knockout import Block
from interp.patching.partner_rows import replace_by_partners
from interp.patching.patch import patch
from interp.patching.recall_heads import RecallHeads, recall_heads
from interp.patching.recording import Recording, record

FINDING = 32  # facts that recall heads are looked for on
SPLIT = 200  # facts whose recall is split into its parts, at most
WEIGHTED = "value_weighted_share"
RECALL = ("extraction", "attention_elsewhere", "mlp", "rest", "logit_difference")
FEWEST_SUBJECTS = 8


def mass_stage(name: str, path: Path, *, batch_tokens: int) -> Stage[AttentionMass]:
    """Measure each test fact's subject attention in one checkpoint, called ``name``."""

    def make(found: OpenCheckpoint, to: Path) -> None:
        subject_attention(
            found.model,
            found.batch,
            batch_tokens=batch_tokens,
            progress=f"Reading the attention of {name}",
        ).save(to)

    return Stage(paths=(path,), make=make, read=lambda: AttentionMass.load(path))


def recall_stage(
    path: Path, answers: Callable[[], pd.DataFrame], *, seed: int, batch_tokens: int
) -> Stage[RecallHeads]:
    """Find the open checkpoint's recall heads on facts that it answers right.

    They are facts set aside (training facts) where there are such; else at most half of the test facts, which
    are then left out of the heads' mean. Where they are of too few subjects, or the architecture ignores
    edits of its attention, no head is looked for.

    Args:
        path: the stage file.
        answers: gives a row a test fact, which says whether the checkpoint's answer is right.
        seed: of the draw.
        batch_tokens: bound on the tokens of one forward pass.
    """

    def make(found: OpenCheckpoint, to: Path) -> None:
        heads = RecallHeads.none(found.model.cfg.n_layers, found.model.cfg.n_heads)
        with suppress(InterventionError):
            prompts = _right_aside(found, batch_tokens)
            if len(prompts) < FEWEST_SUBJECTS:
                rows = answers()
                ids = sorted(rows.loc[rows["correct"], "fact_id"])
                most = min(FINDING, len(ids) // 2)
                prompts = found.checkpoints.draw_prompts(ids, most, "recall facts", seed)
            subjects = [prompt.text[slice(*prompt.subject)] for prompt in prompts]
            if len(set(subjects)) >= FEWEST_SUBJECTS:
                options: dict[str, Any] = {"groups": subjects, "batch_tokens": batch_tokens}
                options["progress"] = "Finding the heads that recall needs"
                heads = recall_heads(found.model, found.encoded(prompts), found.tokenizer, **options)
        heads.save(to)

    return Stage(paths=(path,), make=make, read=lambda: RecallHeads.load(path))


def _right_aside(found: OpenCheckpoint, batch_tokens: int) -> list[Prompt]:
    """Return prompts set aside that the open checkpoint answers right."""
    if not found.checkpoints.aside:
        return []
    batch = found.encoded(found.checkpoints.aside)
    if batch.sunk.all():
        return []
    batch, cut = batch[~batch.sunk], Intervention(site="pattern", do=Knockout(), keys="subject")
    said = patch(found.model, batch, cut, found.tokenizer, batch_tokens=batch_tokens).clean_said
    judge = AnswerJudge(found.checkpoints.answer_sets)
    pairs = zip(batch.prompts, said, strict=True)
    return [prompt for prompt, text in pairs if judge.is_right(prompt, text)][:FINDING]


def mean_masses(found: OpenCheckpoint, batch_tokens: int) -> dict[str, float]:
    """Measure each test fact's subject attention in an open checkpoint, averaged over layers and heads."""
    mass = subject_attention(found.model, found.batch, batch_tokens=batch_tokens)
    return dict(zip(mass.fact_ids, mass.values.mean((1, 2)).tolist(), strict=True))


def readings_stage(
    name: str, directory: Path, *, batch_tokens: int
) -> Stage[tuple[AttentionMass, pd.DataFrame]]:
    """Measure one checkpoint on every test prompt.

    It leaves subject-attention mass, and one row per fact: log p(answer) lost when the last token cannot see
    the subject or the relation's words (nats, missing where the architecture ignores edits), and the gold
    answer's readout from the subject's values with its rank in the relation's answer set (0 is first); of
    some facts also where the logit difference comes from.
    """
    mass = mass_stage(name, directory / f"{name}.safetensors", batch_tokens=batch_tokens)
    evidence = directory / f"{name}.parquet"

    def make(found: OpenCheckpoint, masses: Path, rows: Path) -> None:
        table = MassTable(found.model, found.batch)
        _evidence(found, name, batch_tokens, table).to_parquet(rows)
        table.result().save(masses)

    return Stage(
        paths=(*mass.paths, evidence), make=make, read=lambda: (mass.read(), pd.read_parquet(evidence))
    )


def _evidence(found: OpenCheckpoint, name: str, batch_tokens: int, masses: MassTable) -> pd.DataFrame:
    """Measure knock-outs and readouts, and fill the masses on the way."""
    asked = found.model, found.batch, found.tokenizer
    readout = value_readout(
        *asked,
        found.checkpoints.answer_sets,
        masses=masses,
        batch_tokens=batch_tokens,
        progress=f"Reading the values of {name}",
    )
    columns: dict[str, Any] = {
        "fact_id": found.batch.fact_ids,
        "stored": readout.stored_total.numpy(),
        "stored_rank": readout.stored_total_rank.numpy(),
        "used": readout.used_total.numpy(),
        "used_rank": readout.used_total_rank.numpy(),
    }
    columns |= _of_some(found, batch_tokens, told=f"Splitting the recall of {name}")
    blocks: tuple[Block, ...] = ("subject", "relation")
    # Both are cells of one grid, so that the prompts are run once.
    cuts = [Intervention(site="pattern", do=Knockout(), keys=block) for block in blocks]
    told = f"Hiding subject and relation from {name}"
    columns |= dict.fromkeys((f"knockout_{block}" for block in blocks), float("nan"))
    with suppress(InterventionError):
        model, batch, tokenizer = asked
        options: dict[str, Any] = {"max_new_tokens": 0, "batch_tokens": batch_tokens, "progress": told}
        lost = -patch(model, batch, cuts, tokenizer, **options).effect.numpy()
        columns |= {f"knockout_{block}": row for block, row in zip(blocks, lost, strict=True)}
    return pd.DataFrame(columns)


def _of_some(found: OpenCheckpoint, batch_tokens: int, told: str) -> dict[str, Any]:
    """Split the logit difference of some facts, the same in every checkpoint, and weight attention by values.

    ``value_weighted_share`` is the norm of what heads write at the last token from the subject, of that of
    all they write, both summed over heads. It can exceed 1, where what they write from other tokens is
    opposed to it.
    """
    drawn = generator(0, "recall parts").permutation(len(found.batch))[:SPLIT]
    batch = found.batch[sorted(drawn.tolist())]
    asked = found.model, batch, found.tokenizer, found.checkpoints.answer_sets
    parts = recall_parts(*asked, batch_tokens=batch_tokens, progress=told).facts_frame().set_index("fact_id")
    parts["rest"] = parts["embedding"] + parts["constant"]
    norms = value_weighted_attention(found.model, batch, batch_tokens=batch_tokens)
    share = norms.values.sum((1, 2)) / norms.total.sum((1, 2))
    parts[WEIGHTED] = pd.Series(share.numpy(), index=list(norms.fact_ids))
    rows = parts.reindex(found.batch.fact_ids)
    return {
        WEIGHTED: rows[WEIGHTED].to_numpy(),
        **{f"recall_{part}": rows[part].to_numpy() for part in RECALL},
    }


def rows_stage(path: Path, *, batch_tokens: int) -> Stage[Recording]:
    """Record every test prompt's last attention rows, to be put into another checkpoint."""

    def make(found: OpenCheckpoint, to: Path) -> None:
        record(found.model, found.batch, "pattern", batch_tokens=batch_tokens).save(to)

    return Stage(paths=(path,), make=make, read=lambda: Recording.load(path))


def transplant_stage(
    path: Path,
    rows: Stage[Recording],
    lost: Callable[[], Sequence[str]],
    *,
    seed: int,
    batch_tokens: int,
) -> Stage[dict[str, dict[str, bool]]]:
    """Put another checkpoint's last attention rows into the open one.

    Args:
        path: the stage file.
        rows: the donor's.
        lost: names the facts to try it on, once everybody was asked.
        seed: draws the placebo's subjects.
        batch_tokens: bound on the keys of one forward pass.
    """
    return json_stage(
        path, lambda found: transplant(found, rows.read, lost(), seed=seed, batch_tokens=batch_tokens)
    )


def transplant(
    found: OpenCheckpoint,
    donated: Callable[[], Recording],
    fact_ids: Sequence[str],
    *,
    seed: int,
    batch_tokens: int = 8192,
) -> dict[str, dict[str, bool]]:
    """Put a donor's last attention rows into the open checkpoint, for the facts named.

    Args:
        found: the receiver.
        donated: reads the donor's rows of all test prompts.
        fact_ids: the facts to try it on.
        seed: draws the placebo's subjects.
        batch_tokens: bound on the keys of one forward pass.

    Returns:
        By fact id: ``recovered`` (with the donor's row for this fact) and, where another fact of the same
        relation has a prompt of the same roles, ``placebo_recovered`` (with the donor's row for that one).
    """
    wanted = set(fact_ids)
    prompts = [p for p in found.checkpoints.prompts if p.fact_id in wanted]
    if not prompts:
        return {}
    rows, batch = donated(), found.encoded(prompts)
    partners = wrong_subject(batch, found.batch, seed=seed)
    right = Intervention(site="pattern", do=Replace(source=rows))
    wrong = replace_by_partners(rows, found.batch, batch, partners)
    said = patch(found.model, batch, [right, wrong], found.tokenizer, batch_tokens=batch_tokens).said
    outcome: dict[str, dict[str, bool]] = {}
    judge = AnswerJudge(found.checkpoints.answer_sets)
    for prompt, real, placebo in zip(batch.prompts, *said, strict=True):
        outcome[prompt.fact_id] = {"recovered": judge.is_right(prompt, real)}
        if prompt.fact_id in partners:
            outcome[prompt.fact_id]["placebo_recovered"] = judge.is_right(prompt, placebo)
    return outcome
