"""The front door: names that come when asked for, and functions that modules of their name do not hide."""

from __future__ import annotations

import subprocess
import sys

import pytest

import interp


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, interp; print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    assert _run(code) == "set()"


def test_every_name_is_there_and_is_not_a_module() -> None:
    assert len(interp.__all__) > 30
    for name in interp.__all__:
        assert callable(getattr(interp, name)), name


@pytest.mark.parametrize("name", ["report"])
def test_a_module_of_the_same_name_does_not_hide_the_function(name: str) -> None:
    code = f"from interp.{name} import {name} as direct; from interp import {name}; print({name} is direct)"
    assert _run(code) == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute attenton"):
        _ = interp.attenton
