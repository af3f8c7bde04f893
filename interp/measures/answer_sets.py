"""Answer sets: a relation's possible answers as directions of the unembedding, and which collide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from finetune.data.tokenization import Text, tokenize_with_answer

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
        """Tokenise answers as they stand behind a prompt; keep their first tokens, or all of them.

        Args:
            tokenizer: the model's own fast tokenizer.
            prompt: a prompt that the answers stand behind.
            relation: names the set in an error.
            answers: the relation's answers.
            reading: first tokens, or all of them.
        """
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
