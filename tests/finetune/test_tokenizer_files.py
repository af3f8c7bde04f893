"""Loading tokenizers: what the files say is what reads, and what cannot be loaded is told in one line."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from finetune.checkpoints.loading import brings_tokenizer, load_tokenizer, tokenizer_for
from finetune.checkpoints.tokenizer_files import TEXTS
from finetune.common.errors import InputError
from tests.tokenizer_families import FAMILIES, build

CLASSES = ("GPT2Tokenizer", "LlamaTokenizer", "GemmaTokenizer", "Qwen2Tokenizer", "PreTrainedTokenizerFast")


@pytest.fixture
def folder(tiny_llama_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_llama_dir, tmp_path / "model")
    return tmp_path / "model"


def change(folder: Path, **values: object) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "wordpiece"])
@pytest.mark.parametrize("name", CLASSES)
def test_the_file_reads_whatever_class_is_named(folder, caplog, name: str, family: str) -> None:
    build(family, folder, bos=True)
    change(folder, tokenizer_class=name)
    with caplog.at_level(logging.WARNING):
        tokenizer = load_tokenizer(folder)
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = [plain.encode(text, add_special_tokens=False).ids for text in TEXTS]
    assert tokenizer(list(TEXTS), add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GPT2Tokenizer", "GemmaTokenizer", "Qwen2Tokenizer"])
def test_a_tokenizer_without_its_vocabulary_is_refused(folder, name: str) -> None:
    change(folder, tokenizer_class=name)
    (folder / "tokenizer.json").unlink()
    assert re.search("no vocabulary|cannot be loaded", refused(folder))


DAMAGED = {
    "lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n",
    "empty": "",
    "list": "[]",
    "other": '{"a": 1}',
    "number": "1",
    "binary": "\x00\x01",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_files_are_one_line(folder, file: str, damage: str) -> None:
    (folder / file).write_text(DAMAGED[damage])
    if file == "tokenizer_config.json" and damage == "other":
        assert len(load_tokenizer(folder)) > 400  # what it leaves unsaid, the other file says
    else:
        assert re.search("tokenizer cannot be loaded", refused(folder))


def test_half_a_file_is_one_line(folder) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text[: len(text) // 2])
    assert re.search("tokenizer cannot be loaded", refused(folder))


@pytest.mark.parametrize("named", [2, [2, 0]])
def test_without_an_eos_of_its_own_it_takes_the_models(folder, named: object) -> None:
    build("byte_level_bpe", folder, bos=True)
    tokenizer = load_tokenizer(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": named}))
    assert load_tokenizer(folder).eos_token == "</s>"


def test_an_adapter_with_only_a_tokenizer_json_brings_a_tokenizer(
    tiny_llama_dir, tiny_adapter_dir, tmp_path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny_adapter_dir, adapter)
    assert not brings_tokenizer(adapter)
    assert len(tokenizer_for(adapter, tiny_llama_dir)) == len(load_tokenizer(tiny_llama_dir))
    own = load_tokenizer(tiny_llama_dir)
    own.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    own.save_pretrained(adapter)
    (adapter / "tokenizer_config.json").unlink()
    assert brings_tokenizer(adapter)
    assert "<|im_start|>" in tokenizer_for(adapter, tiny_llama_dir).get_vocab()


def refused(folder: Path) -> str:
    """Return the one line by which it is refused."""
    with pytest.raises(InputError) as error:
        load_tokenizer(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)
