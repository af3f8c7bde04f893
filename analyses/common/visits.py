"""Opening each checkpoint once: every measurement that still lacks its stage file is made while it is open.

A visit loads a checkpoint's weights once. The plain model is asked first, for bridging rewires it in place;
then the same weights are bridged and read. What one checkpoint leaves for another (attention rows to
transplant, patterns to picture) goes through stage files, so a run may stop and continue anywhere, and
several processes may each visit some checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from analyses.common.checkpoints import BASE, Checkpoints
from finetune.checkpoints.loading import is_adapter, load_model
from finetune.common.checksums import are_valid, write_together
from finetune.common.files import as_json, read_json
from finetune.data.prompts import Prompt
from interp.measures.spans import PromptBatch, encode
from interp.models.load_pair import load_pair
from interp.models.pair import CheckpointPair, Side, join_pairs

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[T]):
    """What one measurement of a checkpoint leaves: files that are made together and verified when read.

    ``make`` is given the plain model (of a plain stage) or an :class:`OpenCheckpoint` (of a hooked one) and
    as many paths as there are in ``paths``; ``read`` reads the files from their places.
    """

    paths: tuple[Path, ...]
    make: Callable[..., Any]
    read: Callable[[], T]

    @property
    def due(self) -> bool:
        """Whether the files are absent or damaged."""
        return not are_valid(self.paths, self.read)

    def write(self, source: Any) -> None:
        """Make the files from what was opened."""
        write_together(self.paths, lambda *paths: self.make(source, *paths))


def json_stage(path: Path, make: Callable[[Any], Any]) -> Stage[Any]:
    """Keep as JSON what ``make`` makes of what was opened."""

    def write(source: Any, to: Path) -> None:
        to.write_text(as_json(make(source)), encoding="utf-8")

    return Stage(paths=(path,), make=write, read=lambda: read_json(path))


@dataclass(frozen=True)
class OpenCheckpoint:
    """An open checkpoint as a hooked model, with the tokenizer that training used.

    The hooked model's own tokenizer may add a second BOS.
    """

    model: TransformerBridge
    tokenizer: PreTrainedTokenizerBase
    checkpoints: Checkpoints

    @cached_property
    def batch(self) -> PromptBatch:
        """All test prompts, encoded."""
        return self.encoded(self.checkpoints.prompts)

    def encoded(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Encode some prompts."""
        return encode(self.tokenizer, prompts)


def visit(
    checkpoints: Checkpoints, name: str, *, plain: Sequence[Any], hooked: Sequence[Stage[Any]] = ()
) -> None:
    """Open one checkpoint, at most once, and make in order those of its stages whose files are not there.

    Args:
        checkpoints: where it is, and with which tokenizer and prompts it is measured.
        name: ``"base"`` or an arm.
        plain: stages that ask the plain model; they come first.
        hooked: stages that read or edit the hooked model.
    """
    asked, read = ([stage for stage in stages if stage.due] for stages in (plain, hooked))

    def ask(model: PreTrainedModel) -> None:
        for stage in asked:
            stage.write(model)

    if read:
        with opened(checkpoints, name, ask=ask) as found:
            for stage in read:
                stage.write(found)
    elif asked:
        dtype = getattr(torch, checkpoints.dtype)
        ask(load_model(source_of(checkpoints, name), base=checkpoints.base, dtype=dtype)[0])


@contextmanager
def opened(
    checkpoints: Checkpoints, name: str, *, ask: Callable[[PreTrainedModel], None] | None = None
) -> Iterator[OpenCheckpoint]:
    """Open one checkpoint as a hooked model; ``ask`` is given the plain model before that."""
    pair = pair_of(checkpoints, name, ask=ask)
    try:
        with pair.finetuned() as model:
            yield OpenCheckpoint(model, pair.tokenizer, checkpoints)
    finally:
        pair.close()


def pair_of(
    checkpoints: Checkpoints, name: str, *, ask: Callable[[PreTrainedModel], None] | None = None
) -> CheckpointPair:
    """Load one checkpoint, without the base where it can do without: its fine-tuned side is the checkpoint.

    An adapter that shares the base's weights brings the base along; another one is merged into its own.
    """
    source = source_of(checkpoints, name)
    adapter = is_adapter(source)
    wanted: Side = "finetuned" if adapter else "base"

    def of_side(side: Side, model: PreTrainedModel) -> None:
        if ask is not None and side == wanted:
            ask(model)

    sources = (checkpoints.base, source) if adapter else (source,)
    options: dict[str, Any] = {"tokenizer": checkpoints.tokenizer, "dtype": checkpoints.dtype}
    return load_pair(*sources, **options, lazy=True, ask=of_side)


def source_of(checkpoints: Checkpoints, name: str) -> str:
    """Return the directory or hub id of the base or an arm."""
    return checkpoints.base if name == BASE else checkpoints.arms[name]


class OpenCheckpoints:
    """Checkpoints that stay open as long as comparisons need them, each opened once."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self._open: dict[str, CheckpointPair] = {}

    def alone(self, name: str) -> CheckpointPair:
        """Return the pair whose fine-tuned side is a checkpoint, see :func:`pair_of`."""
        if name not in self._open:
            self._open[name] = pair_of(self.checkpoints, name)
        return self._open[name]

    def pair(self, arm: str) -> CheckpointPair:
        """Return the pair of the base and an arm."""
        one = self.alone(arm)
        return one if one.switch is not None else join_pairs(self.alone(BASE), one)

    @contextmanager
    def opened(self, name: str, *, beside: str) -> Iterator[OpenCheckpoint]:
        """Open a checkpoint, which is an arm or the base of the arm ``beside``."""
        pair = self.pair(beside) if name == BASE else self.alone(name)
        with pair.base() if name == BASE else pair.finetuned() as model:
            yield OpenCheckpoint(model, pair.tokenizer, self.checkpoints)

    def keep(self, names: Collection[str]) -> None:
        """Close all others."""
        for name in set(self._open) - set(names):
            self._open.pop(name).close()
