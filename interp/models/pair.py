"""A pair of checkpoints, base and fine-tuned, and which of the two sides is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr
from interp.models.lora_switch import LoraSwitch

if TYPE_CHECKING:
    from interp.models.sides_alike import SeenSide

T = TypeVar("T")
Side = Literal["base", "finetuned"]
Loader = Callable[[], "TransformerBridge"]
Ask = Callable[[Side, Any], None]


class CheckpointPair(ShortRepr):
    """Base and fine-tuned sides of one comparison, opened one at a time.

    Made by :func:`interp.models.load_pair.load_pair`. ``tokenizer`` is both sides' own, as training used
    it (the bridge's may add a BOS). ``provenance`` is JSON-able: sources with their hashes, precision, how
    many copies of the weights there are, each side's largest log-prob difference from the plain model
    (nats), and whether edits of attention act. Of an adapter: ``finetuned_parity`` is against PEFT's
    forward before anything was merged, ``finetuned_file_parity`` the largest difference between a tensor
    in its file and the parameter it became, ``adapter_change`` how far it moves the probe (nats).
    ``notices`` are what was put right or is remarkable.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, provenance: dict[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.provenance = provenance
        self.models: dict[Side, TransformerBridge] = {}
        self.loaders: dict[Side, Loader] = {}
        self.ask: Ask | None = None
        self.switch: LoraSwitch | None = None
        self.low_memory = False
        self.seen: dict[Side, SeenSide] = {}
        self._opened: list[Side] = []

    def _shown(self) -> Mapping[str, Any]:
        names = ("base", "finetuned", "dtype", "copies", "base_parity", "finetuned_parity", "adapter_change")
        told = {name: self.provenance[name] for name in names if self.provenance.get(name) is not None}
        loaded = ", ".join(self.models) or ("none yet" if self.loaders else "none: closed")
        return told | {"loaded": loaded, "notices": len(self.provenance.get("notices", ()))}

    def __getattr__(self, name: str) -> Any:
        if (not name.startswith("_") and hasattr(TransformerBridge, name)) or name == "cfg":
            raise AttributeError(
                f"a pair holds two models and is none: open one (with pair.finetuned() as model) for {name!r}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @contextmanager
    def base(self) -> Iterator[TransformerBridge]:
        """Open the base.

        Raises:
            InputError: the fine-tuned side, which shares its weights or its place, is open.
        """
        with self._open("base") as model:
            yield model

    @contextmanager
    def finetuned(self) -> Iterator[TransformerBridge]:
        """Open the fine-tuned model; the base's own where the pair has none.

        Raises:
            InputError: the base, which shares its weights or its place, is open.
        """
        with self._open("finetuned") as model:
            yield model

    def read_both(self, read: Callable[[TransformerBridge], T]) -> tuple[T, T]:
        """Read the base, then the fine-tuned model."""
        with self.base() as model:
            before = read(model)
        with self.finetuned() as model:
            return before, read(model)

    def close(self) -> None:
        """Let go of all weights; the pair cannot be opened again."""
        self.models.clear()
        self.loaders.clear()

    @contextmanager
    def _open(self, side: Side) -> Iterator[TransformerBridge]:
        shared = self.switch is not None or self.low_memory
        if shared and any(other != side for other in self._opened):
            raise InputError(
                f"pair.{side}() inside pair.{self._opened[-1]}(): the two sides share one model's memory; "
                "leave the one before you open the other"
            )
        model = self.model(side)
        self._opened.append(side)
        if self.switch is not None:
            self.switch.on = side == "finetuned"
        try:
            yield model
        finally:
            self._opened.pop()
            if self.switch is not None:
                self.switch.on = "finetuned" in self._opened
            if not self._opened:
                model.reset_hooks()  # a hook left behind would act on the other side of a shared model

    def model(self, side: Side) -> TransformerBridge:
        """Return a side's bridge, loading it if it is not held; use ``base()`` or ``finetuned()`` instead."""
        if side not in self.models:
            if side not in self.loaders:
                raise InputError("this pair was closed; load it again")
            if self.low_memory:
                self.models.clear()
            self.models[side] = self.loaders[side]()
        return self.models[side]


def join_pairs(base: CheckpointPair, finetuned: CheckpointPair) -> CheckpointPair:
    """Pair the fine-tuned sides of two open pairs, which both stay open and own their weights."""
    pair = CheckpointPair(finetuned.tokenizer, {**finetuned.provenance, "copies": 2})
    for side, of in (("base", base), ("finetuned", finetuned)):
        told = {key: value for key, value in of.provenance.items() if key.startswith("finetuned")}
        pair.provenance |= {key.replace("finetuned", side, 1): value for key, value in told.items()}
        pair.models[cast("Side", side)] = of.model("finetuned")
    return pair
