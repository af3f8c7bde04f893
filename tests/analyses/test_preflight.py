"""All checkpoints of a command are looked at before the first forward pass, and faults are one line."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from finetune.checkpoints import loading as models
from finetune.common.errors import InputError

FACTS = "subject,relation,answer,question,popularity\n" + "".join(
    f"Person {i},born,City {i % 4},Where was Person {i} born?,{i + 1}\n" for i in range(40)
)
TAKING_A_BASE = ("analyses.which_data", "analyses.popularity_splits", "finetune.__main__")


def drop_a_layer(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in state.items() if "layers.1" not in k}, folder / "model.safetensors")


def make_weights_nan(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"][0] = float("nan")
    save_file(state, folder / "model.safetensors")


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(None))


def ask_for_many_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a lost layer": (drop_a_layer, "lack model.layers.1"),
    "pickle": (pickle_weights, "could run code"),
    "layers": (ask_for_many_layers, "more than any model has"),
    "a cut file": (lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 20), "no safetensors file"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text("["), "tokenizer cannot be loaded"),
}


@pytest.fixture
def places(tmp_path, tiny_llama_dir) -> list[Path]:
    """A base and four fine-tuned checkpoints, and facts.csv beside them."""
    (tmp_path / "facts.csv").write_text(FACTS)
    names = ("base", "one", "two", "three", "four")
    return [Path(shutil.copytree(tiny_llama_dir, tmp_path / name)) for name in names]


@pytest.fixture
def unasked(monkeypatch) -> None:
    """Let any model that is loaded fail the test."""

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded before all were looked at")

    monkeypatch.setattr(models, "load_weights", load)
    monkeypatch.setattr("finetune.checkpoints.loading.load_weights", load)


def said(module: str, arguments: list[object], monkeypatch, capsys) -> str:
    """Run a command that is to fail and return its one line."""
    from importlib import import_module

    monkeypatch.setattr(sys, "argv", [module, *map(str, arguments)])
    main = import_module(module).main
    assert main() == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert "allow_pickle" not in error
    return error


def commands(places: list[Path]) -> dict[str, list[object]]:
    base, *tuned = places
    facts = base.parent / "facts.csv"
    own = ["--facts", facts, "--base", base, "--finetuned", *(f"{p.name}={p}" for p in tuned), "--quiet"]
    out = ["--out", base.parent / "run"]
    return {
        "analyses.attention_imbalance": [*own, *out],
        "analyses.stored_or_suppressed": [*own, *out],
        "analyses.which_data": ["--facts", facts, "--base", base, "--out", base.parent / "chosen.csv"],
        "analyses.popularity_splits": ["--facts", facts, "--base", base, *out],
        "analyses.popularity_proxies": ["--facts", facts, "--base", base, *out],
        "finetune.__main__": ["--facts", facts, "--base", base, *out],
    }


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["analyses.attention_imbalance", "analyses.stored_or_suppressed"])
def test_the_last_checkpoints_fault_is_found_first(places, command, fault, monkeypatch, capsys) -> None:
    spoil, match = FAULTS[fault]
    spoil(places[-1])
    error = said(command, commands(places)[command], monkeypatch, capsys)
    assert match in error
    assert str(places[-1]) in error
    assert not (places[0].parent / "run").exists()


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", TAKING_A_BASE)
def test_a_bases_fault_is_found_by_every_command(places, command, fault, monkeypatch, capsys) -> None:
    spoil, match = FAULTS[fault]
    spoil(places[0])
    error = said(command, commands(places)[command], monkeypatch, capsys)
    assert match in error
    assert str(places[0]) in error
    assert not (places[0].parent / "run").exists()
    assert not (places[0].parent / "chosen.csv").exists()


@pytest.mark.usefixtures("unasked")
def test_an_adapter_as_base_asks_no_network(places, tiny_adapter_dir, tmp_path, monkeypatch, capsys) -> None:
    adapter = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "evil/base"}))
    arguments = commands([adapter, *places[1:]])["analyses.which_data"]
    assert "not on this machine; give the base" in said("analyses.which_data", arguments, monkeypatch, capsys)


def test_an_adapter_is_no_base_of_others(places, tiny_adapter_dir) -> None:
    from interp.models.preflight import require_measurable

    with pytest.raises(InputError, match="is an adapter; name a whole model as the base"):
        require_measurable(tiny_adapter_dir, [places[1]])


@pytest.mark.parametrize("spoil", ["cut", "empty", "pickled", "gone"])
def test_adapters_are_looked_at(places, tiny_adapter_dir, tmp_path, spoil) -> None:
    from interp.models.preflight import require_measurable

    adapter = Path(shutil.copytree(tiny_adapter_dir, tmp_path / "adapter"))
    require_measurable(places[0], [places[1], adapter])
    file = adapter / "adapter_model.safetensors"
    if spoil == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif spoil == "empty":
        save_file({}, file)
    else:
        file.unlink()
    if spoil == "pickled":
        (adapter / "adapter_model.bin").write_bytes(pickle.dumps(None))
    with pytest.raises(InputError, match=r"cut short|no tensors|pickled|no adapter_model") as error:
        require_measurable(places[0], [places[1], adapter])
    assert "\n" not in str(error.value)


def test_nan_weights_are_told_by_a_command(places, monkeypatch, capsys) -> None:
    make_weights_nan(places[0])
    error = said(
        "analyses.which_data", [*commands(places)["analyses.which_data"], "--quiet"], monkeypatch, capsys
    )
    assert "model.norm.weight (1 in all) is not finite" in error
