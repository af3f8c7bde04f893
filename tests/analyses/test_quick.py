"""The world that notebooks use: arms by name or settings, kept by all that makes them, and asked anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analyses.quick import QuickWorld, quick_world
from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.splits import split
from finetune.evaluation.generate import ask
from finetune.training.mitigations import distillation_pairs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> QuickWorld:
    return quick_world("tiny", cache=tmp_path_factory.mktemp("cache"))


def test_an_arm_by_name_and_the_same_facts_are_one_checkpoint(world: QuickWorld) -> None:
    path = world.arm("bottom")
    made = path.stat().st_mtime_ns
    half = split(world.parts.train, "bottom", seed=world.seed)
    assert world.arm(half) == path
    assert path.stat().st_mtime_ns == made
    assert world.arm("top") != path


def test_settings_and_lessons_make_arms_of_their_own(world: QuickWorld) -> None:
    known = distillation_pairs(world.parts.train[:6], world.setting.phrasebook)
    other = distillation_pairs(world.parts.train[6:12], world.setting.phrasebook)
    paths = [
        world.arm("bottom"),
        world.arm("bottom", qk_rate=0.0),
        world.arm("bottom", distil=1.0, known=known),
        world.arm("bottom", distil=1.0, known=other),
    ]
    assert len(set(paths)) == len(paths)
    base, *arms = (load_file(path / "model.safetensors") for path in (world.base, *paths[:2]))
    name = next(name for name in base if "q_proj" in name)
    assert [torch.equal(arm[name], base[name]) for arm in arms] == [False, True]
    recipes = [read_json(path / "training.json")["recipe"] for path in paths]
    assert ["known" in recipe for recipe in recipes] == [False, False, True, True]
    with pytest.raises(InputError, match="known facts"):
        world.arm("bottom", known=known)


def test_facts_of_one_s_own_are_asked_and_the_test_facts_without_them(world: QuickWorld) -> None:
    path = world.arm("top")
    model, tokenizer = load_model(path)
    for facts in (world.parts.test, world.parts.train[:9]):
        right = world.right(path, None if facts is world.parts.test else facts)
        assert np.array_equal(right, ask(model, tokenizer, world.asked(facts)).correct)
    assert len(world.right(path, world.parts.test[:0])) == 0
    assert np.array_equal(world.known(world.parts.test[:5]), world.known()[:5])
