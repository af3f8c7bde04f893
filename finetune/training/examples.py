"""Training rows: a pretraining corpus sampled by popularity, and fine-tuning rows scored on answers only.

Each distinct text is tokenised once; a run's rows are indices into those texts, drawn beforehand. So a
run sees the same rows in the same order whether or not it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.batching import IGNORED
from finetune.training.config import CorpusConfig


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Token rows as a data set for ``transformers.Trainer``.

    ``ids`` [text, position] is right-padded, ``lengths`` [text] counts real tokens, ``scored_from``
    [text] is the first position whose token is scored, and ``order`` [row] says which text each row of
    the run is.
    """

    ids: np.ndarray
    lengths: np.ndarray
    scored_from: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, row: int) -> int:
        return int(self.order[row])

    def collate(self, texts: Sequence[int]) -> dict[str, torch.Tensor]:
        """Gather texts into a batch trimmed to its longest: input_ids, attention_mask, labels [row, pos]."""
        chosen = np.asarray(texts)
        longest = int(self.lengths[chosen].max())
        ids = self.ids[chosen, :longest].astype(np.int64)
        position = np.arange(longest)[None]
        real = position < self.lengths[chosen, None]
        scored = real & (position >= self.scored_from[chosen, None])
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
            "labels": torch.from_numpy(np.where(scored, ids, IGNORED)),
        }


def corpus(
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    phrasebook: Phrasebook,
    config: CorpusConfig,
    *,
    rows: int,
    batch: int,
    seed: int = 0,
) -> TokenRows:
    """Sample pretraining rows, each one worded fact ended by EOS and scored on every token.

    Rows are drawn independently, then ordered so that each ``batch`` holds rows of similar length.

    Args:
        tokenizer: the model's own fast tokenizer.
        facts: the facts, in order.
        phrasebook: each relation's wording.
        config: how facts are sampled.
        rows: how many to draw.
        batch: rows of similar length stand together by so many.
        seed: of the draws.
    """
    rng = generator(seed, "pretraining corpus")
    weights = sampling_weights(facts, config.exponent)
    drawn = rng.choice(len(facts), size=rows, p=weights)
    asked = draw_question_subjects(facts, config.asked_share, seed=seed)
    is_asked = np.array([fact.subject in asked for fact in facts])[drawn]
    question = is_asked & (rng.random(rows) < config.question_share)
    forms = [(phrasebook[f.relation].statements, phrasebook[f.relation].questions) for f in facts]
    n_statements = np.array([len(s) for s, _ in forms])[drawn]
    n_questions = np.array([len(q) for _, q in forms])[drawn]
    pick = np.floor(rng.random(rows) * np.where(question, n_questions, n_statements)).astype(np.int64)
    form = np.where(question, n_statements + pick, pick)
    first_text = np.concatenate([[0], np.cumsum([len(s) + len(q) for s, q in forms])[:-1]])
    texts = [render(f, fact) for fact, (s, q) in zip(facts, forms, strict=True) for f in (*s, *q)]
    examples = _examples(tokenizer, texts, order=first_text[drawn] + form, answers_only=False)
    return replace(examples, order=by_length(examples.order, examples.lengths, batch=batch, rng=rng))


def answer_examples(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    rows: int,
    seed: int = 0,
    stages: Sequence[int] | None = None,
) -> TokenRows:
    """Make fine-tuning rows scored on the answer and EOS; passes over the prompts, each newly shuffled.

    Args:
        tokenizer: the model's own fast tokenizer.
        prompts: what to train on.
        rows: how many to make.
        seed: of the shuffles.
        stages: puts each prompt in a stage of the run: the lowest comes first, and each takes its share of
            the rows.
    """
    if not prompts:
        raise InputError("no fact is left to fine-tune on; give more facts or a larger fraction")
    rng = generator(seed, "fine-tuning rows")
    stage = np.zeros(len(prompts), np.int64) if stages is None else np.asarray(stages)
    ends = np.cumsum([rows * (stage == s).sum() / len(prompts) for s in np.unique(stage)]).round().astype(int)
    order = np.concatenate(
        [
            repeat_in_passes(np.flatnonzero(stage == s), end - start, rng)
            for s, start, end in zip(np.unique(stage), [0, *ends[:-1]], ends, strict=True)
        ]
    )
    return _examples(tokenizer, prompts, order=order, answers_only=True)


def repeat_in_passes(members: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Repeat members in passes, each newly shuffled, for so many rows."""
    passes = -(-rows // len(members))
    shuffles = [members[rng.permutation(len(members))] for _ in range(passes)]
    return np.concatenate([np.zeros(0, np.int64), *shuffles])[:rows]


def by_length(
    order: np.ndarray, lengths: np.ndarray, *, batch: int, rng: np.random.Generator, window: int = 16
) -> np.ndarray:
    """Reorder rows so that a batch wastes little on padding: sorted in windows of batches, batches shuffled.

    Half of a batch of real names is padding otherwise. What is drawn stays what was drawn.

    Args:
        order: text numbers, one a row.
        lengths: tokens of each text.
        batch: rows a step.
        rng: of the shuffles.
        window: batches that are sorted together.
    """
    parts = []
    for start in range(0, len(order), window * batch):
        rows = order[start : start + window * batch]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
        # A short last batch stays last, so that every other one is full.
        full = len(batches) - (len(batches[-1]) < batch)
        parts += [batches[i] for i in rng.permutation(full)] + batches[full:]
    return np.concatenate(parts)


def sampling_weights(facts: FactSet, exponent: float) -> np.ndarray:
    """Return each fact's probability of being drawn, proportional to popularity^exponent [fact]."""
    popularity = [fact.popularity for fact in facts]
    if any(p is None for p in popularity):
        raise InputError(
            f"{facts.name}: pretraining samples by popularity, and some facts have none; add a column "
            "popularity, or give a model of your own that has met them"
        )
    # Page views can be zero; such a fact is still written about now and then.
    weights = np.maximum(np.array(popularity, dtype=np.float64), 1e-9) ** exponent
    return weights / weights.sum()


def draw_question_subjects(facts: FactSet, share: float, *, seed: int = 0) -> frozenset[str]:
    """Draw the subjects that pretraining also meets in question form, whatever their popularity."""
    subjects = sorted({fact.subject for fact in facts})
    rng = generator(seed, "question subjects")
    return frozenset(subjects[i] for i in rng.permutation(len(subjects))[: round(share * len(subjects))])


def _examples(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, order: np.ndarray, answers_only: bool
) -> TokenRows:
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    lengths = np.array([len(prompt) + len(answer) + len(end) for prompt, answer in pairs])
    ids = np.zeros((len(pairs), int(lengths.max())), dtype=np.int32)
    for row, (prompt, answer) in zip(ids, pairs, strict=True):
        row[: len(prompt) + len(answer) + len(end)] = (*prompt, *answer, *end)
    scored_from = np.array([len(prompt) if answers_only else 0 for prompt, _ in pairs])
    return TokenRows(ids=ids, lengths=lengths, scored_from=scored_from, order=order)
