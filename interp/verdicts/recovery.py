"""Recovery after a short lesson on other facts, the judge of a verdict: folds and placebo.

A fact that is still stored should be answered right again once a model is reminded of *other* facts (Zheng et
al. 2025, "Spurious forgetting", arXiv 2501.13453); one that is gone should not.

1. Deal the subjects into two folds. A lesson teaches facts of one fold that the base knew, as they are asked;
   the other fold's facts are tested. So each fact is tested once, and no lesson names a tested subject.
2. The placebo is another subject's lesson: the same prompts with answers exchanged within the relation, so
   that the form is right and the content is wrong.
3. Facts that were never stored say how many wrong answers a lesson puts right by luck.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from finetune.common.seeds import generator
from finetune.data.prompts import Prompt
from finetune.evaluation.exact_match import matches


def lesson_folds(subjects: Sequence[str], seed: int) -> Bool[ndarray, " fact"]:
    """Mark the facts of one half of the subjects, which are told apart without regard to case."""
    names = [subject.casefold() for subject in subjects]
    listed = sorted(set(names))
    half = {listed[i] for i in generator(seed, "lesson folds").permutation(len(listed))[::2]}
    return np.array([name in half for name in names], bool)


def lesson_prompts(
    prompts: Sequence[Prompt], subjects: Mapping[str, str], taught: Collection[str], tested: Collection[str]
) -> list[Prompt]:
    """Choose what a lesson teaches: of the facts that may be taught, those that name no tested subject.

    Args:
        prompts: every fact as it is asked.
        subjects: each fact's subject by its id.
        taught: ids of facts that may be taught.
        tested: ids of the facts that will be asked.
    """
    named = {subjects[fact_id].casefold() for fact_id in tested}
    return [p for p in prompts if p.fact_id in taught and subjects[p.fact_id].casefold() not in named]


def exchange_answers(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """Give each prompt another one's answer, of its relation and wrong; one that has none is left out."""
    rng, made = generator(seed, "exchanged answers"), []
    for relation in dict.fromkeys(prompt.relation for prompt in prompts):
        own = [prompt for prompt in prompts if prompt.relation == relation]
        given = [own[i].answers[0] for i in rng.permutation(len(own))]
        for i, prompt in enumerate(own):
            if matches(given[i], prompt.answers):
                for j in rng.permutation(len(own)):
                    if not (matches(given[j], prompt.answers) or matches(given[i], own[j].answers)):
                        given[i], given[j] = given[j], given[i]
                        break
        pairs = zip(own, given, strict=True)
        made += [replace(p, answers=(a,)) for p, a in pairs if not matches(a, p.answers)]
    return made
