"""Reading a PEFT adapter's configuration and finding its base, without a network."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import peft
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from finetune.checkpoints.gguf_files import is_gguf
from finetune.checkpoints.paths import expand_home, holds_model, is_path, resolve_checkpoint
from finetune.checkpoints.shipped_models import shipped_name
from finetune.common.errors import InputError
from finetune.common.messages import one_line, printable
from finetune.common.text_files import read_json_object

CONFIG = "adapter_config.json"
# PEFT ignores a runtime configuration and an auto mapping in a file.
ASIDE = {"runtime_config", "auto_mapping"}
# Ways to start a LoRA that PEFT knows and leaves out of the type that it declares.
UNDECLARED = ("lora_ga",)
# The marks that quantised copies of a model bear in their names, as in Llama-3-8B-bnb-4bit or Qwen2-7B-AWQ.
QUANTISED = re.compile(
    r"(?:^|[-_.])(?:bnb|gptq|awq|gguf|exl\d|hqq|aqlm|quip|nf4|fp4|fp8|int[248]|w[48]a\d+|[23468]-?bits?|q[2-8]|"
    r"quanti[sz]ed)(?=[-_.]|$)",
    re.IGNORECASE,
)


def read_settings(folder: str | Path) -> dict[str, Any]:
    """Read an adapter's ``adapter_config.json`` as it is.

    Raises:
        InputError: it is no JSON object, or names its base by something else than a name.
    """
    file = Path(folder) / CONFIG
    settings = read_json_object(file, remedy="save the adapter again")
    named = settings.get("base_model_name_or_path")
    if named is not None and not (isinstance(named, str) and is_path(named)):
        raise InputError(
            f"{file}: base_model_name_or_path = {printable(repr(named), 60)} is no name; correct it"
        )
    return settings


def read_config(folder: str | Path) -> PeftConfig:
    """Make PEFT's configuration of an adapter's settings, without those that :func:`unknown_settings` names.

    Raises:
        InputError: a kind of adapter that PEFT does not know, a setting of a wrong type or value, one that
            would load code or further adapters, or one with which no two loads are alike.
    """
    file, settings = Path(folder) / CONFIG, read_settings(folder)
    kind = settings.get("peft_type")
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise InputError(
            f"{file}: peft_type = {printable(repr(kind), 60)} is no kind of adapter that peft "
            f"{peft.__version__} knows; correct it, or upgrade peft"
        )
    if kind == "XLORA" or settings.get("megatron_config") is not None:
        what = (
            "an X-LoRA loads adapters of other directories"
            if kind == "XLORA"
            else "megatron_config loads code"
        )
        raise InputError(f"{file}: {what}; save it as an ordinary LoRA")
    if str(start := settings.get("init_lora_weights")).startswith("pissa_niter_"):
        raise InputError(
            f"{file}: init_lora_weights = {start!r}: loading it takes the base apart by random projections, "
            "so that no two loads are alike, in PEFT as here; save it again as an ordinary LoRA "
            "(save_pretrained with path_initial_model_for_weight_conversion)"
        )
    kinds: dict[Any, Any] = PEFT_TYPE_TO_CONFIG_MAPPING
    known = kinds[kind]
    fields = _fields(known)
    # PEFT fills these in, and so would scale an adapter by a guess.
    if missing := {"r", "lora_alpha"} & fields - set(settings):
        raise InputError(f"{file}: says nothing of {', '.join(sorted(missing))}; save the adapter again")
    held = {name: value for name, value in settings.items() if name in fields}
    if getattr(known, "r", None) and not held.get("r", True):  # other kinds of adapters may have no rank
        raise InputError(f"{file}: r = {printable(repr(held['r']), 60)}: a rank is at least 1; correct it")
    _require_types(file, held, typing.get_type_hints(known))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return known.from_peft_type(**held)
    except Exception as error:  # whatever a configuration's own checks raise
        raise InputError(f"{file}: cannot be used ({one_line(error)}); correct it") from error


def unknown_settings(folder: str | Path) -> list[str]:
    """Name the settings of an adapter that this version of PEFT does not know, but for those that are off."""
    settings = read_settings(folder)
    kinds: dict[Any, Any] = PEFT_TYPE_TO_CONFIG_MAPPING
    known = _fields(kinds[settings["peft_type"]]) | ASIDE
    return sorted(name for name, value in settings.items() if value and name not in known)


def base_of(adapter: str | Path) -> str:
    """Return the directory of the base that an adapter's configuration names; no network is used.

    A relative directory or GGUF file is looked for from here and from beside the adapter, a hub id and a
    model that ships in a package in the local cache.

    Raises:
        InputError: the configuration names none, or one that is not on this machine.
    """
    adapter = resolve_checkpoint(adapter)
    named = read_settings(adapter).get("base_model_name_or_path")
    if not named:
        raise InputError(f"{adapter}: the adapter names no base; give the base as well")
    if found := recorded_place(named, adapter):
        return str(found)
    if (Path(named) / CONFIG).is_file():
        raise InputError(f"{adapter}: its base {named} is an adapter itself; merge that one, and name it")
    if shipped := shipped_name(named):
        return str(resolve_checkpoint(shipped))
    if cached := cached_snapshot(named):
        return cached
    remedy = " (a directory or hub id)"
    if is_quantised(named):
        remedy = ", the same model unquantised (a directory or hub id)"
    elif is_hub_id(named):
        remedy = f", or fetch it first (hf download {named})"
    raise InputError(f"{adapter}: its base {named} is not on this machine; give the base as well{remedy}")


def recorded_place(named: str, adapter: str | Path | None = None) -> Path | None:
    """Find the model on this machine that an adapter recorded as its base; None if there is none.

    A directory or GGUF file is looked for from here and, where the adapter lies in one, from beside it. A
    directory without a model, such as one that happens to be called ``gpt2``, is not meant.

    Raises:
        InputError: it is a training or an analysis that has chosen no model.
    """
    places = [] if adapter is None else [Path(adapter) / named, Path(adapter).parent / named]
    with suppress(InputError):  # a home that is another machine's
        places.insert(0, expand_home(named))
    for place in places:
        if is_gguf(place) and place.is_file():
            return resolve_checkpoint(place)
        if place.is_dir() and ((found := resolve_checkpoint(place)) / "config.json").is_file():
            return found
    return None


def is_hub_id(name: str) -> bool:
    """Tell whether a name looks like ``owner/model`` rather than like the directory of a model."""
    here = Path(name).is_file() or holds_model(name)
    return not here and name.count("/") == 1 and name[0] not in "./~"


def is_quantised(name: str) -> bool:
    """Tell whether a base's name, or the configuration in its directory, says that it is a quantised copy."""
    file = Path(name) / "config.json"
    if file.is_file():
        try:
            return bool(json.loads(file.read_text(encoding="utf-8")).get("quantization_config"))
        except (OSError, ValueError, AttributeError, RecursionError):
            return False
    owner, _, model = name.rpartition("/")
    return owner.lower() == "unsloth" or bool(QUANTISED.search(model))


