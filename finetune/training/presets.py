"""Presets of training by name, read from ``recipes/*.yaml``: invented worlds with a base, and real models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from finetune.common.errors import InputError
from finetune.common.messages import join_names
from finetune.common.option_checks import require_valid
from finetune.common.yaml_files import load_yaml
from finetune.data.synthetic_world import WorldConfig
from finetune.training.config import BaseConfig, CorpusConfig, Method, TuneConfig
from finetune.training.machine import Machine

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from finetune.training.cost_estimate import CostEstimate

FOLDER = Path(__file__).parent / "recipes"
ROWS = 6000  # facts: the training part of PopQA's 14,267, halved
TOKENS = 32.0  # of "Question: ... Answer: ..." in the models' own tokenizers, with padding
Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True)
class BasePreset:
    """The text that a base is pretrained on, the base, and how arms are fine-tuned."""

    text: CorpusConfig = field(default_factory=CorpusConfig)
    base: BaseConfig
    tune: TuneConfig = field(default_factory=TuneConfig)


@dataclass(frozen=True, kw_only=True)
class Preset(BasePreset):
    """A world, the text about it, the base pretrained on that text, and how arms are fine-tuned."""

    reason: str
    world: WorldConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A base by its hub id and published configuration, how it is fine-tuned, and why so."""

    base: str
    reason: str
    model_type: str
    numbers: Mapping[str, Any]
    parameters: int
    tune: TuneConfig
    machine: Machine
    rows: int = ROWS
    tokens_per_row: float = TOKENS

    def config(self) -> PreTrainedConfig:
        """Build the published configuration."""
        from transformers import AutoConfig  # a list of recipes, as --help shows, needs no library of models

        return AutoConfig.for_model(self.model_type, **self.numbers)

    def expected(self, machine: Machine | None = None) -> CostEstimate:
        """Estimate memory and time for one learning rate."""
        from finetune.training.cost_estimate import estimate_cost

        return estimate_cost(
            self.config(),
            self.tune,
            tokens_per_row=self.tokens_per_row,
            rows=self.rows,
            machine=machine or self.machine,
        )


def load_worlds(path: Path = FOLDER / "worlds.yaml") -> tuple[dict[str, Preset], BasePreset]:
    """Read the presets of invented worlds, and the one for real facts.

    Raises:
        InputError: names the file, the preset and the setting that is missing, unknown or of a wrong value.
    """
    held = _sections(path, ("worlds", "real facts"))
    worlds = {name: _build(Preset, made, f"{path}: {name}") for name, made in held["worlds"].items()}
    return worlds, _build(BasePreset, held["real facts"], f"{path}: real facts")


def load_recipes(path: Path = FOLDER / "models.yaml") -> dict[str, Recipe]:
    """Read the presets of real models; each names its tuning and its machine.

    Raises:
        InputError: see :func:`load_worlds`; or a name that the file does not define.
    """
    held = _sections(path, ("machines", "tuning", "models"))
    recipes = {}
    for name, settings in held["models"].items():
        made = dict(settings) if isinstance(settings, dict) else {}
        for part, section in (("tune", "tuning"), ("machine", "machines")):
            if made.get(part) not in held[section]:
                raise InputError(
                    f"{path}: {name}: {part}: choose one of {section}: {join_names(held[section])}"
                )
            made[part] = held[section][made[part]]
        recipes[name] = _build(Recipe, made, f"{path}: {name}")
    return recipes


def _sections(path: Path, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    held = load_yaml(path)
    for name in names:
        if not isinstance(held, dict) or not isinstance(held.get(name), dict):
            raise InputError(f"{path}: has no section {name!r}; write its presets below it, one a name")
    return held


def _build(kind: type[Settings], held: Any, where: str) -> Settings:
    """Make a dataclass of a YAML mapping, whose scalars are text, and those inside it."""
    if not isinstance(held, dict):
        raise InputError(f"{where}: holds no settings; write one a line, as in steps: 100")
    own = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in held if name not in own]:
        raise InputError(f"{where}: {unknown[0]}: is no setting; choose from {', '.join(own)}")
    needed = [n for n, f in own.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in held]:
        raise InputError(f"{where}: lacks {', '.join(missing)}; add it")
    hints, made = get_type_hints(kind), {}
    for name, value in held.items():
        inner = is_dataclass(hints[name])
        made[name] = _build(hints[name], value, f"{where}: {name}") if inner else _typed(value)
    try:
        built = kind(**made)
        require_valid(built, flags=False)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return built


def _typed(value: Any) -> Any:
    """Give a scalar its type: a whole number, a number, true or false, or text; a list becomes a tuple."""
    if isinstance(value, list):
        return tuple(map(_typed, value))
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()}
    for number in (int, float):
        try:
            return number(value)
        except (TypeError, ValueError):
            continue
    return {"true": True, "false": False}.get(value, value)


WORLDS, _REAL = load_worlds()
REAL_TEXT, REAL_BASE, REAL_TUNE = _REAL.text, _REAL.base, _REAL.tune
RECIPES = load_recipes()

# A pretrained language model: 100 steps of 32 facts are five passes over 600 facts, for those that the base
# does not know are fitted late. Whole matrices of a pretrained model bear only small steps.
GIVEN_TUNE: dict[Method, TuneConfig] = {
    "lora": TuneConfig(method="lora", batch=32, learning_rates=(1e-3,), check_every=25),
    "full": TuneConfig(method="full", batch=32, learning_rates=(5e-5,), check_every=25),
}

# The same for one's own facts, however many they are: facts that the base does not know are fitted late.
OWN_TUNE = {name: replace(tune, epochs=10.0, check_every=10) for name, tune in GIVEN_TUNE.items()}


def recipe(name: str) -> Recipe:
    """Look a preset of a real model up.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"preset {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
