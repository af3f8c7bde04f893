"""How many known facts elicitation finds, of those that a search over all forms of asking finds.

    python benchmarks/known_facts.py --base NAME --facts P36.dev.json P17.dev.json --examples FOLDER --out DIR

The search asks every fact in every form that has ``--shots`` solved examples, under four draws of them. The
tool chooses its forms on the examples alone, of all numbers of examples, and asks in those. Both are held to
one judge, and to one of two cuts:

- *once*: one answer in a form is right, and the answer is specific in that form (``--known maybe``). This is
  the issue's search; it also counts a fact that one of 20 or 28 answers hits by luck.
- *half*: in one form at least half of the draws are right, and the answer is specific in that form.

``--worth`` compares a further bound on what a form must add to be kept; both choose from the same answers. A
form is a file in ``--out``, so that a stopped search continues. The last lines are JSON: a line a relation,
and one of all, with 95% intervals over facts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy import ndarray

from analyses.common.resumed_elicitation import ResumedElicitation
from finetune.checkpoints.loading import load_model
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.evaluation.asking_forms import PROBES, WORTH, AskingForm, cover, is_specific, split_pool
from interp.stats import estimate

CUTS = {"once": 0.0, "half": 0.5}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A base, files of facts of one relation each, and how many facts of each."""

    base: str
    facts: tuple[Path, ...]
    examples: Path
    """Folder of training facts: for P36.dev.json, P36.train.json."""
    out: Path
    skip: int = 0
    """Leave out so many of the facts drawn, which were asked before."""
    worth: float = WORTH
    """A further bound, beside the tool's: the share of training facts that one more form must find."""
    limit: int = 60
    pool: int = 96
    shots: int = 4
    dtype: str = "bfloat16"
    seconds: float = 330.0
    """Stop asking in further forms after so long; the same command continues."""


def main(options: Options) -> None:
    model, tokenizer = load_model(options.base, dtype=getattr(torch, options.dtype))
    deadline = time.monotonic() + options.seconds
    found: dict[str, list[bool]] = {}
    for path in options.facts:
        name = path.name.split(".")[0]
        facts = drawn(path, options.limit, options.skip)
        examples = drawn(options.examples / f"{name}.train.json", options.pool)
        how = {"folder": options.out / name, "deadline": deadline}
        asks = BoundElicitation(model, tokenizer, phrasebook(facts), examples, **how)
        try:
            made, kept = asks.answers(facts, options.shots, {"tool": WORTH, "worth": options.worth})
        except TimeoutError:
            print("stopped in time; the same command continues")
            return
        some = by_side(made, kept, options.shots)
        print(json.dumps({"relation": name, **figures(some), "forms": kept}))
        for key, flags in some.items():
            found.setdefault(key, []).extend(flags)
    print(json.dumps({"relation": "all", **figures(found)}))


def drawn(path: Path, n: int, skip: int = 0) -> FactSet:
    """Draw some of a file's facts, always the same."""
    facts = FactSet.load(str(path))
    rows = np.random.default_rng(0).permutation(len(facts))[skip : skip + n]
    return facts.subset(sorted(rows.tolist()))


Asked = dict[str, dict[str, list[float]]]  # form, then each fact's share right and whether it is specific


@dataclass
class BoundElicitation(ResumedElicitation):
    """Stops between two forms when its time is over; the same command goes on."""

    deadline: float = 0.0

    def _kept(self, what: str, facts: FactSet, form: AskingForm, make: Callable[[], Any]) -> Any:
        def make_in_time() -> Any:
            if time.monotonic() > self.deadline:
                raise TimeoutError
            return make()

        return super()._kept(what, facts, form, make_in_time)

    def answers(
        self, facts: FactSet, shots: int, bounds: Mapping[str, float]
    ) -> tuple[Asked, dict[str, list[str]]]:
        """Ask in every form of the search and in those that each bound keeps, which are returned as well."""
        relation = facts.relations[0]
        pool = self.pool(relation, facts)

        def ask(form: AskingForm) -> dict[str, list[float]]:
            answers = self._ask(facts, pool, form)
            right = answers.right
            above = self._above(facts, pool, answers, right.any(1))
            return {"right": right.mean(1).tolist(), "specific": is_specific(above).tolist()}

        forms = self.forms(relation, len(pool))
        probes, examples = split_pool(pool)
        found = np.stack([self._found(probes[:PROBES], examples, form) for form in forms])
        kept = {side: [forms[i] for i in cover(found, worth)] for side, worth in bounds.items()}
        search = [form for form in forms if form.shots == shots]
        made = {
            str(form): self._kept("both", facts, form, partial(ask, form))
            for form in dict.fromkeys([*search, *chain.from_iterable(kept.values())])
        }
        return made, {side: list(map(str, chosen)) for side, chosen in kept.items()}


def by_side(made: Asked, kept: Mapping[str, Sequence[str]], shots: int) -> dict[str, list[bool]]:
    """Say which facts each side knows under each cut."""
    search = [form for form in made if AskingForm.parse(form).shots == shots]
    return {
        f"{side} {cut}": known([made[form] for form in forms], share).tolist()
        for cut, share in CUTS.items()
        for side, forms in {"search": search, **kept}.items()
    }


def known(forms: Sequence[Mapping[str, list[float]]], share: float) -> ndarray:
    """Say which facts one form finds: right in a share of the draws, once at least, and specific."""
    right, specific = (np.array([form[key] for form in forms], float) for key in ("right", "specific"))
    return ((right > 0) & (right >= share) & (specific > 0)).any(0)


def figures(found: Mapping[str, Sequence[bool]]) -> dict[str, object]:
    """Count facts by side and cut; estimate what share of the search each bound finds, and what is gained."""
    some: dict[str, object] = {"n": len(found["tool once"])}
    for cut in CUTS:
        search, tool, worth = (np.array(found[f"{side} {cut}"], bool) for side in ("search", "tool", "worth"))
        counts: dict[str, object] = {"search": int(search.sum())}
        for side, flags in (("tool", tool), ("worth", worth)):
            counts[side] = {"n": int(flags.sum()), "both": int((search & flags).sum())}
            counts[side] |= {"found": percent(flags[search].astype(float))}
        gained = worth[search].astype(float) - tool[search]
        some[cut] = counts | {"gained": percent(gained)}
    return some


def percent(values: ndarray) -> list[float | None]:
    """Return the mean and its bounds in percent."""
    share = estimate(values)
    return [None if x is None else round(100 * x, 1) for x in (share.value, share.low, share.high)]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