def plain_name(name: str) -> str:
    """Return a model's name without its owner, its precision and what else a copy's name has more.

    Examples:
        >>> plain_name("unsloth/Llama-3.1-8B-Instruct-bnb-4bit"), plain_name("meta-llama/Meta-Llama-3.1-8B")
        ('llama-3.1-8b-instruct', 'llama-3.1-8b')
    """
    plain = QUANTISED.sub("", name.rstrip("/").rpartition("/")[2].lower())
    plain = re.sub(r"[-_.](?:unsloth|hf|fp16|bf16|float16|bfloat16|dynamic)(?=[-_.]|$)", "", plain)
    return plain.removeprefix("meta-").strip("-_.")


def _fields(config: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(config)} - ASIDE


def cached_snapshot(name: str) -> str | None:
    """Find a hub model in the local cache: its directory there, so that loading it asks no network."""
    try:
        config = try_to_load_from_cache(name, "config.json") if is_hub_id(name) else None
    except HFValidationError:
        return None
    return str(Path(config).parent) if isinstance(config, str) else None


def _spellings(name: str, value: Any, hint: Any) -> Iterator[Any]:
    """Yield a setting as JSON has it, and as PEFT declares what JSON has no other way to write."""
    yield value
    if isinstance(value, float) and (value.is_integer() or name == "lora_alpha"):  # a scale may be any number
        yield int(value)
    if isinstance(value, list):
        yield [tuple(item) if isinstance(item, list) else item for item in value]
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(value, dict) and dataclasses.is_dataclass(kind) and isinstance(kind, type):
            with suppress(TypeError, ValueError):
                yield kind(**value)


def _require_types(file: Path, settings: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Check settings against the types that PEFT declares; a whole number may be written as 8.0."""
    every = CollectionCheckStrategy.ALL_ITEMS
    for name, value in settings.items():
        if isinstance(value, float) and not isfinite(value):
            raise InputError(f"{file}: {name} = {printable(repr(value), 60)} cannot be; correct it")
        if value is None:
            continue
        if name == "init_lora_weights" and value in UNDECLARED:
            continue
        for tried in _spellings(name, value, hints[name]):
            try:
                check_type(tried, hints[name], collection_check_strategy=every)
                break
            except TypeCheckError:
                continue
        else:
            raise InputError(
                f"{file}: {name} = {printable(repr(value), 60)} is of another type than peft's; correct it"
            )


def read_mergeable(source: str | Path) -> PeftConfig:
    """Read an adapter's configuration; refuse one that adds inputs, such as virtual tokens."""
    config = read_config(source)
    if config.is_prompt_learning:
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise InputError(
            f"{source}: {kind} adds inputs and changes no weights; use LoRA or another adapter "
            "that can be merged"
        )
    return config
