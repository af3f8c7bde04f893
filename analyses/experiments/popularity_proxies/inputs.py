"""What proxies are measured on: facts, a base that is asked and a corpus, opened when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from finetune.common.errors import LeftOut
from finetune.common.progress import progress_bar
from finetune.data.corpus_counts import CorpusCounts, corpus_size, count_in_corpus
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import PromptFormat
from finetune.data.prompts import Phrasebook, Prompt
from finetune.training.config import Dtype
from interp.selection.candidates import Candidates


@dataclass(frozen=True, kw_only=True)
class ProxyInputs:
    """What proxies are measured on.

    ``book`` words relations (in the known ones' own way unless given), ``style`` is how questions are asked;
    ``asked`` are prompts, one a fact, to ask instead. ``dtype`` is what the base is loaded in.
    """

    facts: FactSet
    base: str | Path | None = None
    corpus: str | Path | None = None
    text_field: str = "text"
    book: Phrasebook | None = None
    asked: Sequence[Prompt] | None = None
    style: PromptFormat = field(default_factory=PromptFormat)
    shots: int = 4
    seed: int = 0
    batch_tokens: int = 8192
    dtype: Dtype = "float32"

    @cached_property
    def candidates(self) -> Candidates:
        """The facts with the base that is asked about them."""
        assert self.base is not None
        return Candidates(
            facts=self.facts,
            base=self.base,
            book=self.book,
            style=self.style,
            prompts=self.asked,
            shots=self.shots,
            seed=self.seed,
            batch_tokens=self.batch_tokens,
            dtype=self.dtype,
        )

    @cached_property
    def counts(self) -> CorpusCounts:
        """What the corpus says of every fact."""
        assert self.corpus is not None
        with progress_bar(f"Counting in {Path(self.corpus).name}", total=corpus_size(self.corpus)) as advance:
            return count_in_corpus(self.corpus, self.facts, field=self.text_field, advance=advance)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files of the corpus that were not read, and facts that the base could not be asked."""
        opened = [vars(self)[name] for name in ("counts", "candidates") if name in vars(self)]
        return tuple(item for each in opened for item in each.left_out)
