"""Named settings, each with its reason and what was measured to choose it.

The world was tuned, never a metric: see docs/worlds.md for every setting that was tried.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetune.data.synthetic_world import WorldConfig
from finetune.training.config import BaseConfig, CorpusConfig, Method, TuneConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A world, the text about it, the base pretrained on that text, and how arms are fine-tuned."""

    reason: str
    world: WorldConfig
    text: CorpusConfig
    base: BaseConfig
    tune: TuneConfig


WORLDS = {
    # Zipf 1.3 over 1,500 subjects and 384,000 rows: the most popular subject is met 108,000 times, the
    # median one 20 times over all its five facts.
    "long-tail": Preset(
        reason="popular facts are well stored and rare ones hardly, as in web text",
        world=WorldConfig(subjects=1500, alpha=1.3),
        text=CorpusConfig(),
        base=BaseConfig(steps=1500),
        tune=TuneConfig(),
    ),
    # A flatter popularity over fewer subjects: hardly a fact is poorly stored, the theory's own break
    # condition, where the choice of half should hardly matter.
    "well-stored": Preset(
        reason="nearly every fact is well stored, so the choice of data should hardly matter",
        world=WorldConfig(subjects=1000, alpha=1.0),
        text=CorpusConfig(),
        base=BaseConfig(steps=1500),
        tune=TuneConfig(),
    ),
    # A base in a minute, for notebooks: stores most of its popular quarter and little of its rarest one.
    "small": Preset(
        reason="quick to make, popular facts mostly stored and rare ones hardly",
        world=WorldConfig(subjects=300, alpha=1.2),
        text=CorpusConfig(),
        base=BaseConfig(width=96, mlp=256, steps=1000, batch=96),
        tune=TuneConfig(steps=60, learning_rates=(1e-3,)),
    ),
    # Only to see the pipeline run: its numbers mean nothing.
    "tiny": Preset(
        reason="a smoke test of the pipeline whose numbers mean nothing",
        world=WorldConfig(subjects=160, answers=5, relations=2),
        text=CorpusConfig(),
        base=BaseConfig(width=32, heads=2, mlp=64, steps=150, batch=64),
        tune=TuneConfig(steps=20, batch=32, learning_rates=(1e-3,), check_every=10),
    ),
}

# Real facts: names of many tokens and hundreds of answers a relation need a wider and deeper base. Page
# views span five orders of magnitude; their square root still leaves the rarest quartile poorly stored.
REAL_TEXT = CorpusConfig(exponent=0.5, asked_share=0.4, question_share=0.3)
REAL_BASE = BaseConfig(layers=3, width=160, heads=5, mlp=432, steps=2500, batch=192)
REAL_TUNE = TuneConfig()

# A pretrained language model: 100 steps of 32 facts are five passes over 600 facts, for those that the base
# does not know are fitted late. Whole matrices of a pretrained model bear only small steps.
GIVEN_TUNE: dict[Method, TuneConfig] = {
    "lora": TuneConfig(method="lora", batch=32, learning_rates=(1e-3,), check_every=25),
    "full": TuneConfig(method="full", batch=32, learning_rates=(5e-5,), check_every=25),
}
