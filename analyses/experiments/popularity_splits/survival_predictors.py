"""What may predict which facts survive a fine-tuning: the base's own probabilities, and what training moved.

1. ``base_statement``: the base's mean log p(answer) after the statement forms of a fact (nats).
2. ``base_invented``: its log p(answer) after the question about an invented name of the same style, the first
   half of the subject's name and the second half of another one with the same answer. What is said of that is
   guessed from the sound of a name.
3. ``kl_from_base``: KL(base || checkpoint) of the next token at the end of the question (nats), which is said
   to predict what is forgotten (Shenfeld et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from analyses.common.visits import Stage
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import PreparedFacts
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_file
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt, render
from finetune.data.tokenization import tokenize
from finetune.evaluation.generate import score
from finetune.evaluation.scoring import next_token_log_probs


def base_predictors_stage(
    options: PopularitySplitsOptions, data: PreparedFacts, tokenizer: PreTrainedTokenizerBase, path: Path
) -> Stage[pd.DataFrame]:
    """Score the held-out facts' answers after statements, and after the question about an invented name.

    Args:
        options: the experiment's.
        data: the facts and their wording.
        tokenizer: the base's.
        path: the stage file.
    """
    test = data.parts.test

    def make(model: PreTrainedModel, to: Path) -> None:
        stated = [(i, form) for i, f in enumerate(test) for form in data.phrasebook[f.relation].statements]
        scores, _ = score(model, tokenizer, [render(form, test[i]) for i, form in stated])
        means = pd.Series(scores).groupby([i for i, _ in stated]).mean()
        invented, index = invented_names(test, data.parts.train, seed=data.seed)
        prompts = data.asked(options, invented, tokenizer, examples=data.parts.train, shots=0)
        guessed = pd.Series(score(model, tokenizer, prompts)[0] if len(prompts) else [], index, dtype=float)
        columns = {"base_statement": means, "base_invented": guessed}
        frame = pd.DataFrame(columns, index=range(len(test)))
        frame.insert(0, "fact_id", [fact.id for fact in test])
        frame.to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def divergence_stage(
    data: PreparedFacts,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    of_base: Path,
    dtype: torch.dtype,
    path: Path,
) -> Stage[pd.DataFrame]:
    """Measure how far a checkpoint's next token at the end of each question diverges from the base's.

    Args:
        data: the facts and the base.
        tokenizer: the base's.
        prompts: the questions.
        of_base: where the base's log-probabilities are kept for all cells of a seed.
        dtype: what the base is loaded in.
        path: the stage file.
    """
    rows = [tokens.ids for tokens in tokenize(tokenizer, prompts)]

    def write(to: Path) -> None:
        with to.open("wb") as file:
            np.save(file, next_token_log_probs(load_model(data.base, dtype=dtype)[0], rows))

    def make(model: PreTrainedModel, to: Path) -> None:
        with FileLock(of_base.with_suffix(".lock")):
            before = cached_file(of_base, write, np.load)
        now = next_token_log_probs(model, rows)
        moved = (np.exp(before) * (before - now)).sum(1)
        pd.DataFrame({"fact_id": [p.fact_id for p in prompts], "kl_from_base": moved}).to_parquet(to)

    return Stage(paths=(path,), make=make, read=lambda: pd.read_parquet(path))


def invented_names(facts: FactSet, others: FactSet, *, seed: int) -> tuple[FactSet, list[int]]:
    """Give facts invented names in the style of their own, and say which facts these are.

    A name's first half is joined to the second half of another subject's with the same answer; a fact that
    no other one has the answer of is left out, and so is one whose new name is a real subject's.
    """
    real = {fact.subject.casefold() for fact in (*facts, *others)}
    groups: dict[tuple[str, str], list[str]] = {}
    for fact in others:
        groups.setdefault((fact.relation, fact.answer), []).append(fact.subject)
    rng, made, index = generator(seed, "invented names"), [], []
    for i, fact in enumerate(facts):
        partners = groups.get((fact.relation, fact.answer), [])
        partner = partners[int(rng.integers(len(partners)))] if partners else ""
        name = fact.subject[: (len(fact.subject) + 1) // 2] + partner[len(partner) // 2 :]
        if partner and name.casefold() not in real:
            made.append(replace(fact, subject=name, question=None))
            index.append(i)
    return replace(facts, facts=tuple(made)), index
