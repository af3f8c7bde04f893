"""What preparing facts costs: EntityQuestions' whole train split read, worded and tokenised.

    python benchmarks/sources.py [--rows 176560] [--tokenizer DIR]

Writes a directory in the release's layout (24 relations, one file each, indented JSON) with names of the real
ones' lengths, then times: ``FactSet.load``; prompts, with the phrasebook; and tokens of prompts with their
answers, as training takes them. Without ``--tokenizer``, a byte-level BPE of 4,000 tokens is trained first,
untimed. Seconds are of the clock; ``cpu_s`` is this process's work in all that is timed, which on a busy
machine tells more; peak memory is the whole process's. OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false keeps
it to one core. The last line is JSON.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from peak import peak_memory

from finetune.data.facts import FactSet
from finetune.data.loaders.entity_questions import TEMPLATES
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import PromptFormat, ask_in_format
from finetune.data.records.subject_position import SLOT
from finetune.data.splits import partition, split
from finetune.data.tokenization import tokenize_with_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RELATIONS = [relation for relation in TEMPLATES if relation != "P30"]  # the 24 of the release
WORDS = (0.22, 0.45, 0.21, 0.08, 0.04)  # how many words a real subject has: 1, 2, 3, ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How many rows, and with which tokenizer."""

    rows: int = 176_560
    tokenizer: Path | None = None


def main(options: Options) -> None:
    figures: dict[str, Any] = {"rows": options.rows, "cpu_s": 0.0}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        made = work()
        figures[name] = round(time.perf_counter() - start, 2)
        figures["cpu_s"] = round(figures["cpu_s"] + time.process_time() - cpu, 2)
        return made

    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.rows)
        facts = timed("load_s", lambda: FactSet.load(folder))
    figures["facts"] = len(facts)
    prompts = timed("prompts_s", lambda: ask_in_format(facts, phrasebook(facts), PromptFormat()))
    tokenizer = tokenizer_for(options.tokenizer, facts)
    texts, answers = [p.text for p in prompts], [p.answers[0] for p in prompts]
    pairs = timed("tokenize_s", lambda: tokenize_with_answer(tokenizer, texts, answers))
    figures["tokens"] = sum(len(prompt) + len(answer) for prompt, answer in pairs)
    timed("digest_s", lambda: facts.digest)
    parts = timed("partition_s", lambda: partition(facts))
    timed("split_s", lambda: split(parts.train, "random", match="answer"))
    figures["peak_mib"] = peak_memory() >> 20
    print(json.dumps(figures))


def write_rows(folder: Path, rows: int) -> None:
    """Write files in the release's layout; answers repeat as real ones do, subjects seldom."""
    rng = np.random.default_rng(0)
    syllables = [
        "".join(rng.choice(list(part)) for part in ("bcdfglmnrstv", "aeiou", "nlrs ")) for _ in range(300)
    ]
    words = ["".join(s).strip().capitalize() for s in rng.choice(syllables, size=(40_000, 3))]
    words[::50] = [f"{word}é" for word in words[::50]]
    for k, relation in enumerate(RELATIONS):
        n = rows // len(RELATIONS) + (k < rows % len(RELATIONS))
        lengths = 1 + rng.choice(len(WORDS), size=n, p=WORDS)
        drawn = rng.integers(len(words), size=(n, len(WORDS)))
        named = [" ".join(words[i] for i in row[:length]) for row, length in zip(drawn, lengths, strict=True)]
        answers = np.minimum(rng.zipf(1.3, size=n), len(words)) - 1
        records = [
            {"question": TEMPLATES[relation].replace(SLOT, name), "answers": [words[answer]]}
            for name, answer in zip(named, answers, strict=True)
        ]
        (folder / f"{relation}.train.json").write_text(json.dumps(records, indent=4), encoding="utf-8")


def tokenizer_for(path: Path | None, facts: FactSet) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, GPT2Tokenizer

    from finetune.data.tokenizers import bpe_tokenizer

    if path is None:
        some = facts[:5000]
        return bpe_tokenizer(some, phrasebook(some))
    if (path / "config.json").is_file() or (path / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(path)
    return GPT2Tokenizer.from_pretrained(path)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
