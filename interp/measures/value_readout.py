"""Value readout: how strongly a model's values hold each fact.

*Value readout*: the sum over the subject's tokens of ``v . W_O . W_U[a]`` per head, read at the last prompt
token's norm scales: ``stored`` unweighted, ``used`` weighted by attention. On a one-layer attention-only
model without norms, ``stored`` is the factual salience phi(a)^T W_V phi(s). Both are given as the gold
answer's logit over the mean of its relation's answer set, and as its rank there (0 is first).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from interp.measures.answer_sets import Reading, answer_sets_of
from interp.measures.attention import MassTable, chunk_batch
from interp.measures.head_readers import HeadSources, read_sources, readers, source_rows
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint


@dataclass(frozen=True, kw_only=True)
class ValueReadout(Result):
    """The gold answer's readout from the subject's values, over the mean of the relation's answer set.

    Per head and, in ``*_total``, summed over all heads; ranks count the answers read more strongly.
    ``candidates`` is the number of answers that could be told apart, ``collisions`` names the others. Of a
    prompt that begins with its subject, whose first token is a sink, readouts are NaN and ranks -1.
    """

    stored: Float[Tensor, "fact layer head"]
    used: Float[Tensor, "fact layer head"]
    stored_rank: Int[Tensor, "fact layer head"]
    used_rank: Int[Tensor, "fact layer head"]
    stored_total: Float[Tensor, " fact"]
    used_total: Float[Tensor, " fact"]
    stored_total_rank: Int[Tensor, " fact"]
    used_total_rank: Int[Tensor, " fact"]
    candidates: Int[Tensor, " fact"]
    collisions: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row per fact, with the readouts summed over heads."""
        names = ("stored_total", "used_total", "stored_total_rank", "used_total_rank", "candidates")
        frame = long_frame({"fact_id": self.fact_ids}, {name: getattr(self, name) for name in names})
        return frame.rename(columns=lambda name: name.replace("_total", ""))


def value_readout(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    answer_sets: Mapping[str, Sequence[str]],
    *,
    tokens: Reading = "first",
    masses: MassTable | None = None,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> ValueReadout:
    """Read each fact's canonical answer from its subject's values, against its relation's answer set.

    Args:
        model: any bridge; nothing is edited.
        batch: prompts with answers and relations.
        tokenizer: the model's own.
        answer_sets: the possible answers of every relation in the batch, the facts' own among them.
        tokens: read an answer's first token, or the mean over its tokens.
        masses: is filled on the way, for the attention rows are at hand.
        batch_tokens: bound on the tokens of one forward pass.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: another reading, a relation without an answer set, or an answer that is not in its set.
    """
    sets = answer_sets_of(tokenizer, batch, answer_sets, tokens)
    result = _nothing_read(len(batch), model.cfg.n_layers, model.cfg.n_heads)
    with torch.inference_mode():
        directions = {relation: answers.directions(model) for relation, answers in sets.items()}
    for index, chunk in chunk_batch(batch, batch_tokens, progress, rows=source_rows(model)):
        sources = read_sources(model, chunk)
        if masses is not None:
            masses.add(index, chunk, sources.rows.cpu())
        for relation in {p.relation for p in chunk.prompts}:
            rows = [i for i, p in enumerate(chunk.prompts) if p.relation == relation]
            gold = torch.tensor([sets[relation].place[chunk.prompts[i].answers[0]] for i in rows])
            for name, values in _against_set(model, sources[rows], directions[relation], gold).items():
                result[name][index[rows]] = values.cpu()
    for name, values in result.items():
        values[batch.sunk] = -1 if name.endswith("rank") else torch.nan
    return ValueReadout(
        **result,
        candidates=torch.tensor([len(sets[p.relation].readings) for p in batch.prompts]),
        collisions=tuple(text for answers in sets.values() for text in answers.collisions),
        fact_ids=batch.fact_ids,
        model=model_fingerprint(model),
    )


def _nothing_read(facts: int, layers: int, heads: int) -> dict[str, Tensor]:
    """Make room for readouts and their ranks, by head and in total."""
    sizes = {"": (facts, layers, heads), "_total": (facts,)}
    named = [(f"{kind}{part}", size) for kind in ("stored", "used") for part, size in sizes.items()]
    values = {name: torch.zeros(size) for name, size in named}
    return values | {f"{name}_rank": torch.zeros(size, dtype=torch.long) for name, size in named}


@torch.inference_mode()
def _against_set(
    model: TransformerBridge,
    sources: HeadSources,
    directions: Float[Tensor, "answer d_model"],
    gold: Int[Tensor, " fact"],
) -> dict[str, Tensor]:
    """Compare the gold answer with its set, in every head and in their sum."""
    gold = gold.to(sources.stored.device)
    parts: dict[str, list[Tensor]] = {n: [] for n in ("stored", "stored_rank", "used", "used_rank")}
    totals = dict.fromkeys(("stored", "used"), torch.zeros((), device=gold.device))
    for layer in range(model.cfg.n_layers):
        reader = readers(model, layer, directions).to(gold.device)
        scale = rearrange(sources.scale(layer), "fact -> fact 1 1")
        for kind in totals:
            vectors = getattr(sources, kind)[:, layer]
            read = einsum(vectors, reader, "fact head d, answer head d -> fact head answer") / scale
            advantage, rank = _advantage(read, gold[:, None].expand(-1, read.shape[1]))
            parts[kind].append(advantage)
            parts[f"{kind}_rank"].append(rank)
            totals[kind] = totals[kind] + read.sum(1)
    result = {name: torch.stack(each, dim=1) for name, each in parts.items()}
    for kind, total in totals.items():
        result[f"{kind}_total"], result[f"{kind}_total_rank"] = _advantage(total, gold)
    return result


def _advantage(
    read: Float[Tensor, "*at answer"], gold: Int[Tensor, "*at"]
) -> tuple[Float[Tensor, "*at"], Int[Tensor, "*at"]]:
    """Return the gold answer's readout over the set's mean, and how many answers are read more strongly."""
    own = read.gather(-1, gold[..., None])
    return own[..., 0] - read.mean(-1), (read > own).sum(-1)
