"""From a setting to checkpoints and what they answer: the part of a run that trains and asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.settings import ARMS, Setting
from finetune.facts import Fact, FactSet, InputError
from finetune.files import atomic_file
from finetune.popularity import Partition, partition, quartiles, split
from finetune.pretrain import pretrained_base
from finetune.prompts import Prompt, render
from finetune.select import select

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FEWEST = 8  # facts below which an arm, the validation or the test part says nothing


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints to compare, on which facts and with which prompts.

    ``arms`` maps a name to the checkpoint's directory or hub id; ``base`` is the model they came from.
    """

    base: str
    arms: dict[str, str]
    test: FactSet
    prompts: tuple[Prompt, ...]
    sizes: dict[str, int]


def trained_arms(setting: Setting, directory: Path, *, cache: Path, seed: int) -> Checkpoints:
    """Pretrain the base, split the facts by subject, and fine-tune the four arms."""
    base = pretrained_base(
        setting.facts,
        setting.phrasebook,
        setting.make_tokenizer,
        model=setting.base,
        text=setting.text,
        cache=cache,
        seed=setting.base_seed,
    )
    parts = _parts(setting.facts, seed)
    validation = _asked(setting, parts.validation)
    chosen = {}
    for arm in ARMS:
        facts = split(parts.train, arm, seed=seed)
        chosen[arm] = select(
            base,
            _asked(setting, facts),
            validation,
            directory / arm,
            config=setting.tune,
            seed=seed,
            name=arm,
        )
    return Checkpoints(
        base=str(base),
        arms={arm: str(checkpoint.path) for arm, checkpoint in chosen.items()},
        test=parts.test,
        prompts=_asked(setting, parts.test),
        sizes={
            "total": len(setting.facts),
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
    )


def known_to(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: FactSet, setting: Setting
) -> np.ndarray:
    """Return whether the base completes every statement form of each fact correctly, Bool [fact]."""
    from finetune.evaluate import stated

    return stated(base, tokenizer, facts, setting.phrasebook)


def answers(checkpoints: Checkpoints, name: str, known: np.ndarray, path: Path, *, seed: int) -> pd.DataFrame:
    """Ask one checkpoint every test prompt; the rows are kept in ``path`` and read from it next time."""
    import pandas as pd

    if path.is_file():
        return pd.read_parquet(path)
    from finetune.evaluate import ask
    from finetune.models import load_model
    from finetune.progress import task

    location = checkpoints.base if name == "base" else checkpoints.arms[name]
    model, tokenizer = load_model(location, base=checkpoints.base)
    with task(f"Asking {name}", total=len(checkpoints.prompts)) as advance:
        said = ask(model, tokenizer, checkpoints.prompts, advance=advance)
    frame = pd.DataFrame(
        {
            "seed": seed,
            "arm": name,
            "fact_id": [f.id for f in checkpoints.test],
            "subject": [f.subject for f in checkpoints.test],
            "relation": [f.relation for f in checkpoints.test],
            "answer": [f.answer for f in checkpoints.test],
            "popularity": [f.popularity for f in checkpoints.test],
            "quartile": popularity_quartiles(checkpoints.test),
            "known": known,
            "prediction": said.predictions,
            "correct": said.correct,
            "log_prob": said.log_prob,
        }
    )
    with atomic_file(path) as temporary:
        frame.to_parquet(temporary)
    return frame


def popularity_quartiles(facts: FactSet) -> Sequence[int | None]:
    """Return each fact's popularity quartile (1 = most popular), or None where popularity is unknown."""
    if any(fact.popularity is None for fact in facts):
        return [None] * len(facts)
    return [int(q) for q in quartiles(facts)]


def _parts(facts: FactSet, seed: int) -> Partition:
    parts = partition(facts, seed=seed)
    for name in ("train", "validation", "test"):
        n = len(getattr(parts, name))
        if n < FEWEST:
            raise InputError(f"{facts.name}: only {n} facts are left for the {name} part; give more facts")
    return parts


def _asked(setting: Setting, facts: FactSet) -> tuple[Prompt, ...]:
    return tuple(render(setting.phrasebook[fact.relation].asked, fact) for fact in facts)


def own_prompt(fact: Fact, template: str) -> Prompt:
    """Put a fact's own question into the user's prompt format, keeping the subject's place."""
    from finetune.prompts import question_prompt

    question = question_prompt(fact)
    start = template.index("{question}")
    a, b = question.subject
    return Prompt(
        text=template.replace("{question}", question.text),
        subject=(start + a, start + b),
        answers=fact.answers,
        fact_id=fact.id,
        relation=fact.relation,
    )
