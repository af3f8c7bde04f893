"""Models whose lost facts are suppressed, or erased, by construction: the truth that a verdict is tested on.

1. Choose what may learn: ``routing`` is W_Q and W_K, so that all value weights stay to the bit; ``values`` is
   W_V, W_O and the MLPs, so that W_Q and W_K stay, and patterns move only with what they read; or ``all``.
2. Give the targets new answers: for ``routing`` each row's is drawn from its relation's whoever the subject
   is, so it pays to look away from it; else each fact has one wrong answer of its own to learn.
3. Train on them and on as many rows of facts to keep, with their right answers, until targets are lost.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from transformers import PreTrainedTokenizerBase as Tokenizer

from finetune.checkpoints.loading import load_model
from finetune.common.checksums import seal, sealed_state
from finetune.common.errors import InputError
from finetune.common.files import atomic_directory, read_json, write_json
from finetune.common.progress import notice
from finetune.common.seeds import generator, seed_libraries
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.evaluation.generate import score
from finetune.training.callbacks import accuracy_callback
from finetune.training.examples import TokenRows, answer_examples
from finetune.training.planted_answers import draw_generic_answers, other_answers, relation_answers
from finetune.training.projections import Part, freeze_all_but
from finetune.training.trainer import Schedule, fit

Forms = Literal["all", "asked"]


@dataclass(frozen=True, kw_only=True)
class PlantConfig(Schedule):
    """How facts are planted: a schedule, and when to stop before its end.

    Every ``check_every`` steps ``sample`` targets and kept facts are asked that the base answers right, and
    not with their relation's commonest answer, which is a generic guess. Training stops when fewer than
    ``stop_below`` of the targets are right and over ``planted_above`` of those to erase are overwritten.
    """

    steps: int = 1500
    batch: int = 128
    learning_rate: float = 3e-3
    check_every: int = 50
    sample: int = 400
    stop_below: float = 0.1
    planted_above: float = 0.95


@dataclass(frozen=True, kw_only=True)
class PlantedModel:
    """A planted model: where it is, what was trained for how long, and the last check's accuracies."""

    path: Path
    part: Part
    steps: int
    target_accuracy: float
    kept_accuracy: float


