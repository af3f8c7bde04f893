"""What follows a training by the command line: enough facts held out for a diagnosis, and its command."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from math import ceil
from pathlib import Path

from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json
from finetune.common.progress import notice
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import PromptFormat
from finetune.training.finished_training import Checkpoint

MARGIN = 0.05  # of training accuracy
ONE_ANSWER = 0.9  # share of the facts
VALIDATION_SHARE = 0.1  # of the subjects, unless it is given
FEWEST_HELD_OUT = 40  # facts; interp.verdicts.preconditions has a verdict's reasons


def warn_of_few(held_out: int, share: float) -> None:
    """Say at once, before anything is trained, that a diagnosis will lack facts.

    Args:
        held_out: how many facts are held out.
        share: of the subjects, to be held out.
    """
    if 0 < held_out < FEWEST_HELD_OUT:
        notice(
            f"{held_out} facts are held out: a diagnosis on them needs {FEWEST_HELD_OUT} or more; give "
            f"{ceil(FEWEST_HELD_OUT / share)} facts in all, or a larger --test-share"
        )


def warn_of_one_answer(facts: FactSet) -> None:
    """Say at once that nearly all facts have one answer, so that they are right without being known."""
    answer, times = Counter(fact.answer for fact in facts).most_common(1)[0]
    if len(facts) > 1 and times > ONE_ANSWER * len(facts):
        notice(
            f"{times} of {len(facts)} facts have the answer {answer!r}: who gives it always is right without "
            "knowing any"
        )


def require_parts(source: str, parts: Mapping[str, FactSet], *, test: float, validation: float) -> None:
    """Refuse facts of which none would be left to train on or to choose on; say what else they lack.

    Args:
        source: what the facts are called.
        parts: the parts by name.
        test: the test part's share of the subjects.
        validation: the validation part's.

    Raises:
        InputError: says how many there are, and how many it takes.
    """
    if len(parts["train"]) and len(parts["validation"]):
        warn_of_few(len(parts["test"]), test)
        warn_of_one_answer(parts["train"])
        return
    held = [fact for part in parts.values() for fact in part]
    subjects = len({fact.subject.casefold() for fact in held})
    of = f" of {subjects} subject{'s' * (subjects != 1)}" if subjects != len(held) else ""
    aside = [item for item in parts["train"].left_out if not item.usable]
    rows = f"{len(aside)} rows were" if len(aside) > 1 else "1 row was"
    why = f" ({rows} set aside: {aside[0].where}: {aside[0].reason})" if aside else ""
    takes = next(n for n in count(2) if can_deal(n, test, validation))
    also = f", and {ceil(FEWEST_HELD_OUT / test)} for a diagnosis of those held out" if test else ""
    raise InputError(
        f"{source}: {len(held)} fact{'s' * (len(held) != 1)}{of}{why}; training takes {takes} subjects or "
        f"more with these shares for validation and test{also}"
    )


def require_letters(style: PromptFormat, parts: Mapping[str, FactSet]) -> None:
    """Refuse letters as answers where no fact has options to choose among.

    Raises:
        InputError: names the option and the remedy.
    """
    if style.choices == "letter" and not any(fact.choices for part in parts.values() for fact in part):
        raise InputError(
            "--choices letter: no fact has options to choose among; give facts with a column choices, or "
            "leave it out"
        )


def say_left_out(left_out: Sequence[LeftOut], manifest: Path) -> None:
    """Say how many rows could not be used, the first of them, and where all are listed.

    Facts that ``--limit`` did not draw are no such rows.
    """
    unusable = [item for item in left_out if not item.usable]
    if unusable:
        first = unusable[0]
        notice(
            f"{len(unusable)} rows could not be used ({first.where}: {first.reason}); all are listed in "
            f"{manifest}"
        )


def can_deal(subjects: int, test: float, validation: float = VALIDATION_SHARE) -> bool:
    """Whether so many subjects give a part to train on and one to choose on."""
    held = round((test + validation) * subjects)
    return held > round(test * subjects) and held < subjects


def outcome(chosen: Checkpoint, asked: int) -> list[str]:
    """Say what the chosen checkpoint answers right, and what its last step does if that has learned more.

    Facts that a base cannot know are no more often right on others after training, so that the best step on
    validation facts may be an early one, which has not learned those that it was trained on.

    Args:
        chosen: the checkpoint.
        asked: how many validation facts there are.
    """
    right, learned = round(chosen.validation_accuracy * asked), chosen.training_accuracy
    told = [
        f"{right} of {asked} validation facts and {learned:.0%} of the facts trained on are answered right, "
        f"at step {chosen.step}: {chosen.path}"
    ]
    last = read_json(chosen.path / "training.json")["curve"][-1]
    if last.get("training_accuracy", 0.0) > learned + MARGIN:
        told.append(
            f"Its last step, {last['step']}, answers {last['training_accuracy']:.0%} of the facts trained on "
            f"and {round(last['accuracy'] * asked)} validation facts: --keep last keeps that one."
        )
    return told


def diagnosis_command(out: Path, *, held_out: bool) -> str:
    """Return the command that measures what a training did, to be copied into a shell.

    How the model is asked, its base and the facts held out are read from its directory. Facts that were
    trained on say little of what was lost; cities and countries are known to most bases.
    """
    others = [] if held_out else ["--facts", "geonames@even", "--limit", "200"]
    words = ["factscope", "diagnose", "--finetuned", str(out), *others, "--out", f"{out}-diagnosis"]
    return shlex.join(words)
