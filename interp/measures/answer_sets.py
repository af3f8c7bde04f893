"""A relation's possible answers as directions of the unembedding, and which of them cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from finetune.common.errors import InputError
from finetune.data.tokenization import Text, tokenize_with_answer
from interp.measures.spans import PromptBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

Reading = Literal["first", "mean"]


@dataclass(frozen=True, kw_only=True)
class AnswerSet:
    """A relation's answers as tokens: one entry per reading that differs, and the entry of each answer."""

    readings: tuple[tuple[int, ...], ...]
    place: Mapping[str, int]
    collisions: tuple[str, ...]

    @classmethod
    def tokenized(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Text,
        relation: str,
        answers: Sequence[str],
        reading: Reading,
    ) -> AnswerSet:
        """Tokenise answers as they stand behind a prompt; keep their first tokens, or all of them."""
        names = list(dict.fromkeys(answers))
        sharing: dict[tuple[int, ...], list[str]] = {}
        for (_, ids), name in zip(
            tokenize_with_answer(tokenizer, [prompt] * len(names), names), names, strict=True
        ):
            sharing.setdefault(ids[:1] if reading == "first" else ids, []).append(name)
        return cls(
            readings=tuple(sharing),
            place={name: i for i, group in enumerate(sharing.values()) for name in group},
            collisions=tuple(f"{relation}: {', '.join(g)}" for g in sharing.values() if len(g) > 1),
        )

    @property
    def first_tokens(self) -> list[int]:
        """The first token of each entry."""
        return [ids[0] for ids in self.readings]

    def directions(self, model: TransformerBridge) -> Float[Tensor, "answer d_model"]:
        """Return the unembedding's direction of each entry, averaged over its tokens."""
        w_u = model.W_U
        return torch.stack([w_u[:, list(ids)].float().mean(-1) for ids in self.readings])


def answer_sets_of(
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    answer_sets: Mapping[str, Sequence[str]],
    reading: Reading,
) -> dict[str, AnswerSet]:
    """Tokenise the answer set of every relation in the batch, behind one of the relation's prompts.

    Raises:
        InputError: another reading, a relation without an answer set, or an answer that is not in its set.
    """
    if reading not in get_args(Reading):
        raise InputError(f"tokens = {reading!r}: choose one of {', '.join(get_args(Reading))}")
    sets: dict[str, AnswerSet] = {}
    for prompt in batch.prompts:
        if not prompt.answers:
            raise InputError(f"fact {prompt.fact_id!r}: has no answer to read; leave it out or give it one")
        relation, answer = prompt.relation, prompt.answers[0]
        if relation not in answer_sets:
            raise InputError(f"relation {relation!r} has no answer set; add it to answer_sets")
        if relation not in sets:
            names = answer_sets[relation]
            sets[relation] = AnswerSet.tokenized(tokenizer, prompt, relation, names, reading)
        if answer not in sets[relation].place:
            raise InputError(
                f"fact {prompt.fact_id!r}: answer {answer!r} is not in the answer set of {relation!r}; add it"
            )
    return sets
