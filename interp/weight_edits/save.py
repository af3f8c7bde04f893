"""Cured models on disk: ordinary checkpoints and adapters, with ``cure.json`` telling what was done."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from finetune.checkpoints.loading import is_adapter, load_weights, tokenizer_for
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.checksums import seal
from finetune.common.errors import InputError
from finetune.common.files import SEAL, atomic_directory, read_json, write_json
from interp.weight_edits.adapter_scaling import scale_adapter_updates
from interp.weight_edits.head_grafts import Head, HeadShape, graft_heads
from interp.weight_edits.interpolation import interpolate_weights, perturb_weights

CURE, ADAPTER = "cure.json", "adapter_model.safetensors"
Checkpoint = Path | str


def interpolate(
    base: Checkpoint,
    tuned: Checkpoint,
    out: Path,
    *,
    share: float,
    modules: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
) -> Path:
    """Save a full checkpoint moved towards its base, see :func:`interp.weight_edits.interpolate_weights`.

    Args:
        base: the base.
        tuned: the fine-tuned checkpoint.
        out: a new directory.
        share: how far.
        modules: parts of names to move; all without it.
        layers: layers to move; all without it.

    Raises:
        InputError: an adapter (scale it instead), models that do not correspond, or an ``out`` that is taken.
    """
    _require_full(tuned, "scale_adapter(by = 1 - share) is its interpolation")
    model = load_weights(tuned)
    state = interpolate_weights(
        load_weights(base).state_dict(), model.state_dict(), share, modules=modules, layers=layers
    )
    record = _describe_moves("interpolated", base, tuned, share, modules, layers)
    return save_edited(model, state, tuned, out, record)


def perturb(
    base: Checkpoint,
    tuned: Checkpoint,
    out: Path,
    *,
    share: float,
    modules: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> Path:
    """Save :func:`interpolate`'s placebo: every weight moved as far, but in a random direction.

    Args:
        base: the base.
        tuned: the fine-tuned checkpoint.
        out: a new directory.
        share: how far.
        modules: parts of names to move; all without it.
        layers: layers to move; all without it.
        seed: of the direction.

    Raises:
        InputError: an adapter, models that do not correspond, or an ``out`` that is taken.
    """
    _require_full(tuned, "merge it into its base first (peft's merge_and_unload)")
    model = load_weights(tuned)
    state = model.state_dict()
    goal = interpolate_weights(load_weights(base).state_dict(), state, share, modules=modules, layers=layers)
    made = perturb_weights(state, goal, modules=modules, seed=seed)
    record = _describe_moves("interpolation's placebo", base, tuned, share, modules, layers)
    return save_edited(model, made, tuned, out, {**record, "seed": seed})


def graft(donor: Checkpoint, tuned: Checkpoint, out: Path, *, heads: Iterable[Head]) -> Path:
    """Save a full checkpoint whose named heads attend as the donor's, see
    :func:`interp.weight_edits.graft_heads`.

    Args:
        donor: the checkpoint that gives its heads.
        tuned: the one that takes them.
        out: a new directory.
        heads: (layer, head) pairs.

    Raises:
        InputError: an adapter (merge it first), a head that there is not, or an ``out`` that is taken.
    """
    for source in (donor, tuned):
        _require_full(source, "merge it into its base first (peft's merge_and_unload)")
    model = load_weights(tuned)
    shape = HeadShape.of(model.config)
    named = shape.with_groups(heads)
    state = graft_heads(load_weights(donor).state_dict(), model.state_dict(), named, shape)
    record = {"cure": "grafted", "tuned": str(tuned), "donor": str(donor), "heads": _as_list(named)}
    return save_edited(model, state, tuned, out, record)


def scale_adapter(
    adapter: Checkpoint,
    out: Path,
    *,
    by: float | Mapping[str, float],
    layers: Sequence[int] | None = None,
) -> Path:
    """Save an adapter whose updates are scaled, see :func:`interp.weight_edits.scale_adapter_updates`.

    Args:
        adapter: a LoRA adapter's directory.
        out: a new directory.
        by: the factor, or one for each module.
        layers: layers to scale; all without it.

    Raises:
        InputError: no local adapter in safetensors, an unknown module, or an ``out`` that is taken.
    """
    adapter = resolve_checkpoint(Path(adapter))
    if not (adapter / ADAPTER).is_file():
        raise InputError(f"{adapter}: holds no {ADAPTER}; name the directory of an adapter")
    if read_json(adapter / "adapter_config.json").get("use_dora"):
        raise InputError(f"{adapter}: is a DoRA, whose update does not scale; merge it and interpolate")
    state = scale_adapter_updates(load_file(adapter / ADAPTER), by, layers=layers)
    factors = dict(by) if isinstance(by, Mapping) else by
    with _new(out) as target:
        for file in adapter.iterdir():
            if file.is_file() and file.name not in (ADAPTER, CURE, SEAL):
                shutil.copy2(file, target / file.name)
        save_file({n: w.contiguous() for n, w in state.items()}, target / ADAPTER, metadata={"format": "pt"})
        record = {"cure": "scaled", "tuned": str(adapter), "by": factors, "layers": _as_list(layers)}
        write_json(target / CURE, record)
        seal(target)
    return out


def save_edited(
    model: Any, state: Mapping[str, Tensor], like: Checkpoint, out: Path, record: Mapping[str, Any]
) -> Path:
    """Put weights into a loaded model and save it with ``like``'s tokenizer and ``cure.json``.

    Args:
        model: the loaded model.
        state: the weights to put in.
        like: whose tokenizer is taken.
        out: a new directory.
        record: what ``cure.json`` records.

    Raises:
        InputError: ``out`` is taken.
    """
    model.load_state_dict(dict(state))
    with _new(out) as target:
        model.save_pretrained(target)
        tokenizer_for(like).save_pretrained(target)
        write_json(target / CURE, dict(record))
        seal(target)
    return out


def _new(out: Path) -> Any:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is taken; name a new directory for the cured model")
    return atomic_directory(out)


def _require_full(source: Checkpoint, remedy: str) -> None:
    if is_adapter(source):
        raise InputError(f"{source}: is an adapter; {remedy}")


def _describe_moves(
    cure: str,
    base: Checkpoint,
    tuned: Checkpoint,
    share: float,
    modules: Sequence[str] | None,
    layers: Sequence[int] | None,
) -> dict[str, Any]:
    """Say what was moved, and how far."""
    record = {"base": str(base), "share": share, "modules": _as_list(modules), "layers": _as_list(layers)}
    return {"cure": cure, "tuned": str(tuned), **record}


def _as_list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else [list(v) if isinstance(v, tuple) else v for v in values]
