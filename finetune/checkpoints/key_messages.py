"""Error messages about weight keys: which do not fit the model, why, and the remedy, in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from finetune.checkpoints.weight_files import first_keys
from finetune.common.errors import InputError
from finetune.common.messages import one_line

Shape = tuple[int, ...]
ADAPTER = re.compile(r"\.(lora_|base_layer\.|modules_to_save\.|original_module\.|ia3_|vera_|hada_|oft_)")


@dataclass(kw_only=True)
class Fit:
    """How tensors fit a model, which has no contents."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, Shape, Shape]] = field(default_factory=list)
    model: PreTrainedModel | None = None

    @property
    def complete(self) -> bool:
        """Whether all parameters are filled and all tensors are used."""
        return not (self.missing or self.unexpected or self.mismatched)


def mismatch_message(name: str, found: Fit) -> str:
    """Say in a line which keys do not fit, the likely cause and the remedy."""
    saved = "save the model again with save_pretrained, and copy all of its files"
    if found.mismatched:
        key, theirs, ours = found.mismatched[0]
        more = f" (and {len(found.mismatched) - 1} more)" if len(found.mismatched) > 1 else ""
        return (
            f"{name}: {key} is {list(theirs)} in its files and {list(ours)} by its config.json{more}; use "
            "the config.json that was saved with the weights"
        )
    parts = []
    if found.missing:
        parts.append(f"its files lack {first_keys(found.missing)} ({len(found.missing)} in all)")
    if found.unexpected:
        subject, count = "they" if parts else "its files", len(found.unexpected)
        parts.append(
            f"{subject} hold {first_keys(found.unexpected)} ({count} in all), for which its model has no "
            "place"
        )
    return f"{name}: {' and '.join(parts)}; {_cause(found)}; {saved}"


def prefix_notice(renamed: Mapping[str, str]) -> str | None:
    """Say which prefixes were taken off, or None where all keys are their own."""
    changed = [(old, new) for old, new in renamed.items() if old != new]
    if not changed:
        return None
    old, new = changed[0]
    return f"{len(changed)} of {len(renamed)} keys were loaded without their prefix, such as {old} as {new}"


def unusable_config_message(name: str, error: Exception) -> InputError:
    """Say that a configuration makes no model, or one that does not run."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, ImportError):
        return InputError(f"{name}: needs a package that is not installed ({one_line(error)}); install it")
    return InputError(
        f"{name}: its config.json makes no model that runs ({one_line(error, 160)}); use the config.json "
        "that was saved with the weights"
    )


def unmerged_adapter_message(name: str, shapes: Mapping[str, Shape]) -> str:
    """Say that a checkpoint is the state of a model with an adapter on it."""
    keys = [key for key in shapes if ADAPTER.search(key)]
    return (
        f"{name}: its files hold {first_keys(keys)} ({len(keys)} in all), the state of a model with an "
        "unmerged adapter; save the adapter itself (PeftModel.save_pretrained), or merge it first "
        "(merge_and_unload)"
    )


def _cause(found: Fit) -> str:
    """Guess why keys do not fit."""
    if found.missing and found.unexpected:
        return "the keys are of another architecture or have a prefix that is not known"
    if found.unexpected:
        numbered = [re.search(r"\.(\d+)\.", key) for key in found.unexpected]
        layers = getattr(found.model.config.get_text_config(), "num_hidden_layers", 0) if found.model else 0
        if layers and all(match and int(match[1]) >= layers for match in numbered):
            return f"config.json says {layers} layers and the files hold more"
        return "config.json or the files belong to another model"
    head = all(key.rpartition(".")[0].endswith(("lm_head", "embed_out", "output")) for key in found.missing)
    if head:
        return "the head was not saved and is not tied"
    return "a part of the weights was not saved or is lost"
