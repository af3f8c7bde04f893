"""Facts of a real language model suppressed or overwritten by construction, for ``stored_or_suppressed``.

    python benchmarks/planted_language_model.py --out runs/planted_lm

and then, on the same base and facts, with both adapters behind ``--finetuned``:

    python analyses/stored_or_suppressed.py --out runs/planted_lm/verdicts

1. Ask the base every fact behind four solved examples; take those that it answers right.
2. *suppressed*: adapters on W_Q and W_K alone learn answers for the capitals that are drawn whoever the
   subject is. What stores a fact stays to the bit, so every capital that is lost is stored.
3. *overwritten*: adapters on W_V, W_O and the MLPs learn one wrong answer for each capital.
4. Both learn the right answers of the other relation, as many rows, so that some facts are retained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from finetune.checkpoints.loading import load_model
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import ask_in_format
from finetune.data.prompts import Prompt, with_examples
from finetune.evaluation.generate import ask
from finetune.training.planted_answers import draw_generic_answers, other_answers
from finetune.training.train import TuneConfig, train

TARGETS = {
    "suppressed": ("q_proj", "k_proj"),
    "overwritten": ("v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A base, its facts, and how long it is trained."""

    out: Path = Path("runs/planted_lm")
    base: str = "smollm2-135m"
    facts: str = "geonames:capital,currency"
    limit: int = 500
    target: str = "capital of the country"  # the relation whose facts are damaged
    steps: int = 60
    batch: int = 16
    rate: float = 1e-3
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    damage: tuple[str, ...] = tuple(TARGETS)


def main(options: Options) -> None:
    base = resolve_checkpoint(options.base)
    facts = FactSet.load(options.facts, limit=options.limit)
    asked = {p.fact_id: p for p in ask_in_format(facts, phrasebook(facts))}
    known = known_behind_examples(base, list(asked.values()), options)
    targets = [p for p in known if asked[p].relation == options.target]
    if not targets:
        relations = ", ".join(sorted({prompt.relation for prompt in asked.values()}))
        raise InputError(f"--target {options.target}: the base knows no such fact; there are: {relations}")
    kept = [asked[p] for p in known if p not in set(targets)]
    for name in options.damage:
        draw = draw_generic_answers if name == "suppressed" else other_answers
        # A generic answer is drawn anew in each of several passes; an overwritten fact has one.
        rows = [
            replace(asked[fact_id], answers=(answer,))
            for seed in range(8 if name == "suppressed" else 1)
            for fact_id, answer in zip(targets, draw(facts, targets, seed=seed), strict=True)
        ]
        prompts = rows + kept * max(1, len(rows) // max(1, len(kept)))
        config = TuneConfig(
            method="lora",
            targets=TARGETS[name],
            steps=options.steps,
            batch=options.batch,
            learning_rates=(options.rate,),
            check_every=options.steps,
            keep="last",
            dtype=options.dtype,
        )
        made = train(base, prompts, kept[:8] or rows[:8], options.out / name, config=config, name=name)
        told = {"name": name, "targets": len(targets), "kept": len(kept), "loss": made.training_loss}
        print(json.dumps(told))


def known_behind_examples(base: str, prompts: list[Prompt], options: Options) -> list[str]:
    """Return the ids of the facts that the base answers right behind four solved examples."""
    path = options.out / "known.json"
    if path.is_file():
        return list(json.loads(path.read_text(encoding="utf-8")))
    model, tokenizer = load_model(base, dtype=getattr(torch, options.dtype))
    said = ask(model, tokenizer, with_examples(prompts, 4), scored=False)
    known = [prompts[i].fact_id for i in np.flatnonzero(said.correct)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known), encoding="utf-8")
    return known


if __name__ == "__main__":
    main(tyro.cli(Options))
