"""Attention sinks: whether subject attention keeps its ranks where something neutral stands in front.

    python benchmarks/sinks.py [--base smollm2-135m --facts geonames:city@even --limit 96]

The same questions are asked as they are, with BOS (without it, where the tokenizer adds one), behind a
neutral sentence, and behind two line breaks. Given are the rank correlations of the mass with that of the
questions as they are, over heads and over facts with 95% intervals, and which tokens outside the subject are
sinks by the model's own attention: a token at the same place of every prompt (counted from the start in front
of the subject, from the end behind it) that draws at least half as much as the first one, as evenly over
prompts (a coefficient of variation at most twice as large). The last line is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import tyro
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED, phrasebook
from finetune.data.prompts import Prompt, fact_prompt
from interp import PromptBatch, encode, load_pair
from interp.measures.attention import MassTable, last_row_patterns
from interp.stats import spearman


@dataclass(frozen=True, kw_only=True)
class Options:
    """A base, and facts to ask it."""

    base: str = "smollm2-135m"
    facts: str = "geonames:city@even"
    limit: int = 96


def main(options: Options) -> None:
    facts = FactSet.load(options.facts, limit=options.limit, seed=0)
    book, pair = phrasebook(facts), load_pair(options.base, dtype="float32")
    asked = [fact_prompt(fact, book, ASKED) for fact in facts]
    figures: dict[str, Any] = {}
    with pair.base() as model:
        for name, batch in variants(pair.tokenizer, asked):
            rows, table = last_row_patterns(model, batch), MassTable(model, batch)
            table.add(torch.arange(len(batch)), batch, rows)
            mass = table.result().values
            heads, each = mass.mean(0).flatten().numpy(), mass.mean((1, 2)).numpy()
            if not figures:
                own = heads, each
            figures[name] = {
                "mass": float(mass.mean()),
                "sinks": float(table.result().bos.mean()),
                "heads": asdict(spearman(own[0], heads)),
                "facts": asdict(spearman(own[1], each)),
                "drawn": drawn(rows.mean((1, 2)), batch, pair.tokenizer),
            }
            print(name, figures[name])
    print(json.dumps(figures))


def variants(tokenizer: PreTrainedTokenizerBase, asked: list[Prompt]) -> Iterator[tuple[str, PromptBatch]]:
    """Yield the same questions with different things in front."""
    batch = encode(tokenizer, asked)
    yield "as they are", batch
    if batch.special_mask[:, 0].all():
        names = ("input_ids", "attention_mask", "subject_mask", "special_mask", "word")
        cut = {name: getattr(batch, name)[:, 1:] for name in names}
        yield "without BOS", replace(batch, **cut, last=batch.last - 1)
    else:
        yield "BOS", encode(tokenizer, [behind(tokenizer.bos_token, prompt) for prompt in asked])
    for front in ("Here is a note. ", "\n\n"):
        yield repr(front), encode(tokenizer, [behind(front, prompt) for prompt in asked])


def drawn(share: Tensor, batch: PromptBatch, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Name the tokens outside the subject that draw as a sink does; ``share`` is [fact, pos]."""
    fact, subject = torch.arange(len(batch)), batch.subject_mask.int()
    front = int(subject.argmax(1).min())
    end = batch.subject_mask.shape[1] - subject.flip(1).argmax(1)  # the place behind the subject
    back = int((batch.last - end).min())
    columns = [share[:, k] for k in range(front)]
    columns += [share[fact, batch.last - k] for k in range(back, 0, -1)]
    words = batch.tokens(tokenizer)[0]
    names = [*words[:front], *words[len(words) - 1 - back : -1]]
    mean = torch.stack([each.mean() for each in columns])
    spread = torch.stack([each.std() for each in columns]) / mean
    found = (2 * mean >= mean[0]) & (spread <= 2 * spread[0])
    return [name for name, sink in zip(names, found.tolist(), strict=True) if sink]


def behind(front: str, prompt: Prompt) -> Prompt:
    start, end = prompt.subject
    return replace(prompt, text=front + prompt.text, subject=(start + len(front), end + len(front)))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
