"""The hub: any public data set by its id, and one line with a remedy for whatever it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from finetune import FactSet, InputError
from finetune.checkpoints.loading import load_tokenizer, load_weights

ROWS = [{"subject": "Oslo", "relation": "country", "answer": "Norway"}]
LOGIN = r"hf auth login.*HF_TOKEN"

LOAD = "finetune.data.loaders.hub_data_sets.load_dataset"


def answered(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


def gated() -> Exception:
    return GatedRepoError("403 Client Error.\nAccess to it is restricted.", response=answered(403))


def missing() -> Exception:
    return RepositoryNotFoundError("401 Client Error.\nNot Found.", response=answered(401))


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def refused(load: Callable[[], object]) -> str:
    with pytest.raises(InputError) as refusal:
        load()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no network whether there is one."""
    monkeypatch.setattr("finetune.common.hub.hub_reached", lambda: True)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_any_data_set_of_the_hub_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None) -> datasets.DatasetDict:
        asked.append((name, config))
        parts = {"test": ROWS * 3, "train": [*ROWS, {**ROWS[0], "subject": "Lima", "answer": ""}, *ROWS]}
        return datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})

    monkeypatch.setattr(LOAD, load_dataset)
    facts = FactSet.load("owner/some.set:fr")
    assert [(fact.subject, fact.answer) for fact in facts] == [("Oslo", "Norway")]
    assert facts.name == "owner/some.set:fr"
    assert {left.where: left.reason for left in facts.left_out} == {
        "owner/some.set:fr, split test": "3 rows were not loaded; train is the split taken",
        "owner/some.set:fr row 2": "empty answer list",
        "owner/some.set:fr row 3": "duplicate of owner/some.set:fr row 1",
    }
    FactSet.load("owner/some.set")
    assert asked == [("owner/some.set", "fr"), ("owner/some.set", None)]


def test_what_is_there_or_has_a_files_extension_is_never_asked_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "finetune.data.loaders.hub_data_sets.load_dataset", failing(AssertionError("asked the hub"))
    )
    monkeypatch.chdir(tmp_path)
    for source in ("owner/facts.csv", tmp_path / "owner/name", "facts", "./owner/name"):
        assert "no such file" in refused(lambda source=source: FactSet.load(source))
    Path("owner/name").mkdir(parents=True)
    Path("owner/name/t.csv").write_text("subject,answer\nOslo,Norway\n")
    assert len(FactSet.load("owner/name")) == 1
    Path("owner/name").rename("mmlu")
    assert len(FactSet.load("./mmlu")) == len(FactSet.load(Path("mmlu"))) == 1
    with pytest.raises(AssertionError, match="asked the hub"):  # by its name it is always the hub's
        FactSet.load("mmlu")


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (wrapped(DatasetNotFoundError("Dataset 'o/n' is a gated dataset on the Hub."), gated()), "is gated"),
        (DatasetNotFoundError("Dataset 'o/n' is a gated dataset on the Hub. Visit the page."), "is gated"),
        (wrapped(DatasetNotFoundError("Dataset 'o/n' doesn't exist on the Hub."), missing()), "no such data"),
        (
            wrapped(DatasetNotFoundError("Dataset 'o/gated' doesn't exist on the Hub."), missing()),
            "no such data",
        ),
        (wrapped(ConnectionError("x"), HfHubHTTPError("403", response=answered(403))), "needs a login"),
    ],
)
def test_a_data_set_that_is_gated_or_missing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(LOAD, failing(error))
    message = refused(lambda: FactSet.load("o/n"))
    assert message.startswith("o/n: ")
    assert said in message
    assert "hf auth login" in message
    assert ("https://huggingface.co/datasets/o/n" in message) == ("gated" in said)


def test_a_missing_configuration_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("Config name is missing.\nPlease pick one: ['law', 'all']\nExample of usage:\n\t`x`")
    monkeypatch.setattr(LOAD, failing(error))
    message = refused(lambda: FactSet.load("o/n"))
    assert "['law', 'all']" in message
    assert "write o/n:CONFIG" in message
    monkeypatch.setattr(
        "finetune.data.loaders.hub_data_sets.load_dataset",
        failing(ValueError("BuilderConfig 'lwa' not found.")),
    )
    assert "'lwa' not found" in refused(lambda: FactSet.load("mmlu:lwa"))


@pytest.mark.parametrize("source", ["popqa", "mmlu", "o/n"])
def test_no_network_is_told_from_a_hub_switched_off(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    cause = LocalEntryNotFoundError("not in the cache")
    monkeypatch.setattr(
        "finetune.data.loaders.hub_data_sets.load_dataset", failing(wrapped(ConnectionError("no"), cause))
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "switched off by HF_HUB_OFFLINE=1; unset it, or" in refused(lambda: FactSet.load(source))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert "connect to the network, or" in refused(lambda: FactSet.load(source))


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (gated(), rf"o/gated-7b: this model is gated; .*https://huggingface\.co/o/gated-7b, .*{LOGIN}"),
        (wrapped(OSError("You are trying to access a gated repo.\nMake sure"), gated()), "is gated"),
        (wrapped(OSError("is not a local folder\nIf this is"), missing()), rf"no such model.*{LOGIN}"),
        (
            OSError("We couldn't connect to the Hub\nto load"),
            "did not give it; check the hub id",
        ),
    ],
)
@pytest.mark.parametrize(
    ("asks", "load"),
    [
        ("transformers.AutoTokenizer.from_pretrained", load_tokenizer),
        ("finetune.checkpoints.inspection.cached_file", load_weights),
    ],
)
def test_a_model_that_is_gated_or_missing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, asks: str, load: Callable[[str], object]
) -> None:
    monkeypatch.setattr(asks, failing(error))
    with pytest.raises(InputError, match=said) as refusal:
        load("o/gated-7b")
    assert "\n" not in str(refusal.value)
