"""The parts of the facts of a training: trained on, chosen on and held out, no fact in two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.common.errors import InputError, LeftOut
from finetune.common.files import write_json
from finetune.common.progress import notice
from finetune.data.fact_keys import is_asked, question_digests
from finetune.data.facts import FactSet
from finetune.data.splits import partition
from finetune.training.next_steps import require_parts

PARTITION = "partition.json"  # the ids of each part
DIGESTS = "fact_digests.json"  # of each part's facts, which other files may call otherwise


@dataclass(frozen=True, kw_only=True)
class PartShares:
    """The shares of the subjects that are held out and chosen on, and the seed of the draw."""

    test: float
    validation: float
    seed: int


def deal_parts(
    facts: FactSet, source: str, shares: PartShares, validation: FactSet | None = None
) -> dict[str, FactSet]:
    """Deal facts into train, validation and test; validation facts of their own take the place of a share.

    Of those the ones that are trained on or held out are set aside, and that is said.

    Args:
        facts: what is trained on.
        source: what they are called.
        shares: how they are dealt.
        validation: facts of another source to choose on.

    Raises:
        InputError: nothing would be left to train on or to choose on.
    """
    share = 0.0 if validation is not None else shares.validation
    dealt = partition(facts, test=shares.test, validation=share, seed=shares.seed)
    parts = {"train": dealt.train, "validation": dealt.validation, "test": dealt.test}
    if validation is not None:
        parts["validation"] = _without_asked(validation, parts)
    require_parts(source, parts, test=shares.test, validation=share)
    return parts


def write_parts(directory: Path, parts: Mapping[str, FactSet]) -> None:
    """Leave in a training's directory which facts are in which part: ids, and digests of what they ask."""
    write_json(directory / PARTITION, {name: [fact.id for fact in part] for name, part in parts.items()})
    digests = {name: [d for fact in part for d in question_digests(fact)] for name, part in parts.items()}
    write_json(directory / DIGESTS, digests)


def _without_asked(validation: FactSet, parts: Mapping[str, FactSet]) -> FactSet:
    """Set aside the validation facts that are trained on, or held out for a test."""
    roles = (("train", "is trained on"), ("test", "is held out for the diagnosis"))
    asked = {role: {d for fact in parts[name] for d in question_digests(fact)} for name, role in roles}
    found = [
        next((role for role, some in asked.items() if is_asked(fact, some)), None) for fact in validation
    ]
    aside = [
        LeftOut(where=fact.id, reason=f"of --validation: {role} as well")
        for fact, role in zip(validation, found, strict=True)
        if role
    ]
    if not aside:
        return validation
    if len(aside) == len(validation):
        raise InputError(
            f"--validation {validation.name}: all {len(aside)} of its facts are among --facts; give others, "
            "or leave it out, and a share of --facts is chosen on instead (--validation-share)"
        )
    notice(
        f"{len(aside)} of {len(validation)} facts of --validation are among --facts and are not chosen on "
        f"({aside[0].where} {aside[0].reason.partition(': ')[2]})"
    )
    rest = validation.subset([i for i, role in enumerate(found) if not role])
    return replace(rest, left_out=(*validation.left_out, *aside))
