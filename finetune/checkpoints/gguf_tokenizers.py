"""The tokenizer of a GGUF file, which splits text before merging as llama.cpp does.

A file names its split (``tokenizer.ggml.pre``) instead of holding it. transformers knows some of the names
and takes GPT-2's split for all others, which cuts numbers and punctuation otherwise than the model learnt.
The others that are known here are llama.cpp's (``llama-vocab.cpp``); a name that nobody knows is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from finetune.checkpoints.gguf_files import GgufFile
from finetune.checkpoints.tokenizer_files import TEXTS, load_faithful_tokenizer
from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.common.progress import notice

BYTE_LEVEL = "gpt2"
AS_GPT2 = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "roberta-bpe", "trillion"})
# GPT-2's split after every digit was cut off.
DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
OTHERS = {"stablelm2": GGUF_PRE_TOKENIZER_SPLITS["qwen2"], "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+"}
# llama.cpp puts BOS in front where these say nothing of it, and takes whole words before merging parts.
BOS_BY_DEFAULT = frozenset({"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"})
WHOLE_WORDS_FIRST = BOS_BY_DEFAULT | {"tekken"}
UNNAMED = ("", "default")


def save_tokenizer(file: GgufFile, to: Path) -> None:
    """Save the tokenizer that a GGUF file describes, chat template included; nothing where it has none.

    Raises:
        InputError: it is of a kind that transformers cannot build, splits text in a way that is not known,
            or reads text otherwise once it was saved.
    """
    kind = file.metadata.get("tokenizer.ggml.model")
    if kind in (None, "none", "no_vocab"):
        return
    split = str(file.metadata.get("tokenizer.ggml.pre", ""))
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if split in BOS_BY_DEFAULT and "tokenizer.ggml.add_bos_token" not in file.metadata:
        given["add_bos_token"] = True
    try:
        made = AutoTokenizer.from_pretrained(file.path.parent, gguf_file=file.path.name, **given)
    except Exception as error:  # whatever building it comes upon
        raise InputError(
            f"{file.path}: its tokenizer cannot be built ({one_line(error, 120)}); name the same model as "
            "safetensors"
        ) from error
    if kind == BYTE_LEVEL:
        _set_split(made, split, file.path)
    made.save_pretrained(to)
    saved = load_faithful_tokenizer(to, "main")
    if any(_ids(made, text) != _ids(saved, text) for text in TEXTS):
        raise InputError(
            f"{file.path}: its tokenizer reads text otherwise once it was saved; name the same model as "
            "safetensors"
        )


def _set_split(tokenizer: PreTrainedTokenizerBase, split: str, path: Path) -> None:
    """Let a byte-level tokenizer split text as llama.cpp does for the split's name."""
    backend: Any = tokenizer.backend_tokenizer
    if split in DIGITS_APART:
        by_digit = pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated")
        usual = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([by_digit, usual])
    elif split in OTHERS:
        words = pre_tokenizers.Split(Regex(OTHERS[split]), behavior="isolated")
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, plain])
    elif split in UNNAMED:
        notice(f"{path}: does not say how its tokenizer splits text; it is split as GPT-2's does")
    elif split not in AS_GPT2 and split not in GGUF_PRE_TOKENIZER_SPLITS:
        raise InputError(
            f"{path}: how its tokenizer splits text ({split[:40]!r}) is not known; name the same model as "
            "safetensors"
        )
    if split in WHOLE_WORDS_FIRST:
        backend.model.ignore_merges = True


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])