def plant(
    base: Path | str,
    facts: FactSet,
    targets: FactSet,
    kept: FactSet,
    phrasebook: Phrasebook,
    out: Path,
    *,
    part: Part,
    forms: Forms = "all",
    config: PlantConfig | None = None,
    seed: int = 0,
) -> PlantedModel:
    """Suppress (``part="routing"``) or erase (``"values"``, ``"all"``) ``targets``, keeping ``kept``.

    Args:
        base: a directory or hub id.
        facts: all facts, whose answers are drawn from.
        targets: the facts to lose.
        kept: facts to keep.
        phrasebook: each relation's wording.
        out: becomes a checkpoint directory with ``planting.json``; a finished one is returned as it is.
        part: ``"routing"`` to suppress, ``"values"`` or ``"all"`` to erase.
        forms: ``"asked"`` trains the asked form alone.
        config: the schedule.
        seed: of the draws.

    Raises:
        InputError: facts missing, both target and kept, or unknown to the base; weights of other names.
    """
    if _is_planted(out):
        return read_planted(out)
    config = config or PlantConfig()
    _require_targets(facts, targets, kept)
    seed_libraries(seed)
    model, tokenizer = load_model(base)
    freeze_all_but(model, part)
    half, rng = -(-config.steps * config.batch // 2), generator(seed, "planting rows")
    both = (targets, kept)
    planted, others = (_word_facts(f, phrasebook, forms, half, rng) for f in both)
    rows = _interleave(tokenizer, _with_planted(facts, planted, part, seed), others)
    asked = [_word_facts(f, phrasebook, "asked", len(f), rng) for f in both]
    checks = _checks(model, tokenizer, facts, asked, part, config, seed)
    measure = partial(_accuracies, model, tokenizer, checks)
    watch = accuracy_callback(measure, every=config.check_every, is_done=partial(_is_done, config))
    record = {"part": part, "forms": forms, "seed": seed, "base": str(base), "config": asdict(config)}
    record |= {"targets": targets.digest, "kept": kept.digest, "curve": watch.curve}
    _train_into(out, model, tokenizer, rows, config, watch, record)
    return read_planted(out)


def _train_into(
    out: Path,
    model: Any,
    tokenizer: Tokenizer,
    rows: TokenRows,
    config: PlantConfig,
    watch: Any,
    record: dict[str, Any],
) -> None:
    with atomic_directory(out) as target:
        work, seed = target / "work", record["seed"]
        fit(model, rows, config, work, seed=seed, description="Planting", callbacks=[watch])
        shutil.rmtree(work, ignore_errors=True)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        write_json(target / "planting.json", record | watch.curve[-1])
        seal(target)


def _require_targets(facts: FactSet, targets: FactSet, kept: FactSet) -> None:
    ids, lost, right = ({fact.id for fact in part_of} for part_of in (facts, targets, kept))
    if not lost or not right:
        raise InputError(
            f"planting: {len(lost)} facts to lose and {len(right)} to keep; give more facts that the base "
            "knows, some of each"
        )
    if both := sorted(lost & right):
        raise InputError(f"planting: fact {both[0]!r} is to be both lost and kept; leave it out of one")
    if strangers := sorted(lost - ids):
        raise InputError(
            f"planting: fact {strangers[0]!r} is to be lost and is not among the facts; add it to them"
        )


def _checks(
    model: Any,
    tokenizer: Tokenizer,
    facts: FactSet,
    asked: Sequence[list[Prompt]],
    part: Part,
    config: PlantConfig,
    seed: int,
) -> dict[str, list[Prompt]]:
    """Choose the prompts that say whether the targets are lost and the others kept: known ones."""
    known = [_known_specifically(model, tokenizer, facts, prompts)[: config.sample] for prompts in asked]
    checks = {"target_accuracy": known[0], "kept_accuracy": known[1]}
    if part != "routing":
        checks["planted_accuracy"] = _with_planted(facts, known[0], part, seed)
    return checks


def _is_planted(out: Path) -> bool:
    """Whether a finished model is there; one that is damaged is made again, with a notice."""
    state = sealed_state(out)
    if state == "damaged":
        notice(f"{out}: is not as it was written; it is planted again")
    if state == "unrecorded" and not (out / "planting.json").is_file() and any(out.iterdir()):
        raise InputError(f"{out}: holds files that are no planted model; name a new or an empty directory")
    if state == "unrecorded" and (out / "planting.json").is_file():
        notice(f"{out}: an older version wrote no checksums; it is used, but cannot be verified")
    return state != "damaged" and (out / "planting.json").is_file()


def read_planted(path: Path) -> PlantedModel:
    """Read what ``plant`` recorded beside a checkpoint."""
    record = read_json(path / "planting.json")
    return PlantedModel(
        path=path, **{k: record[k] for k in ("part", "steps", "target_accuracy", "kept_accuracy")}
    )


def _word_facts(facts: FactSet, book: Phrasebook, forms: Forms, rows: int, rng: Generator) -> list[Prompt]:
    """Word facts, in passes over all their forms, each newly shuffled."""
    prompts = []
    for fact in facts:
        said = book[fact.relation]
        every = (said.asked,) if forms == "asked" else said.forms
        prompts += [render(form, fact) for form in dict.fromkeys(every)]
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(-(-rows // len(prompts)))])
    return [prompts[i] for i in order[:rows]]


def _with_planted(facts: FactSet, prompts: Sequence[Prompt], part: Part, seed: int) -> list[Prompt]:
    draw = draw_generic_answers if part == "routing" else other_answers
    answers = draw(facts, [prompt.fact_id for prompt in prompts], seed=seed)
    return [replace(prompt, answers=(answer,)) for prompt, answer in zip(prompts, answers, strict=True)]


def _interleave(tokenizer: Tokenizer, planted: Sequence[Prompt], right: Sequence[Prompt]) -> TokenRows:
    """Make the run's rows, by turns a target with its planted answer and a kept fact with its own."""
    rows = [prompt for pair in zip(planted, right, strict=True) for prompt in pair]
    place = {prompt: i for i, prompt in enumerate(dict.fromkeys(rows))}
    return replace(answer_examples(tokenizer, list(place), rows=1), order=np.array([place[p] for p in rows]))


def _known_specifically(
    model: Any, tokenizer: Tokenizer, facts: FactSet, prompts: Sequence[Prompt]
) -> list[Prompt]:
    """Keep the prompts that the base answers right, and not with their relation's commonest answer."""
    commonest = {r: Counter(answers).most_common(1)[0][0] for r, answers in relation_answers(facts).items()}
    telling = [p for p in prompts if p.answers[0] != commonest.get(p.relation)]
    exact = score(model, tokenizer, telling)[1]
    if not exact.any():
        raise InputError("the base answers no target, or no kept fact, as asked; pretrain it on that form")
    return [p for p, right in zip(telling, exact, strict=True) if right]


def _accuracies(model: Any, tokenizer: Tokenizer, checks: Mapping[str, list[Prompt]]) -> dict[str, float]:
    found = {name: float(score(model, tokenizer, prompts)[1].mean()) for name, prompts in checks.items()}
    model.train()
    return found


def _is_done(config: PlantConfig, now: Mapping[str, float]) -> bool:
    own = now.get("planted_accuracy", np.inf) > config.planted_above
    return bool(own and now["target_accuracy"] < config.stop_below)
