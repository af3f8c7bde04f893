"""Reading the checkpoints of one seed: subject attention, the pattern-only transplant, one fact in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.evaluate import longest_answer, matches
from finetune.files import atomic_file, read_json, write_json
from interp.attention import AttentionMass, subject_attention
from interp.checkpoints import load_pair
from interp.decode import greedy
from interp.patching import last_rows, transplant_hooks, wrong_subject
from interp.spans import PromptBatch, encode

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from analyses.arms import Checkpoints
    from interp.checkpoints import CheckpointPair


@contextmanager
def opened(checkpoints: Checkpoints, name: str) -> Iterator[tuple[CheckpointPair, TransformerBridge]]:
    """Open one checkpoint as a hooked model."""
    if name == "base":
        pair = load_pair(checkpoints.base)
        with pair.base() as model:
            yield pair, model
    else:
        pair = load_pair(checkpoints.base, checkpoints.arms[name])
        with pair.finetuned() as model:
            yield pair, model


def measure_attention(checkpoints: Checkpoints, name: str, path: Path, *, batch_tokens: int) -> AttentionMass:
    """Measure subject-attention mass of every test prompt; kept in ``path`` and read from it next time."""
    if path.is_file():
        return AttentionMass.load(path)
    with opened(checkpoints, name) as (pair, model):
        batch = encode(pair.tokenizer, checkpoints.prompts)
        mass = subject_attention(model, batch, batch_tokens=batch_tokens, progress=True)
    mass.save(path)
    return mass
