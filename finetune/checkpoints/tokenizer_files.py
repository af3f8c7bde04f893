"""Loading a tokenizer so that it does what its files say.

transformers builds some tokenizers from their class and takes no more than the vocabulary from
``tokenizer.json``: a class that is not the file's own splits and normalises otherwise, and a directory
without a vocabulary gives a tokenizer that knows nothing. Both load without an error.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.freed_memory import release_freed_memory

TEXTS = (
    "The capital of France is Paris.",
    " Who's  George, 2nd Earl of Orford (1984-1997)?\n\n",
    "Zo\u00eb, Mu\u0308ller, \u00c5NGSTR\u00d6M: \u201cit's 1,984 \u6771\u4eac \U0001f600\u201d\u00a0\ufb01n",
)
_log = logging.getLogger(__name__)


def load_faithful_tokenizer(source: str | Path, revision: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer that reads texts as its ``tokenizer.json`` does, where it has one.

    Raises:
        InputError: it has no vocabulary.
    """
    local = Path(source).is_dir()
    options: dict[str, Any] = {
        "revision": revision,
        "local_files_only": local,
        "trust_remote_code": False,
    }
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    file = _file(source, revision)
    if file is not None and tokenizer.is_fast and not _reads_as(tokenizer, file):
        general = PreTrainedTokenizerFast.from_pretrained(source, **options)
        # What tokenizer_config.json changes on purpose (a space in front) it changes in both.
        if _readings(general) != _readings(tokenizer):
            name, tokenizer = type(tokenizer).__name__, general
            told = "%s: the class %s reads texts otherwise than its tokenizer.json does; the file is used"
            _log.warning(told, source, name)
    words = set(tokenizer.get_vocab()) - {str(token) for token in tokenizer.all_special_tokens}
    if not words or (local and not _holds_vocabulary(Path(source), tokenizer)):
        raise InputError(
            f"{source}: its tokenizer has no vocabulary; copy its other files (tokenizer.json) there too"
        )
    if tokenizer.eos_token_id is None and local:
        _take_eos(tokenizer, Path(source))
    release_freed_memory()
    return tokenizer


def _holds_vocabulary(folder: Path, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether any of the files lies there that a tokenizer's class takes its vocabulary from."""
    names = {*tokenizer.vocab_files_names.values(), "tokenizer.json", "tokenizer.model", "tekken.json"}
    return any((folder / name).is_file() for name in names if "merges" not in name and "config" not in name)


def _file(source: str | Path, revision: str) -> Path | None:
    if Path(source).is_dir():
        file = Path(source) / "tokenizer.json"
        return file if file.is_file() else None
    found = try_to_load_from_cache(str(source), "tokenizer.json", revision=revision)
    return Path(found) if isinstance(found, str) else None


def _reads_as(tokenizer: PreTrainedTokenizerBase, file: Path) -> bool:
    # The general class is the file itself; reading the file once more would take as long again.
    if type(tokenizer) is PreTrainedTokenizerFast:
        return True
    state = file.stat()
    expected = _read(file, state.st_size, state.st_mtime_ns, state.st_ino)
    return _readings(tokenizer) == [list(ids) for ids in expected]


def _readings(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return list(tokenizer(list(TEXTS), add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=32)
def _read(file: Path, size: int, changed: int, inode: int) -> tuple[tuple[int, ...], ...]:
    """Read the texts by a file alone; size, time and inode say which state of it."""
    plain: Tokenizer = Tokenizer.from_file(str(file))
    plain.no_truncation()
    plain.no_padding()
    return tuple(tuple(plain.encode(text, add_special_tokens=False).ids) for text in TEXTS)


def _take_eos(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Give a tokenizer without EOS the one at which its model ends."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file() and isinstance(held := read_json(folder / name), dict):
            named = held.get("eos_token_id")
            first = named[0] if isinstance(named, list) and named else named
            if isinstance(first, int) and (token := tokenizer.convert_ids_to_tokens(first)) is not None:
                tokenizer.eos_token = token
                return
