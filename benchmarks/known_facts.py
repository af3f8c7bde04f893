"""How many known facts elicitation finds, of those that a search over all forms of asking finds.

    python benchmarks/known_facts.py --base NAME --facts P36.dev.json --examples P36.train.json --out DIR

The search asks every fact in every form that has ``--shots`` solved examples, under four draws of them; it
finds a fact if in one form some answer is right and the answer is specific to the subject. The tool chooses
its forms on the examples alone, of all numbers of examples, and asks in those (``--known maybe``). Both are
held to one judge. A form is a file in ``--out``, so that a stopped search continues. The last line is JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from finetune.checkpoints.loading import load_model
from finetune.common.files import read_json, write_json
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.evaluation.asking_forms import SPECIFIC, AskingForm
from finetune.evaluation.consistency import MAYBE
from finetune.evaluation.elicitation import Elicitation


@dataclass(frozen=True, kw_only=True)
class Options:
    """A base, facts of one relation, and how many of them."""

    base: str
    facts: Path
    examples: Path
    out: Path
    limit: int = 150
    pool: int = 96
    shots: int = 4
    dtype: str = "bfloat16"
    seconds: float = 330.0
    """Stop asking in further forms after so long; the same command continues."""


def main(options: Options) -> None:
    model, tokenizer = load_model(options.base, dtype=getattr(torch, options.dtype))
    facts, examples = drawn(options.facts, options.limit), drawn(options.examples, options.pool)
    asks = Elicitation(model, tokenizer, phrasebook(facts), examples)
    relation = facts.relations[0]
    pool = asks.pool(relation, facts)
    forms = [form for form in asks.forms(relation, len(pool)) if form.shots == options.shots]
    start, found = time.monotonic(), {}
    for form in [None, *forms]:
        path = options.out / options.facts.name.split(".")[0] / f"{form or 'chosen'}.json"
        if not path.is_file():
            if time.monotonic() - start > options.seconds:
                print("stopped in time; the same command continues")
                return
            write_json(path, chosen(asks, facts) if form is None else searched(asks, facts, pool, form))
        found[form] = read_json(path)
    tool, others = np.array(found[None]["known"]), [np.array(found[form]["known"]) for form in forms]
    search = np.any(others, axis=0)
    figures = {
        "relation": relation,
        "n": len(facts),
        "search": int(search.sum()),
        "tool": int(tool.sum()),
        "both": int((search & tool).sum()),
        "best_form": max(map(int, map(np.sum, others))),
        "kept": found[None]["kept"],
        "forms": {str(form): int(some.sum()) for form, some in zip(forms, others, strict=True)},
    }
    print(json.dumps(figures))


def drawn(path: Path, n: int) -> FactSet:
    """Draw some of a file's facts, always the same."""
    facts = FactSet.load(str(path))
    rows = np.random.default_rng(0).permutation(len(facts))[:n]
    return facts.subset(sorted(rows.tolist()))


def chosen(asks: Elicitation, facts: FactSet) -> dict[str, object]:
    """Elicit as the tool does."""
    found = asks.elicit(facts)
    kept = [{**asdict(each), "form": str(each.form)} for each in found.forms if each.kept]
    return {"known": found.known().tolist(), "kept": kept}


def searched(asks: Elicitation, facts: FactSet, pool: FactSet, form: AskingForm) -> dict[str, object]:
    """Ask in one form alone, over the draws, and whether answers are specific in it."""
    degree, _, _ = asks._degrees(facts, pool, [form])
    right = degree >= MAYBE
    specific = ~(asks._above(facts, pool, form, right) < SPECIFIC)
    return {"known": (right & specific).tolist()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
