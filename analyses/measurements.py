"""Reading one seed's checkpoints: subject attention, the pattern-only transplant, one fact in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.checkpoints import Checkpoints
from finetune.checksums import cached_json, cached_together
from finetune.evaluate import matches
from finetune.models import is_adapter
from finetune.prompts import Prompt
from interp.attention import AttentionMass, full_patterns, subject_attention
from interp.checkpoints import load_pair
from interp.controls import wrong_subject
from interp.edits import InterventionError
from interp.engine.interventions import Intervention, Replace
from interp.engine.recording import record
from interp.knockout import Block, knockout
from interp.patching import patch
from interp.salience import value_readout
from interp.spans import PromptBatch, encode

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

    from interp.pair import CheckpointPair


@contextmanager
def opened(
    checkpoints: Checkpoints, name: str, prompts: Sequence[Prompt]
) -> Iterator[tuple[TransformerBridge, PromptBatch, PreTrainedTokenizerBase]]:
    """Open one checkpoint as a hooked model, with the prompts encoded for it and its tokenizer.

    The tokenizer is the one that training used; the hooked model's own may add a second BOS.
    """
    pair = pair_of(checkpoints, name, alone=True)
    with pair.finetuned() as model:
        yield model, encode(pair.tokenizer, prompts), pair.tokenizer


def pair_of(checkpoints: Checkpoints, name: str, *, alone: bool = False) -> CheckpointPair:
    """Load the base and one arm as a pair; ``alone`` without the base where the arm can do without it."""
    source = checkpoints.base if name == "base" else checkpoints.arms[name]
    # A full checkpoint needs no second model in memory beside it; an adapter needs its base.
    if alone and not is_adapter(source):
        return load_pair(source, tokenizer=checkpoints.tokenizer)
    return load_pair(checkpoints.base, source, tokenizer=checkpoints.tokenizer)


def read_mass(checkpoints: Checkpoints, name: str, batch_tokens: int) -> AttentionMass:
    """Measure each test fact's subject attention in one checkpoint."""
    with opened(checkpoints, name, checkpoints.prompts) as (model, batch, _):
        return subject_attention(model, batch, batch_tokens=batch_tokens)


def read_masses(checkpoints: Checkpoints, name: str, batch_tokens: int) -> dict[str, float]:
    """Measure each test fact's subject attention in one checkpoint, averaged over layers and heads."""
    mass = read_mass(checkpoints, name, batch_tokens)
    return dict(zip(mass.fact_ids, mass.values.mean((1, 2)).tolist(), strict=True))


def read_checkpoint(
    checkpoints: Checkpoints, name: str, directory: Path, *, batch_tokens: int
) -> tuple[AttentionMass, pd.DataFrame]:
    """Measure one checkpoint on every test prompt; kept in ``directory`` and read from it next time.

    Returns:
        Subject-attention mass, and one row per fact: log p(answer) lost when the last token cannot see the
        subject or the relation's words (nats, missing where the architecture ignores edits), and the gold
        answer's readout from the subject's values with its rank in the relation's answer set (0 is first).
    """
    import pandas as pd

    masses, evidence = directory / f"{name}.safetensors", directory / f"{name}.parquet"

    def measure(masses: Path, evidence: Path) -> None:
        with opened(checkpoints, name, checkpoints.prompts) as (model, batch, tokenizer):
            mass = subject_attention(
                model, batch, batch_tokens=batch_tokens, progress=f"Reading the attention of {name}"
            )
            frame = _evidence(checkpoints, name, model, batch, tokenizer, batch_tokens)
        mass.save(masses)
        frame.to_parquet(evidence)

    return cached_together(
        [masses, evidence], measure, lambda: (AttentionMass.load(masses), pd.read_parquet(evidence))
    )


def _evidence(
    checkpoints: Checkpoints,
    name: str,
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    batch_tokens: int,
) -> pd.DataFrame:
    import pandas as pd

    readout = value_readout(
        model,
        batch,
        tokenizer,
        checkpoints.answer_sets,
        batch_tokens=batch_tokens,
        progress=f"Reading the values of {name}",
    )
    columns: dict[str, Any] = {
        "fact_id": batch.fact_ids,
        "stored": readout.stored_total.numpy(),
        "stored_rank": readout.stored_total_rank.numpy(),
        "used": readout.used_total.numpy(),
        "used_rank": readout.used_total_rank.numpy(),
    }
    blocks: tuple[Block, ...] = ("subject", "relation")
    for block in blocks:
        try:
            cut = knockout(
                model,
                batch,
                tokenizer,
                block=block,
                batch_tokens=batch_tokens,
                progress=f"Hiding the {block} from {name}",
            )
            columns[f"knockout_{block}"] = -cut.change.numpy()
        except InterventionError:
            columns[f"knockout_{block}"] = float("nan")
    return pd.DataFrame(columns)


