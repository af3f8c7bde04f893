"""Session-wide fixtures: a tokenizer trained in-process, tiny checkpoints on disk, and prompts."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.data.prompts import Prompt
from tests import architectures, tokenizer_families

SUBJECTS = ("Marie Curie", "Ada", "George Rankin", "Zoë Québec", "O'Neill", "东京 Tower")
FORMS = {"born": "{} was born in", "job": "What is the occupation of {}?", "quoted": 'The work "{}" is by'}


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "try everything on real models, and write the table of docs/real_models.md"
    parser.addoption("--write-real", action="store_true", help=told)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run whole jobs first and parts of one last: workers that take a file at a time then end together."""
    items.sort(key=lambda item: item.nodeid.startswith(("tests/finetune/", "tests/interp/")))


def pytest_collection_finish() -> None:
    """Exempt what imports left from garbage collection: every training collects twice, for a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def without_power_cuts() -> Iterator[None]:
    """Let nothing wait for the disk: what tests write must outlast processes that die, but no power cut."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """Three forms over six subjects: at the start, at the end, in quotes; not only ASCII."""
    return [
        Prompt(
            text=form.format(subject),
            subject=(form.index("{}"), form.index("{}") + len(subject)),
            answers=("Paris",),
            fact_id=f"{relation}{i}",
            relation=relation,
        )
        for relation, form in FORMS.items()
        for i, subject in enumerate(SUBJECTS)
    ]


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Byte-level BPE with BOS in front; saved and loaded again, as TransformerLens needs it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    return tokenizer_families.build("byte_level_bpe", folder, bos=True)


@pytest.fixture(scope="session")
def tiny_model(
    tiny_tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Save a tiny model of the architecture asked for, with its tokenizer, and return its directory."""
    made: dict[str, Path] = {}

    def save(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            architectures.build(name, len(tiny_tokenizer)).save_pretrained(made[name])
            tiny_tokenizer.save_pretrained(made[name])
        return made[name]

    return save


@pytest.fixture(scope="session")
def tiny_llama_dir(tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="session")
def save_adapter(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Put a LoRA with non-zero weights on a checkpoint's linear layers; return the adapter's directory."""

    def save(
        base: Path, *, targets: str | Sequence[str] = "all-linear", seed: int = 0, **lora: object
    ) -> Path:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base)
        config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **lora)
        adapted = get_peft_model(model, config)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:  # starts at zero, which would make the adapter a no-op
                    parameter.normal_(std=0.2)
                elif parameter.requires_grad and name.endswith("bias"):
                    parameter += 0.2
        folder = tmp_path_factory.mktemp("adapter")
        adapted.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_adapter_dir(tiny_llama_dir: Path, save_adapter: Callable[..., Path]) -> Path:
    return save_adapter(tiny_llama_dir)
