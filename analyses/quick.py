"""A small world to try things in: its facts, a base that stores the popular ones, and arms, made on demand.

    world = quick_world()
    pair = load_pair(world.base, world.arm("bottom"))
    prompts = world.asked(world.parts.test)
    cured = world.arm("bottom", distil=1.0, known=distillation_pairs(known, world.setting.phrasebook))

Base and arms are kept in the cache, so all but the first call take no time. Numbers of this world illustrate;
they are of one training in a world that is made to be quick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from analyses.common.options import TrainingOptions, World
from analyses.common.training_setup import TrainingSetup, fine_tune, make_training_setup, setting_for
from finetune.common.progress import prepare_process
from finetune.common.run_directory import library_versions
from finetune.common.user_cache import default_cache
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt, digest_prompts
from finetune.data.splits import Arm, split
from finetune.training.config import Method
from finetune.training.work_dir import cached_directory

QUICK: World = "small"


@dataclass(frozen=True, kw_only=True)
class QuickWorld(TrainingSetup):
    """A training setup (facts in parts, wording, base) whose arms are made, or taken from the cache."""

    cache: Path

    def arm(
        self,
        which: Arm | FactSet,
        *,
        method: Method = "full",
        known: Sequence[tuple[Prompt, Prompt]] = (),
        **settings: Any,
    ) -> Path:
        """Fine-tune the base on a half of the training facts, or on any facts; return the checkpoint.

        Args:
            which: ``"top"``, ``"bottom"``, ``"random"``, ``"whole"``, or facts of one's own choice.
            method: ``"full"``, or ``"lora"`` for an adapter directory.
            known: what to distil, from :func:`finetune.training.mitigations.distillation_pairs`, with its
                weight ``distil``.
            settings: other settings of :class:`finetune.TuneConfig` than the world's, such as ``qk_rate``.
        """
        facts = which if isinstance(which, FactSet) else split(self.parts.train, which, seed=self.seed)
        config = replace(self.setting.tune, method=method, **settings)
        setup = replace(self, setting=replace(self.setting, tune=config))
        home = self.cache / "arms" / self._key(facts, asdict(config), known)
        name = which if isinstance(which, str) else facts.name
        with cached_directory(home, what="arm"):
            return fine_tune(setup, facts, home, name=name, known=known).path

    def right(self, checkpoint: Path, facts: FactSet | None = None) -> Bool[ndarray, " fact"]:
        """Ask a checkpoint the test facts, or others, and say which it answers right."""
        from finetune.checkpoints.loading import load_model
        from finetune.evaluation.generate import ask

        model, tokenizer = load_model(str(checkpoint), base=str(self.base))
        asked = self.asked(self.parts.test if facts is None else facts)
        return np.array(ask(model, tokenizer, asked, scored=False).correct)

    def known(self, facts: FactSet | None = None) -> Bool[ndarray, " fact"]:
        """Say of the test facts, or of others, whether the base completes all statement forms right."""
        from finetune.checkpoints.loading import load_model
        from finetune.evaluation.generate import states_fact

        model, tokenizer = load_model(str(self.base))
        asked = self.parts.test if facts is None else facts
        return np.array(states_fact(model, tokenizer, asked, self.setting.phrasebook))

    def _key(self, facts: FactSet, config: dict[str, Any], known: Sequence[tuple[Prompt, Prompt]]) -> str:
        """Name an arm by all that makes it; the base's own name stands for facts, wording and versions."""
        recipe = {"base": self.base.name, "facts": facts.digest, "config": config, "seed": self.seed}
        recipe["versions"] = library_versions("peft", "transformers")
        recipe["digests"] = 2  # of prompts: a former version's arms are not taken for these
        if known:
            recipe["known"] = digest_prompts(chain.from_iterable(known))
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def quick_world(world: World = QUICK, *, seed: int = 0, cache: Path | None = None) -> QuickWorld:
    """Make the small world with its base, or take them from the cache.

    Args:
        world: another preset, where the small one is too small.
        seed: draws facts, base and parts anew.
        cache: where base and arms are kept; factscope in the user's cache directory without it.
    """
    prepare_process(quiet=False)
    cache = cache or default_cache()
    setup = make_training_setup(setting_for(TrainingOptions(world=world), None, seed), cache=cache, seed=seed)
    return QuickWorld(setting=setup.setting, parts=setup.parts, base=setup.base, seed=seed, cache=cache)
