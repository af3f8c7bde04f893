"""The value readout token by token: what each token's value vectors say of the answer, head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from interp.measures.answer_sets import AnswerSet
from interp.measures.decode import answer_tokens
from interp.measures.head_readers import read_sources, readers
from interp.measures.spans import PromptBatch
from interp.models.pair import CheckpointPair

Kind = Literal["stored", "used"]


@torch.inference_mode()
def token_readout(
    model: TransformerBridge,
    batch: PromptBatch,
    pair: CheckpointPair,
    kind: Kind,
    answer_sets: Mapping[str, Sequence[str]] | None,
) -> Float[Tensor, "layer head token"]:
    """Read the answer's first token from the value vectors of each token of the one prompt in ``batch``.

    ``v . W_O . (W_U[a] - mean W_U)``, the final norm's scale held at the last token; the mean is over the
    relation's answer set, or over the vocabulary.

    Args:
        model: the model that reads.
        batch: one prompt, with its answer.
        pair: the pair that the model is of, for its tokenizer.
        kind: ``stored`` (the values as they are) or ``used`` (weighted by the last token's attention).
        answer_sets: the possible answers of its relation; without them the whole vocabulary is compared with.

    Raises:
        InputError: the answer is not in its relation's set.
    """
    (prompt,) = batch.prompts
    length = int(batch.last[0]) + 1
    # One row a token: each reads from that token alone.
    sources = read_sources(model, batch[[0] * length], torch.eye(length, dtype=torch.bool))
    w_u = model.W_U.float()
    if answer_sets is None:
        ((gold, *_),) = answer_tokens(pair.tokenizer, batch)
        direction = w_u[:, gold] - w_u.mean(-1)
    else:
        if prompt.answers[:1] == () or prompt.answers[0] not in answer_sets.get(prompt.relation, ()):
            raise InputError(
                f"fact {prompt.fact_id!r}: its answer is not in the answer set of {prompt.relation!r}; add it"
            )
        names = answer_sets[prompt.relation]
        answers = AnswerSet.tokenized(pair.tokenizer, prompt, prompt.relation, names, "first")
        among = answers.directions(model)
        direction = among[answers.place[prompt.answers[0]]] - among.mean(0)
    layers = []
    for layer in range(model.cfg.n_layers):
        reader = readers(model, layer, rearrange(direction, "d -> 1 d"))[0]
        vectors = getattr(sources, kind)[:, layer]
        read = einsum(vectors, reader.to(vectors.device), "token head d, head d -> token head")
        layers.append(read / rearrange(sources.scale(layer), "token -> token 1"))
    return rearrange(torch.stack(layers), "layer token head -> layer head token").cpu()
