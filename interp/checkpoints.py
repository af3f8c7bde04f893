"""A base and a fine-tuned model, side by side as hooked models, on one copy of the weights if possible.

An adapter shares its base's weights: the base side runs with the adapter switched off, the fine-tuned side
with the adapter merged, so that forward passes and ``W_Q ... W_O`` are right on each. Two full checkpoints
need two copies, or one at a time with ``low_memory``.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from finetune.facts import InputError
from finetune.files import fingerprint
from finetune.models import (
    Source,
    adapter_base,
    is_adapter,
    load_adapter,
    load_tokenizer,
    load_weights,
    tokenizer_for,
)
from interp.adapters import Merged
from interp.edits import edits_act
from interp.parity import boot, bridged, log_probs, probe, require_causal, require_parity, vocabulary

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Side = Literal["base", "finetuned"]
Model = Source | Any  # a directory, a hub id, or a model in memory
_PROBE_TEXT = "Where was Zoë Müller-Łuków (b. 1951) born?\nIn 東京."


class CheckpointPair:
    """Two sides of one comparison; made by :func:`load_pair`.

    ``tokenizer`` is shared by both sides. ``provenance`` (JSON-able) records sources, fingerprints,
    precision, the largest difference between each hooked model and its plain one (nats), and whether
    edited attention patterns act.
    """

    def __init__(self, base: Model, finetuned: Model, tokenizer: Any, **options: Any) -> None:
        self._sources: dict[str, Model] = {"base": base, "finetuned": finetuned}
        self._options = options
        self._open: dict[str, TransformerBridge] = {}
        self._active: str | None = None
        self._merged: Merged | None = None
        self.tokenizer: PreTrainedTokenizerBase = _one_tokenizer(base, finetuned, tokenizer, options)
        self.provenance: dict[str, Any] = {
            side: {"source": _name(source), "fingerprint": _fingerprint(source)}
            for side, source in self._sources.items()
        }

    @property
    def shares_weights(self) -> bool:
        """Whether both sides run on one copy of the weights."""
        finetuned = self._sources["finetuned"]
        return finetuned is self._sources["base"] or _is_peft(finetuned)

    @contextmanager
    def base(self) -> Iterator[TransformerBridge]:
        """Open the base as a hooked model."""
        with self._side("base") as model:
            yield model

    @contextmanager
    def finetuned(self) -> Iterator[TransformerBridge]:
        """Open the fine-tuned model as a hooked model."""
        with self._side("finetuned") as model:
            yield model

    @contextmanager
    def _side(self, side: Side) -> Iterator[TransformerBridge]:
        if self.shares_weights and self._active not in (None, side):
            raise RuntimeError(
                f"the {self._active} side is open and shares its weights with the {side} side; "
                "leave its `with` block first, or keep what you need from it as tensors"
            )
        outer, self._active = self._active, side
        try:
            if _is_peft(self._sources["finetuned"]):
                yield from self._shared(side, nested=outer is not None)
            else:
                yield self._separate(side)
        finally:
            self._active = outer

    def _shared(self, side: Side, *, nested: bool) -> Iterator[TransformerBridge]:
        if self._merged is None:
            self._load_shared()
        merged = self._merged
        assert merged is not None
        if nested or side == "base":
            yield self._open["shared"]
            return
        with merged.applied():
            yield self._open["shared"]

    def _load_shared(self) -> None:
        """Load base and adapter, take both plain outputs, then boot one bridge and check both sides."""
        source = self._sources["finetuned"]
        if isinstance(source, str | Path):
            model = load_adapter(_weights(self._sources["base"], self._options), source)
        else:
            model = deepcopy(source)
        model.eval()
        name = _name(source)
        inputs = probe(model, vocabulary(model, self.tokenizer, name))
        expected = log_probs(model, inputs)
        require_causal(model, inputs, expected, name)
        with model.disable_adapter():
            expected_base = log_probs(model, inputs)
        self._merged = Merged(model)
        self._open["shared"] = bridge = boot(model.base_model.model, self.tokenizer, name)
        dtype = next(bridge.parameters()).dtype
        difference = require_parity(
            log_probs(bridge, inputs), expected_base, dtype, _name(self._sources["base"])
        )
        self._record("base", bridge, difference)
        with self._merged.applied():
            self._record(
                "finetuned", bridge, require_parity(log_probs(bridge, inputs), expected, dtype, name)
            )

    def _separate(self, side: Side) -> TransformerBridge:
        key = "base" if self.shares_weights else side
        if key not in self._open:
            if self._options["low_memory"]:
                self._open.clear()
                gc.collect()
            source = self._sources[side]
            model = _weights(source, self._options).eval()
            bridge, difference = bridged(model, self.tokenizer, _name(source))
            for recorded in ("base", "finetuned") if self.shares_weights else (side,):
                self._record(recorded, bridge, difference)
            self._open[key] = bridge
            self._require_same_shape(bridge)
        return self._open[key]

    def _record(self, side: str, bridge: TransformerBridge, difference: float) -> None:
        self.provenance[side] |= {
            "parity": difference,
            "dtype": str(next(bridge.parameters()).dtype).removeprefix("torch."),
            "edits_act": edits_act(bridge),
            "shape": [bridge.cfg.n_layers, bridge.cfg.n_heads, bridge.cfg.d_model],
        }

    def _require_same_shape(self, bridge: TransformerBridge) -> None:
        shapes = [self.provenance[side].get("shape") for side in ("base", "finetuned")]
        if None not in shapes and shapes[0] != shapes[1]:
            names = [self.provenance[side]["source"] for side in ("base", "finetuned")]
            raise InputError(
                f"{names[1]} has [layers, heads, width] {shapes[1]} and {names[0]} has {shapes[0]}: they do "
                "not belong together; name the base that was fine-tuned"
            )


def load_pair(
    base: Model | None = None,
    finetuned: Model | None = None,
    *,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: Any = None,
    low_memory: bool = False,
    allow_pickle: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> CheckpointPair:
    """Pair a base with a fine-tuned checkpoint; weights are loaded when a side is first opened.

    Args:
        base: a local directory, hub id or model in memory. May be left out if ``finetuned`` is an adapter
            whose configuration names its base.
        finetuned: likewise, or a LoRA adapter directory, or a ``PeftModel``. Without it both sides are the
            base. Models in memory are copied, because hooking rewires a model in place.
        revision: of hub ids.
        dtype: of the weights; float32 unless given.
        device: where the weights go; a GPU if there is one, unless given.
        device_map: passed to transformers to spread a model over several devices.
        low_memory: keep one of two full checkpoints in memory at a time.
        allow_pickle: also load weights that are pickled, which can run any code they contain.
        tokenizer: for models in memory.

    Raises:
        InputError: a source is no checkpoint, is unsafe, or the two do not belong together.
    """
    if finetuned is None:
        finetuned = base
    if finetuned is None:
        raise InputError("load_pair: name a base, or an adapter that names its base")
    if base is None:
        if not isinstance(finetuned, str | Path):
            base = finetuned
        elif is_adapter(finetuned):
            base = adapter_base(finetuned)
        else:
            raise InputError(f"{finetuned}: is a full checkpoint; name its base as well")
    return CheckpointPair(
        base,
        finetuned,
        tokenizer,
        revision=revision,
        dtype=dtype,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        device_map=device_map,
        low_memory=low_memory,
        allow_pickle=allow_pickle,
    )


def trajectory(base: Model, run: Path, **options: Any) -> Iterator[tuple[int, CheckpointPair]]:
    """Yield (step, pair) for every ``checkpoint-<step>`` below ``run``, in order of steps.

    Each pair loads its weights when opened, and is let go of before the next one is made.

    Raises:
        InputError: ``run`` holds no such directory.
    """
    found = [
        (int(m[1]), d)
        for d in Path(run).glob("checkpoint-*")
        if (m := re.fullmatch(r"checkpoint-(\d+)", d.name))
    ]
    if not found:
        raise InputError(f"{run}: holds no checkpoint-* directory; name the training run's output directory")
    for step, directory in sorted(found):
        yield step, load_pair(base, directory, **options)
        gc.collect()


def _weights(source: Model, options: dict[str, Any]) -> PreTrainedModel:
    if not isinstance(source, str | Path):
        return deepcopy(source)
    model = load_weights(
        source,
        dtype=options["dtype"],
        revision=options["revision"],
        allow_pickle=options["allow_pickle"],
        device_map=options["device_map"],
    )
    return model if options["device_map"] else model.to(options["device"])


def _one_tokenizer(base: Model, finetuned: Model, given: Any, options: dict[str, Any]) -> Any:
    """Return the tokenizer that both sides share.

    Raises:
        InputError: they disagree, or a model in memory came without one.
    """
    if given is not None:
        return given
    sources = [s for s in (base, finetuned) if isinstance(s, str | Path)]
    if not sources:
        raise InputError("load_pair: models in memory need tokenizer=")
    ours = load_tokenizer(sources[0], revision=options["revision"])
    if len(sources) == 2 and sources[1] != sources[0]:
        theirs = tokenizer_for(sources[1], sources[0])
        same = ours.get_vocab() == theirs.get_vocab()
        if not same or ours(_PROBE_TEXT)["input_ids"] != theirs(_PROBE_TEXT)["input_ids"]:
            raise InputError(
                f"{sources[1]}: its tokenizer disagrees with that of {sources[0]}; "
                "name the base that was fine-tuned, or pass the right one as tokenizer="
            )
    return ours


def _is_peft(source: Model) -> bool:
    return is_adapter(source) if isinstance(source, str | Path) else hasattr(source, "peft_config")


def _name(source: Model) -> str:
    return str(source) if isinstance(source, str | Path) else f"{type(source).__name__} in memory"


def _fingerprint(source: Model) -> str | None:
    return fingerprint(Path(source)) if isinstance(source, str | Path) and Path(source).is_dir() else None
