"""What proxies are measured on: facts, how they are asked, and the base and corpus, opened when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetune.confidence import SHOTS
from finetune.facts import FactSet, LeftOut
from finetune.frequency import CorpusCounts, corpus_size, count_in_corpus
from finetune.phrasebooks import ASKED, phrasebook
from finetune.prompts import Phrasebook, Prompt, asked_prompt

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Material:
    """What proxies are measured on; models and corpus are opened once, when a proxy first needs them."""

    facts: FactSet
    base: str | Path | None = None
    corpus: str | Path | None = None
    text_field: str = "text"
    book: Phrasebook | None = None
    asked: Sequence[Prompt] | None = None
    template: str = ASKED
    shots: int = SHOTS
    seed: int = 0
    batch_tokens: int = 8192
    left_out: list[LeftOut] = field(default_factory=list)

    @cached_property
    def phrasebook(self) -> Phrasebook:
        """How relations are worded; the known ones' own wording unless given."""
        return phrasebook(self.facts) if self.book is None else self.book

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """Each fact's question in the template, unless prompts are given."""
        if self.asked is not None:
            return tuple(self.asked)
        return tuple(asked_prompt(fact, self.phrasebook, self.template) for fact in self.facts)

    @cached_property
    def plain(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The base model and its tokenizer."""
        from finetune.models import load_model

        assert self.base is not None
        return load_model(self.base)

    @cached_property
    def counts(self) -> CorpusCounts:
        """What the corpus says of every fact."""
        from finetune.progress import task

        assert self.corpus is not None
        with task(f"Counting in {Path(self.corpus).name}", total=corpus_size(self.corpus)) as advance:
            found = count_in_corpus(self.corpus, self.facts, field=self.text_field, advance=advance)
        self.left_out.extend(found.left_out)
        return found


def salience(material: Material) -> Float[ndarray, " fact"]:
    """Read each answer from its subject's values, summed over heads; NaN where no subject can be aligned."""
    from finetune.models import adapter_base, is_adapter
    from interp.checkpoints import load_pair
    from interp.salience import value_readout
    from interp.spans import encode

    material.__dict__.pop("plain", None)  # two copies of a large model need not fit into memory
    assert material.base is not None
    source = material.base
    pair = load_pair(adapter_base(source), source) if is_adapter(source) else load_pair(source)
    facts = material.facts
    batch = encode(pair.tokenizer, material.prompts)
    material.left_out.extend(batch.left_out)
    sets = {relation: facts.answer_set(relation) for relation in facts.relations}
    with pair.finetuned() as model:
        readout = value_readout(
            model,
            batch,
            pair.tokenizer,
            sets,
            batch_tokens=material.batch_tokens,
            progress="Reading the base's values",
        )
    read = dict(zip(readout.fact_ids, readout.stored_total.tolist(), strict=True))
    return np.array([read.get(fact.id, np.nan) for fact in facts], dtype=np.float64)