def transplant(
    checkpoints: Checkpoints, donor: str, receiver: str, fact_ids: Sequence[str], *, seed: int
) -> dict[str, dict[str, bool]]:
    """Put the donor's last attention rows into the receiver, for the facts named.

    Returns:
        By fact id: ``recovered`` (with the donor's row for this fact) and, where another fact of the same
        relation and token layout exists, ``placebo_recovered`` (with the donor's row for that one).
    """
    wanted = set(fact_ids)
    prompts = [p for p in checkpoints.prompts if p.fact_id in wanted]
    if not prompts:
        return {}
    with opened(checkpoints, donor, checkpoints.prompts) as (model, pool, _):
        rows = record(model, pool, "pattern")
    with opened(checkpoints, receiver, prompts) as (model, batch, tokenizer):
        partners = wrong_subject(batch, pool, seed=seed)
        right = Intervention(site="pattern", do=Replace(source=rows))
        wrong = Intervention(
            site="pattern", do=Replace(source=rows, facts=partners), facts=frozenset(partners)
        )
        said = patch(model, batch, [right, wrong], tokenizer).said
    outcome: dict[str, dict[str, bool]] = {}
    for prompt, real, placebo in zip(batch.prompts, *said, strict=True):
        outcome[prompt.fact_id] = {"recovered": matches(real, prompt.answers)}
        if prompt.fact_id in partners:
            outcome[prompt.fact_id]["placebo_recovered"] = matches(placebo, prompt.answers)
    return outcome


def with_recovery(frame: pd.DataFrame, checkpoints: Checkpoints, path: Path, seed: int) -> pd.DataFrame:
    """Add the transplant's outcome to the rows of the bottom arm that only the top arm gets right."""
    by_arm = {arm: rows.set_index("fact_id")["correct"] for arm, rows in frame.groupby("arm")}
    lost = by_arm["top"] & ~by_arm["bottom"]
    outcome = cached_json(
        path, lambda: transplant(checkpoints, "top", "bottom", list(lost[lost].index), seed=seed)
    )
    facts = frame["fact_id"].where(frame["arm"] == "bottom")
    columns = {
        name: facts.map({i: found.get(name) for i, found in outcome.items()}).astype("boolean")
        for name in ("recovered", "placebo_recovered")
    }
    return frame.assign(**columns)


def one_fact(checkpoints: Checkpoints, frame: pd.DataFrame, before: str, after: str) -> dict[str, Any]:
    """Record one fact's whole attention under the base, ``before`` and ``after``, for a picture.

    It is the fact with the median change of attention among the known ones that ``before`` gets right and
    ``after`` wrong (among all facts, if there is none): typical, not picked.
    """
    chosen = typical(frame, before, after)
    prompt = next(p for p in checkpoints.prompts if p.fact_id == chosen)
    arms: dict[str, Any] = {}
    for name in dict.fromkeys(("base", before, after)):
        with opened(checkpoints, name, [prompt]) as (model, batch, tokenizer):
            pattern = full_patterns(model, batch)[0]
            tokens = batch.tokens(tokenizer)[0]
        row = frame[(frame["arm"] == name) & (frame["fact_id"] == chosen)].iloc[0]
        rounded = pattern.double().numpy().round(4).tolist()
        arms[name] = {"prediction": row["prediction"], "patterns": rounded}
    return {
        "fact_id": chosen,
        "prompt": prompt.text,
        "subject": list(prompt.subject),
        "tokens": tokens,
        "subject_tokens": batch.subject_mask[0].tolist(),
        "answers": list(prompt.answers),
        "arms": arms,
    }


def typical(frame: pd.DataFrame, before: str, after: str) -> str:
    """Name the fact with the median change among the known ones that only ``before`` gets right, if any."""
    a, b = (frame[frame["arm"] == name].set_index("fact_id") for name in (before, after))
    change = a["subject_attention"] - b["subject_attention"]
    telling = change[a["correct"] & ~b["correct"] & a["known"]]
    ranked = (telling if len(telling) else change).sort_values(kind="stable")
    return str(ranked.index[len(ranked) // 2])
