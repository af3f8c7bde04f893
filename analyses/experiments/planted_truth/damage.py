"""Damage of a known kind: which weights, in which forms; targeted, natural, noise, or part of the way.

- *targeted*: facts of some relations are suppressed or overwritten by name
  (:mod:`finetune.training.planted_models`).
- *natural*: fine-tuning on the unpopular half of other subjects' facts, with only the part's weights free.
- *noise*: random directions added to the part's weights of a model that answers well (fine-tuned on all other
  subjects' facts), each matrix's by a share of its own norm: the smallest of ``NOISE`` at which a quarter of
  the known facts that it answered right are lost, or the largest.
- *interpolated*: the base moved a share of the way towards the targeted model.
- *identity*: the base itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from analyses.experiments.planted_truth.options import How, PlantedTruthOptions
from analyses.experiments.planted_truth.world import PlantedWorld, select
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_json, sealed_state
from finetune.data.facts import FactSet
from finetune.data.splits import split
from finetune.evaluation.generate import ask
from finetune.training.planted_models import Forms, PlantConfig, plant
from finetune.training.projections import Part
from finetune.training.train import TuneConfig, train
from interp.weight_edits import interpolate, parameters_of, perturb_weights, with_weights
from interp.weight_edits.save import save_edited

PARTS: tuple[Part, ...] = ("routing", "values", "all")
FORMS: tuple[Forms, ...] = ("asked", "all")
SHARES = (0.25, 0.5, 0.75)
NOISE = (0.1, 0.2, 0.4, 0.8, 1.6)
LOSE = 0.25
RATE = 1e-3  # of natural fine-tuning, whichever weights are free
MODULES: dict[Part, tuple[str, ...] | None] = {
    "routing": ("q_proj", "k_proj"),
    "values": ("v_proj", "o_proj", "mlp"),
    "all": None,
}


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One kind of damage; ``share`` is how far it goes."""

    part: Part
    forms: Forms
    how: How
    share: float = 1.0


IDENTITY = Damage(part="all", forms="asked", how="identity", share=0.0)


def kinds(*, full: bool) -> tuple[Damage, ...]:
    """List the kinds of damage: the telling ones first, or every combination."""
    if not full:
        named: tuple[tuple[Part, Forms, How, float], ...] = (
            ("routing", "asked", "natural", 1.0),
            ("all", "asked", "natural", 1.0),
            ("values", "asked", "noise", 1.0),
            ("routing", "asked", "noise", 1.0),
            ("routing", "all", "targeted", 1.0),
            ("values", "all", "targeted", 1.0),
            ("values", "asked", "natural", 1.0),
            ("routing", "asked", "targeted", 1.0),
            ("routing", "all", "interpolated", 0.5),
            ("values", "all", "interpolated", 0.5),
        )
        chosen = [Damage(part=part, forms=forms, how=how, share=share) for part, forms, how, share in named]
        return (*chosen[:3], IDENTITY, *chosen[3:])
    both = [(part, forms) for part in PARTS for forms in FORMS]
    return (
        IDENTITY,
        *(Damage(part=part, forms="asked", how="noise") for part in PARTS),
        *(Damage(part=p, forms=f, how=how) for how in ("natural", "targeted") for p, f in both),  # type: ignore[arg-type]
        *(Damage(part=p, forms=f, how="interpolated", share=s) for s in SHARES for p, f in both),
    )


def damaged_model(options: PlantedTruthOptions, world: PlantedWorld, damage: Damage) -> Path:
    """Return the checkpoint with this damage, made where no cell of the seed has made it."""
    if damage.how == "identity":
        return world.base
    make = {"targeted": _targeted, "natural": _natural, "noise": _noisy, "interpolated": _interpolated}
    name = f"{damage.how}-{damage.part}-{damage.forms}-{damage.share:g}"
    (world.home / "models").mkdir(parents=True, exist_ok=True)
    with FileLock(world.home / "models" / f"{name}.lock"):
        return make[damage.how](options, world, damage, world.home / "models" / name)


