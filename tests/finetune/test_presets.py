"""Presets are YAML files: read into checked dataclasses, refused in one line, and part of a wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from finetune.common.errors import InputError
from finetune.training import presets
from finetune.training.config import TuneConfig

ROOT = Path(__file__).parents[2]
MODELS = (presets.FOLDER / "models.yaml").read_text(encoding="utf-8")
WORLDS = (presets.FOLDER / "worlds.yaml").read_text(encoding="utf-8")


def test_a_preset_is_what_its_file_says() -> None:
    recipe = presets.recipe("llama-2-7b")
    assert recipe.tune == TuneConfig(
        method="lora",
        epochs=3.0,
        batch=64,
        learning_rates=(1e-4, 3e-4),
        check_every=25,
        dropout=0.05,
        dtype="bfloat16",
        accumulate=2,
    )
    assert recipe.machine.flops == 312e12 * 0.3
    assert recipe.config().num_hidden_layers == 32
    assert presets.recipe("pythia-1.4b").config().to_dict()["tie_word_embeddings"] is False
    assert presets.recipe("qwen2.5-1.5b").config().tie_word_embeddings is True


def test_a_world_takes_its_defaults_from_the_dataclasses() -> None:
    world = presets.WORLDS["long-tail"]
    assert (world.world.answers, world.tune, world.base.batch) == (30, TuneConfig(), 256)
    assert presets.WORLDS["tiny"].tune.learning_rates == (1e-3,)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("check_every: 25", "chek_every: 25", "llama-2-7b: tune: chek_every: is no setting"),
        ("rank: 16", "rank: many", "llama-2-7b: tune: .*rank"),
        ("dropout: 0.05", "dropout: 1.5", "llama-2-7b: tune: .*dropout"),
        ("machine: a100", "machine: b200", "llama-2-7b: machine: choose one of machines: h100"),
        ("tune: lora", "tune: dora", "llama-2-7b: tune: choose one of tuning: lora, full"),
        ("parameters: 6738415616", "# gone", "llama-2-7b: lacks parameters"),
        ("\nmodels:", "\nmodel:", "has no section 'models'"),
        ("rank: 16", "rank: 16\n    rank: 8", "models.yaml:"),
        ("rank: 16", "rank: [", "models.yaml:"),
    ],
)
def test_a_wrong_recipe_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in MODELS
    file = tmp_path / "models.yaml"
    file.write_text(MODELS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says) as found:
        presets.load_recipes(file)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("subjects: 1500", "subjects: 2", "long-tail: world: .*at least 8 subjects"),
        ("subjects: 1500", "subject: 1500", "long-tail: world: subject: is no setting"),
        ("{subjects: 1500, alpha: 1.3}", "large", "long-tail: world: holds no settings"),
        ("real facts:", "other facts:", "has no section 'real facts'"),
    ],
)
def test_a_wrong_world_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in WORLDS
    file = tmp_path / "worlds.yaml"
    file.write_text(WORLDS.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        presets.load_worlds(file)


def test_a_wheel_contains_presets_and_wordings(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "finetune", source / "finetune", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    (wheel,) = tmp_path.glob("*.whl")
    names = {str(path.relative_to(ROOT)) for path in (ROOT / "finetune").rglob("*.yaml")}
    assert {Path(name).parent.name for name in names} == {"recipes", "templates", "launch"}
    assert names <= set(ZipFile(wheel).namelist())
