"""Answer sets: a relation's possible answers as tokens, told apart by the first or as many as it takes.

Answers that share their first tokens ("United States", "United Kingdom") are a tree: each answer is read up
to where it parts from all others, and an answer that others continue ("Mexico", "Mexico City") counts where
none of those continuations follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.records.fact import wrong_answers
from finetune.data.tokenization import Text, tokenize_with_answer
from interp.measures.spans import PromptBatch

Reading = Literal["first", "mean", "distinct"]
Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AnswerSet:
    """A relation's answers as tokens: one entry per reading that differs, and the entry of each answer.

    ``branches`` are the beginnings, of one token or more, that several entries share: what a model says next
    must be known there to tell those entries apart.
    """

    readings: tuple[Tokens, ...]
    place: Mapping[str, int]
    collisions: tuple[str, ...]
    branches: tuple[Tokens, ...] = ()

    @classmethod
    def tokenized(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Text,
        relation: str,
        answers: Sequence[str],
        reading: Reading,
    ) -> AnswerSet:
        """Tokenise answers as they stand behind a prompt.

        Args:
            tokenizer: the model's.
            prompt: what the answers stand behind.
            relation: what collisions are reported under.
            answers: the possible answers.
            reading: keep first tokens, all tokens ("mean"), or those up to where an answer parts from all
                others ("distinct").
        """
        names = list(dict.fromkeys(answers))
        said = tokenize_with_answer(tokenizer, [prompt] * len(names), names)
        whole = [ids for _, ids in said]
        shared = _branches(whole) if reading == "distinct" else ()
        sharing: dict[Tokens, list[str]] = {}
        for ids, name in zip(whole, names, strict=True):
            sharing.setdefault(_read(ids, reading, shared), []).append(name)
        return cls(
            readings=tuple(sharing),
            place={name: i for i, group in enumerate(sharing.values()) for name in group},
            collisions=tuple(f"{relation}: {', '.join(g)}" for g in sharing.values() if len(g) > 1),
            branches=shared,
        )

    @property
    def first_tokens(self) -> list[int]:
        """The first token of each entry."""
        return [ids[0] for ids in self.readings]

    def following(self, beginning: Tokens) -> list[int]:
        """List the tokens with which entries go on behind a beginning, ascending."""
        return self._following.get(beginning, [])

    @cached_property
    def _following(self) -> dict[Tokens, list[int]]:
        found: dict[Tokens, set[int]] = {}
        for ids in self.readings:
            for n in range(len(ids)):
                found.setdefault(ids[:n], set()).add(ids[n])
        return {beginning: sorted(tokens) for beginning, tokens in found.items()}

    def log_probs(
        self,
        first: Float[Tensor, "row vocab"],
        after: Mapping[Tokens, Float[Tensor, "row following"]],
    ) -> Float[Tensor, "row answer"]:
        """Add up what each entry's tokens get, in nats; an entry that others continue is one that ends.

        ``first`` are log-probabilities behind the prompt, ``after`` those of :meth:`following` behind each of
        ``branches``.
        """
        scores = first[:, self.first_tokens]
        if not self.branches:
            return scores
        columns = []
        for ids, column in zip(self.readings, scores.unbind(1), strict=True):
            for k in range(1, len(ids)):
                column = column + after[ids[:k]][:, self.following(ids[:k]).index(ids[k])]
            if ids in after:
                continued = after[ids].exp().sum(1).clamp_max(1 - 1e-6)
                column = column + torch.log1p(-continued)
            columns.append(column)
        return torch.stack(columns, dim=1)

    def directions(self, model: TransformerBridge) -> Float[Tensor, "answer d_model"]:
        """Return the unembedding's direction of each entry, averaged over its tokens."""
        w_u = model.W_U
        return torch.stack([w_u[:, list(ids)].float().mean(-1) for ids in self.readings])


def answer_readings(
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    answer_sets: Mapping[str, Sequence[str]],
    reading: Reading = "first",
) -> dict[str, AnswerSet]:
    """Tokenise the answer set of every relation in the batch, behind the relation's prompts.

    Args:
        tokenizer: the model's own.
        batch: prompts with relations.
        answer_sets: the possible answers of every relation in the batch.
        reading: which of an answer's tokens are kept, see :meth:`AnswerSet.tokenized`.

    Raises:
        InputError: a relation without an answer set, an answer that says nothing, or prompts of one relation
            behind which the same answers are other tokens.
    """
    sets: dict[str, AnswerSet] = {}
    endings: dict[tuple[str, str, bool], Prompt] = {}
    for prompt in batch.prompts:
        if prompt.relation not in answer_sets:
            raise InputError(f"relation {prompt.relation!r} has no answer set; add it to answer_sets")
        # What an answer's tokens depend on: whether a space goes in front, and what it could merge with.
        endings.setdefault((prompt.relation, prompt.text[-1:], prompt.rendered), prompt)
    for prompt in endings.values():
        relation, names = prompt.relation, answer_sets[prompt.relation]
        if problem := wrong_answers(list(names)):
            raise InputError(f"answer set of {relation!r}: {problem}")
        found = AnswerSet.tokenized(tokenizer, prompt, relation, names, reading)
        if found.readings != sets.setdefault(relation, found).readings:
            raise InputError(
                f"relation {relation!r}: behind a prompt that ends in {prompt.text[-12:]!r} (fact "
                f"{prompt.fact_id!r}) answers are other tokens than behind the first; measure prompts that "
                "end differently in batches of their own"
            )
    return sets


def answer_sets_of(
    tokenizer: PreTrainedTokenizerBase,
    batch: PromptBatch,
    answer_sets: Mapping[str, Sequence[str]],
    reading: Reading,
) -> dict[str, AnswerSet]:
    """Tokenise the answer set of every relation in the batch, in which every fact's answer must be.

    Args:
        tokenizer: the model's own.
        batch: prompts with answers and relations.
        answer_sets: the possible answers of every relation in the batch, the facts' own among them.
        reading: which of an answer's tokens are kept, see :meth:`AnswerSet.tokenized`.

    Raises:
        InputError: another reading, a relation without an answer set, or an answer that is not in its set.
    """
    if reading not in get_args(Reading):
        raise InputError(f"tokens = {reading!r}: choose one of {', '.join(get_args(Reading))}")
    for prompt in batch.prompts:
        if not prompt.answers:
            raise InputError(f"fact {prompt.fact_id!r}: has no answer to read; leave it out or give it one")
    sets = answer_readings(tokenizer, batch, answer_sets, reading)
    for prompt in batch.prompts:
        relation, answer = prompt.relation, prompt.answers[0]
        if answer not in sets[relation].place:
            raise InputError(
                f"fact {prompt.fact_id!r}: answer {answer!r} is not in the answer set of {relation!r}; add it"
            )
    return sets


def _branches(answers: Sequence[Tokens]) -> tuple[Tokens, ...]:
    """List the beginnings that several different answers share, shortest first."""
    different = set(answers)
    counts: dict[Tokens, int] = {}
    for ids in different:
        for k in range(1, len(ids) + 1):
            counts[ids[:k]] = counts.get(ids[:k], 0) + 1
    return tuple(sorted((ids for ids, n in counts.items() if n > 1), key=lambda ids: (len(ids), ids)))


def _read(ids: Tokens, reading: Reading, branches: Sequence[Tokens]) -> Tokens:
    """Keep the tokens of an answer that a reading counts."""
    if reading == "mean":
        return ids
    n = 1
    while reading == "distinct" and n < len(ids) and ids[:n] in branches:
        n += 1
    return ids[:n]
