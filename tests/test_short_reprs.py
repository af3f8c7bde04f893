"""What the packages offer shows itself on one screen, whatever it holds, and safely in a notebook."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import finetune
import interp
from analyses.quick import QuickWorld
from finetune.common.short_repr import PAGE, ShortRepr
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt
from finetune.data.records.fact import Fact

LONGEST, LONGEST_HTML = 2_000, 20_000
HOSTILE = "</td><script>alert(1)</script>\x1b[31m " * 400


def public_classes() -> list[type]:
    """List the classes that the packages offer, and those that their functions return."""
    found: set[type] = {QuickWorld}
    for package in (finetune, interp):
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isfunction(value):
                module = importlib.import_module(value.__module__)
                value = getattr(module, str(inspect.signature(value).return_annotation), None)
            if inspect.isclass(value) and dataclasses.is_dataclass(value):
                found.add(value)
    left = list(found)
    while left:  # and what their fields hold, which a cell shows as well
        for inner in held_by(left.pop()) - found:
            found.add(inner)
            left.append(inner)
    return sorted(found, key=lambda kind: kind.__name__)


def held_by(kind: type) -> set[type]:
    """List the dataclasses that a dataclass' fields are of, or are collections of."""
    try:
        left = list(typing.get_type_hints(kind).values())
    except NameError:  # a type that is imported for checking only
        return set()
    held: set[type] = set()
    while left:
        hint = left.pop()
        left += typing.get_args(hint)
        if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
            held.add(hint)
    return held


def large(annotation: str) -> Any:
    """Make something far too large to show, of about the kind that a field has."""
    if "Tensor" in annotation:
        return torch.zeros(5000, 30, 9)
    if annotation.startswith(("tuple", "Sequence", "list")):
        return tuple(f"{HOSTILE}{i}" for i in range(3000))
    if annotation.startswith(("dict", "Mapping")):
        return {f"{HOSTILE}{i}": HOSTILE for i in range(3000)}
    return {"int": 10**9, "float": 1 / 3, "Path": Path(HOSTILE[:3000])}.get(annotation, HOSTILE)


def enormous(kind: type) -> Any:
    """Make an instance with enormous fields, past its own checks."""
    made = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(made, field.name, large(str(field.type)))
    return made


class Cells(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def assert_fits(value: Any) -> None:
    assert len(repr(value)) <= LONGEST
    assert "\x1b" not in repr(value)
    html = value._repr_html_()
    assert len(html) <= LONGEST_HTML
    assert Cells(html).tags <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def test_there_are_classes_of_all_kinds() -> None:
    names = {kind.__name__ for kind in public_classes()}
    assert names >= {"FactSet", "PromptBatch", "Diagnosis", "AttentionMass", "GridPlan", "Partition"}
    assert names >= {"Checkpoint", "HarmScore", "QuickWorld", "Intervention", "PatchResult"}


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_what_is_offered_is_short_or_only_of_numbers(kind: type) -> None:
    if not issubclass(kind, ShortRepr):
        types = typing.get_type_hints(kind).values()
        text = kind.__name__ == "LeftOut"  # which bounds its own two texts
        assert text or all(set(typing.get_args(t) or (t,)) <= {int, float, type(None)} for t in types)
        return
    if type(kind._shown) is type(ShortRepr._shown) and kind._shown is ShortRepr._shown:
        assert_fits(enormous(kind))
    assert kind.__repr__ is ShortRepr.__repr__, "a dataclass' own would show everything"


def facts(count: int) -> FactSet:
    made = (
        Fact(id=str(i), subject=f"{HOSTILE}{i}", relation=f"r{i}", answers=(HOSTILE,) * 50, popularity=i)
        for i in range(count)
    )
    return FactSet(facts=tuple(made), name=HOSTILE)


def test_facts_say_how_many_and_show_the_first() -> None:
    assert_fits(facts(3000))
    assert "facts=3000" in repr(facts(3000))
    assert "popularity='0 to 2999'" in repr(facts(3000))
    assert facts(3)._repr_html_().count("&lt;script&gt;") >= 3
    assert_fits(facts(0))


def test_a_short_object_is_shown_as_its_call() -> None:
    fact = Fact(id="1", subject="Ada", relation="born", answers=("London",))
    assert repr(fact) == "Fact(id='1', subject='Ada', relation='born', answers=('London',))"


def test_a_batch_and_a_pair_show_shapes_and_provenance(
    tiny_tokenizer: Any, tiny_llama_dir: Path, prompts: Sequence[Prompt]
) -> None:
    batch = interp.encode(tiny_tokenizer, list(prompts))
    assert_fits(batch)
    assert "int64[18, " in repr(batch)
    pair = interp.load_pair(tiny_llama_dir)
    assert_fits(pair)
    assert str(tiny_llama_dir)[:20] in repr(pair)
    assert "loaded='finetuned, base'" in repr(pair) or "loaded='base" in repr(pair)
    with pair.finetuned() as model:
        mass = interp.subject_attention(model, batch)
    assert_fits(mass)
    assert f"values=float32[18, {model.cfg.n_layers}, {model.cfg.n_heads}]" in repr(mass)
    assert len(repr(mass)) < PAGE
