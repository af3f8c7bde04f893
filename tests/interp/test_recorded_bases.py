"""Which base an adapter belongs to: the recorded one, wherever it is and however its files are cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from finetune.checkpoints.adapter_files import base_of, is_hub_id, recorded_place
from finetune.checkpoints.same_weights import same_weights
from finetune.common.errors import InputError
from interp.models.adapter_base import require_named_base
from interp.models.load_pair import load_pair
from tests import architectures

OTHER = "was trained on .*, not on"


@pytest.fixture
def adapter(tmp_path, tiny_adapter_dir) -> Path:
    return Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record(adapter: Path, base: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(base)}))


def another(folder: Path, tokenizer) -> Path:
    architectures.build("llama", len(tokenizer), seed=7).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pickled(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_a_home_is_written_out_before_bases_are_compared(
    home, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    another(home / "other", tiny_tokenizer)
    with pytest.raises(InputError, match=OTHER):
        load_pair("~/other", adapter)
    shutil.copytree(tiny_llama_dir, home / "same")
    load_pair("~/same", adapter)
    record(adapter, "meta/llama-7b")
    load_pair("~/same", adapter)  # it may well be that model, downloaded
    record(adapter, "~/same")
    assert base_of(adapter) == str(home / "same")
    record(adapter, "~no-such-user/same")
    load_pair("~/same", adapter)


def test_a_base_beside_the_adapter_is_compared_with(
    tmp_path, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    shutil.copytree(tiny_llama_dir, tmp_path / "base")
    record(adapter, "base")
    assert load_pair(adapter).provenance["base"] == str(tmp_path / "base")
    with pytest.raises(InputError, match=OTHER):
        load_pair(another(tmp_path / "other", tiny_tokenizer), adapter)
    load_pair(tiny_llama_dir, adapter)


def test_pickled_bases_decide_nothing_and_it_is_said(
    tmp_path, adapter, tiny_llama_dir, tiny_tokenizer
) -> None:
    own = pickled(tiny_llama_dir, tmp_path / "own")
    other = pickled(another(tmp_path / "safe", tiny_tokenizer), tmp_path / "other")
    record(adapter, own)
    assert require_named_base(adapter, own) is None
    assert "cannot be told" in str(require_named_base(adapter, other))


def test_the_same_weights_in_other_files_are_the_same(tmp_path, adapter, tiny_llama_dir) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    cut = Path(shutil.copytree(tiny_llama_dir, tmp_path / "cut"))
    (cut / "model.safetensors").unlink()
    model.save_pretrained(cut, max_shard_size="30KB")
    assert len(list(cut.glob("*.safetensors"))) > 1
    stray = Path(shutil.copytree(tiny_llama_dir, tmp_path / "stray"))
    save_file({"x": torch.zeros(1)}, stray / "consolidated.safetensors")
    for same in (cut, stray):
        assert same_weights(tiny_llama_dir, same)
        load_pair(same, adapter)


def test_weights_are_compared_to_the_bit(tmp_path, tiny_llama_dir) -> None:
    copy = Path(shutil.copytree(tiny_llama_dir, tmp_path / "copy"))
    held = load_file(copy / "model.safetensors")
    name = next(iter(held))

    def rewritten(tensor: torch.Tensor) -> bool | None:
        save_file({**held, name: tensor}, copy / "model.safetensors", metadata={"format": "pt"})
        return same_weights(tiny_llama_dir, copy)

    assert rewritten(held[name])
    changed = held[name].clone()
    changed.view(-1)[0] += 1e-3
    assert rewritten(changed) is False
    assert rewritten(held[name].to(torch.bfloat16)) is False
    (copy / "model.safetensors").write_bytes(b"damaged")
    assert same_weights(tiny_llama_dir, copy) is None


def test_a_recorded_run_stands_for_the_model_that_it_chose(tmp_path, adapter, tiny_llama_dir) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_llama_dir, run / "lr-0.1")
    (run / "chosen.json").write_text('{"path": "lr-0.1"}')
    record(adapter, run)
    for pair in (load_pair(adapter), load_pair(run, adapter), load_pair(tiny_llama_dir, adapter)):
        assert pair.provenance["copies"] == 1
    (run / "chosen.json").write_text('{"path": "gone"}')
    load_pair(tiny_llama_dir, adapter)


def test_a_directory_that_happens_to_be_called_like_a_model(
    tmp_path, adapter, tiny_llama_dir, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2", "meta/llama-7b"):
        (tmp_path / name).mkdir(parents=True)
        record(adapter, name)
        assert recorded_place(name, adapter) is None
        load_pair(tiny_llama_dir, adapter)
    assert is_hub_id("meta/llama-7b")


def test_a_recorded_name_that_no_file_can_bear(adapter, tiny_llama_dir) -> None:
    record(adapter, "x" * 300)
    with pytest.raises(InputError, match="is no name; correct it"):
        load_pair(tiny_llama_dir, adapter)
