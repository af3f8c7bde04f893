"""Checking a GGUF file before it is dequantised: header, architecture, tensors, and which model it is.

A GGUF file is data; nothing in it is run. What is refused here is refused with its reason, for the libraries
that read such files fail late, or fill what a file lacks with random numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.checkpoints.weight_files import LFS_POINTER
from finetune.common.errors import InputError
from finetune.common.messages import one_line

if TYPE_CHECKING:
    from gguf import ReaderTensor

ENDING = ".gguf"
MAGIC = b"GGUF"
AGAIN = "copy or download it again"
# Kinds of files that are no language model, by ``general.type`` or ``general.architecture``.
OTHER_KINDS = {
    "adapter": "is a LoRA adapter in GGUF; name the adapter as PEFT saved it",
    "mmproj": "is the projector of a vision model; name the language model's own file",
    "clip": "is the projector of a vision model; name the language model's own file",
    "imatrix": "is an importance matrix, not a model; name the model's own file",
    "vocab": "is a vocabulary without weights; name the model's own file",
}


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """What the header of a GGUF file says; arrays of texts are only counted in ``metadata``."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[ReaderTensor, ...]

    @property
    def architecture(self) -> str:
        """The architecture by llama.cpp's name."""
        return str(self.metadata["general.architecture"])

    @property
    def quantisation(self) -> str:
        """The name of the file's type, such as Q4_K_M; where it says none, its tensors' commonest."""
        from gguf import LlamaFileType

        try:
            kind = LlamaFileType(self.metadata["general.file_type"]).name
            return kind.removeprefix("MOSTLY_").removeprefix("ALL_")
        except (KeyError, ValueError):
            return Counter(tensor.tensor_type.name for tensor in self.tensors).most_common(1)[0][0]

    @property
    def numbers(self) -> int:
        """How many numbers the tensors hold."""
        return sum(int(tensor.n_elements) for tensor in self.tensors)


def is_gguf(source: str | Path) -> bool:
    """Whether a source is named as a GGUF file and no directory."""
    return Path(source).suffix.lower() == ENDING and not Path(source).is_dir()


def read_gguf(path: Path) -> GgufFile:
    """Read a GGUF file's header.

    Raises:
        InputError: it is no GGUF file, is truncated or split, is no language model, or holds tensors of a
            type or an architecture that transformers does not know.
    """
    from transformers import __version__
    from transformers.integrations.gguf.reader import read_gguf_metadata

    _require_gguf(path)
    try:
        metadata, _ = read_gguf_metadata(str(path))
    except Exception as error:  # a cut file ends anywhere, which its reader says in many ways
        raise InputError(f"{path}: its header is damaged ({one_line(error, 100)}); {AGAIN}") from error
    _require_whole_model(path, metadata)
    if not _is_known(metadata["general.architecture"]):
        raise InputError(
            f"{path}: its architecture {str(metadata['general.architecture'])[:40]!r} is none that "
            f"transformers {__version__} reads from GGUF; name the same model as safetensors"
        )
    tensors = _tensors(path)
    if not tensors:
        raise InputError(f"{path}: holds no tensors; name the model's own file")
    return GgufFile(path=path, metadata=metadata, tensors=tensors)


def _tensors(path: Path) -> tuple[ReaderTensor, ...]:
    """Map a file's tensors; no weights are read."""
    from gguf import GGMLQuantizationType, GGUFReader

    try:
        return tuple(GGUFReader(path).tensors)
    except Exception as error:
        said = one_line(error, 100)
        if GGMLQuantizationType.__name__ in said:
            raise InputError(
                f"{path}: holds tensors of a quantisation that is not known ({said}); name another "
                "quantisation of it, or the same model as safetensors"
            ) from error
        raise InputError(f"{path}: is truncated or damaged ({said}); {AGAIN}") from error


def _require_gguf(path: Path) -> None:
    """Refuse what does not begin as a GGUF file of a version that can be read."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a GGUF file, a checkpoint's directory or a hub id")
    try:
        with path.open("rb") as stream:
            start = stream.read(max(len(LFS_POINTER), 8))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if start == LFS_POINTER:
        raise InputError(f"{path}: is a git-lfs pointer, not the weights; run `git lfs pull` there")
    if not start:
        raise InputError(f"{path}: is empty; {AGAIN}")
    if start[:4] != MAGIC:
        raise InputError(f"{path}: is no GGUF file, whatever its name says; {AGAIN}")
    if start[4:6] == b"\0\0":
        raise InputError(f"{path}: was written for big-endian machines; name a little-endian file")


def _require_whole_model(path: Path, metadata: dict[str, Any]) -> None:
    """Refuse a part of a split model, and files that hold something else than a language model."""
    parts = metadata.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        part = metadata.get("split.no", 0) + 1
        raise InputError(
            f"{path}: is part {part} of {parts} of a split model; join the parts (llama-gguf-split --merge) "
            "and name the result"
        )
    for key in ("general.type", "general.architecture"):
        if said := OTHER_KINDS.get(str(metadata.get(key))):
            raise InputError(f"{path}: {said}")


def _is_known(architecture: Any) -> bool:
    from transformers.integrations.gguf.gguf_config_mapping import GGUF_CONFIG_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    # transformers' own names have underscores where llama.cpp's have a hyphen or nothing.
    known = {_plain(name) for name in (*GGUF_CONFIG_ARCHS, *GGUF_SUPPORTED_ARCHITECTURES)}
    return isinstance(architecture, str) and _plain(architecture) in known


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "")