def _targeted(options: PlantedTruthOptions, world: PlantedWorld, damage: Damage, out: Path) -> Path:
    # What the base does not know can be neither suppressed nor kept, and would only be noise.
    known, config = world.known, PlantConfig()
    return plant(
        world.base,
        world.facts,
        select(known, lambda fact: fact.id in world.targets),
        select(known, lambda fact: fact.id not in world.targets),
        world.book,
        out,
        part=damage.part,
        forms=damage.forms,
        config=replace(config, steps=options.plant_steps or config.steps),
        seed=world.seed,
    ).path


def _natural(options: PlantedTruthOptions, world: PlantedWorld, damage: Damage, out: Path) -> Path:
    return _fine_tuned(options, world, split(world.free, "bottom"), damage, out)


def _fine_tuned(
    options: PlantedTruthOptions, world: PlantedWorld, facts: FactSet, damage: Damage, out: Path
) -> Path:
    """Fine-tune the base on facts that are not diagnosed, and keep the last checkpoint."""
    tune = world.preset.tune
    config = TuneConfig(
        steps=options.plant_steps or tune.steps,
        batch=tune.batch,
        learning_rates=(RATE,),
        check_every=options.plant_steps or tune.steps,
        keep="last",
        part=damage.part,
    )
    prompts = world.prompts(facts, every_form=damage.forms == "all")
    return train(world.base, prompts, prompts[:8], out, config=config, seed=world.seed, name=out.name).path


def _interpolated(options: PlantedTruthOptions, world: PlantedWorld, damage: Damage, out: Path) -> Path:
    if sealed_state(out) != "whole":
        tuned = damaged_model(options, world, replace(damage, how="targeted", share=1.0))
        interpolate(world.base, tuned, out, share=1 - damage.share)
    return out


def healthy_model(options: PlantedTruthOptions, world: PlantedWorld) -> Path:
    """Return a model that answers well: the base, fine-tuned on all facts that are not diagnosed."""
    with FileLock(world.home / "healthy.lock"):
        damage = Damage(part="all", forms="asked", how="natural")
        return _fine_tuned(options, world, world.free, damage, world.home / "healthy")


def healthy_right(options: PlantedTruthOptions, world: PlantedWorld) -> dict[str, bool]:
    """Return which diagnosed facts the healthy model answers right."""

    def make() -> dict[str, bool]:
        model, tokenizer = load_model(healthy_model(options, world))
        prompts = world.prompts(world.asked)
        said = ask(model, tokenizer, prompts, scored=False).correct.tolist()
        return {prompt.fact_id: right for prompt, right in zip(prompts, said, strict=True)}

    with FileLock(world.home / "healthy_right.lock"):
        return dict(cached_json(world.home / "healthy_right.json", make))


def _noisy(options: PlantedTruthOptions, world: PlantedWorld, damage: Damage, out: Path) -> Path:
    if sealed_state(out) == "whole":
        return out
    healthy, right = healthy_model(options, world), healthy_right(options, world)
    model, tokenizer = load_model(healthy)
    own = parameters_of(model)
    held = select(world.asked, lambda fact: right[fact.id] and world.stated[fact.id])
    prompts = world.prompts(held)
    for size in NOISE:
        far = {name: weight * (1 + size) for name, weight in own.items()}
        made = perturb_weights(own, far, modules=MODULES[damage.part], seed=world.seed)
        with with_weights(model, made):
            still = ask(model, tokenizer, prompts, scored=False).correct if prompts else np.zeros(1)
        lost = 1 - float(np.mean(still))
        if lost >= LOSE:
            break
    record = {"cure": "noise", "part": damage.part, "size": size, "lost": lost, "tuned": str(healthy)}
    return save_edited(model, {**model.state_dict(), **made}, healthy, out, record)
