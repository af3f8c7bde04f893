"""Names that become file names are names and no paths, and one rule says which."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.common.grid_cells import GridCell
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions as SplitOptions
from finetune.common.errors import InputError
from finetune.common.names import as_file_name, require_different, require_name

BAD = (
    *(
        "",
        " ",
        ".",
        "..",
        "../x",
        "/tmp/x",
        "a/b",
        "a\\b",
        "a\nb",
        "a\x1b[31m",
        "x" * 300,
        "é" * 60,
        ".hidden",
    ),
    *(
        "CON",
        "nul.txt",
        "com1",
        "LPT¹",
        "a:b",
        "a*",
        "a?",
        "a|b",
        "<a>",
        '"a"',
        "a,b",
        "a=b",
        "a.",
        " a",
        "a ",
    ),
    *("~", "~root", "-rf", "a\u202eb", "a\u200bb", "\ufeffa", "a\u2028b", "a\x00b", "\ud800", "\t"),
)
GOOD = ("top", "checkpoint-100", "lr 0.1", "Zoë", "模型", "a+b", "model (v2)", "x" * 80, "console", "v1.2_x")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_is_none_is_refused_in_one_clean_line(name):
    with pytest.raises(InputError) as refused:
        require_name(name, "--finetuned")
    message = str(refused.value)
    assert "write NAME=PATH" in message
    assert len(message) < 300
    assert message.isprintable()


@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_taken_as_it_is(name, tmp_path):
    assert require_name(name, "--finetuned") == name
    (tmp_path / f"{name}.parquet").touch()


@given(st.text(max_size=90))
def test_whatever_is_taken_names_one_file_in_its_directory(name):
    try:
        require_name(name, "--x")
    except InputError:
        return
    path = Path("/home") / name
    assert path.parent == Path("/home")
    assert path.name == name
    assert len(name.encode()) <= 80


@given(st.text(max_size=400))
def test_any_text_can_be_made_a_file_name(text):
    made = as_file_name(text)
    assert Path("/home", made).parent == Path("/home")
    assert 0 < len(made.encode()) <= 201
    assert made not in (".", "..")


def test_names_that_a_file_system_takes_for_one_are_two_of_a_kind():
    require_different(["top", "bottom"], "--x", remedy="r")
    for pair in (("top", "top"), ("Top", "top"), ("e\u0301", "\u00e9")):
        with pytest.raises(InputError, match="two are called"):
            require_different(pair, "--x", remedy="r")


@pytest.mark.parametrize(
    "entry",
    [
        "../x=dir",
        "/tmp/x=dir",
        "a/b=dir",
        ".=dir",
        "..=dir",
        "a\nb=dir",
        f"{'x' * 300}=dir",
        "..",
        "Base=dir",
    ],
)
def test_the_commands_refuse_them_before_anything_is_written(entry):
    with pytest.raises(InputError, match="--finetuned"):
        AttentionImbalanceOptions(base="b", finetuned=(entry,), facts="f").check()
    if entry != "Base=dir":
        for given in ({"facts": (entry,)}, {"base": (entry,), "facts": ("popqa",)}):
            with pytest.raises(InputError, match=f"--{next(iter(given))}"):
                SplitOptions(**given).check()


def test_a_cell_s_directory_is_one_part_of_a_path():
    cell = GridCell.of(
        0, dataset="x" * 80, model="y" * 80, method="lora", arm="bottom", fraction=0.3, rate=0.0003
    )
    assert len(cell.key.encode()) <= 255
    assert Path(GridCell.of(1, arm="../a b").key).name == "arm=.._a_b,seed=1"
