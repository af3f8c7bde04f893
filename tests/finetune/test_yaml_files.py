"""YAML that people give: plain values are read as they look, and whatever grows, runs or hangs is refused."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.common.errors import InputError
from finetune.common.messages import without_controls
from finetune.common.text_files import read_text, require_regular
from finetune.common.yaml_files import load_yaml

DRAWS = int(os.environ.get("FACTSCOPE_FUZZ_DRAWS", "100"))
BOMB = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


def loaded(path: Path, text: str | bytes) -> object:
    file = path / "options.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_yaml(file)


def test_scalars_are_what_stands_in_the_file(tmp_path: Path) -> None:
    text = "no: off\n010: 010\n2001-01-01: 1e-3\n'a': 'null'\nb:\nc: ~\nd: [1, {e: 'x # y'}]\n!!str f: 3\n"
    told = {
        "no": "off",
        "010": "010",
        "2001-01-01": "1e-3",
        "a": "null",
        "b": None,
        "c": None,
        "d": ["1", {"e": "x # y"}],
        "f": "3",
    }
    assert loaded(tmp_path, text) == told
    assert loaded(tmp_path, "\ufeffa: |\n  x\n  y\n") == {"a": "x\ny\n"}
    assert loaded(tmp_path, "# nothing\n") is None
    assert loaded(tmp_path, "- a\n- b\n") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, r"options\.yaml:2: refers to \*a"),
        ("a: &a {b: *a}\n", r":1: refers to \*a"),
        ("base: &b {x: 1}\nmine:\n  <<: *b\n", r":3: merges another mapping"),
        ("rank: 8\nrank: 16\n", ":2: key 'rank' occurs twice"),
        ("a: {b: 1, 'b': 2}\n", ":1: key 'b' occurs twice"),
        ("a: " + "[" * 10**5, ":1: is nested more than 20 deep"),
        ("".join(" " * i + "a:\n" for i in range(500)), ":21: is nested more than 20 deep"),
        ("a: !!python/object/apply:os.system [x]\n", r":1: has the tag .*python"),
        ("a: !mine x\n", ":1: has the tag !mine"),
        ("a: 1\n---\nb: 2\n", ":2: begins a second document"),
        ("? [a]\n: 1\n", ":1: has a list or a mapping as a key"),
        ("a: [1\n", "is not YAML .*; write one option a line"),
        ("a: 'x\n", "is not YAML"),
        ("\ta: 1\n", ":1: is not YAML"),
        (b"a: \x1b[31m\n", "is not YAML"),
        (b"a: \xff\n", ":1: is not UTF-8"),
        ("a: 1".encode("utf-16"), "is UTF-16 or UTF-32, not UTF-8"),
        (b"#" * (9 << 20), "has more than 8 MiB"),
    ],
)
def test_what_has_no_place_in_a_file_of_options_is_one_line_at_once(
    text: str | bytes, told: str, tmp_path: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=told) as raised:
        loaded(tmp_path, text)
    assert time.monotonic() - start < 2
    assert without_controls(str(raised.value), "?") == str(raised.value)


def test_pipes_sockets_devices_and_directories_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    served = socket.socket(socket.AF_UNIX)
    served.bind(str(tmp_path / "s"))
    for path, told in (
        (tmp_path / "pipe.yaml", "is a pipe; name a file"),
        (tmp_path / "link.yaml", "is a pipe; name a file"),
        (tmp_path / "s", "is a socket; name a file"),
        (tmp_path, "is a directory; name a file"),
        (Path("/dev/zero"), "is a device; name a file"),
        (tmp_path / "loop.yaml", "cannot be read"),
        (tmp_path / "none.yaml", "cannot be read"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (Path("a\0b"), "cannot be read"),
    ):
        for read in (load_yaml, read_text, require_regular):
            with pytest.raises(InputError, match=told):
                read(path)
    served.close()


TEXT = st.text("ab:-[]{}&*!<?|>'\"#% \n\t,01~éx", max_size=40)


@settings(
    max_examples=DRAWS, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(text=st.one_of(TEXT, TEXT.map(lambda text: f"a: {text}"), st.binary(max_size=30)))
def test_anything_is_read_as_text_or_refused_in_one_line(text: str | bytes, tmp_path: Path) -> None:
    try:
        value = loaded(tmp_path, text)
    except InputError as error:
        assert without_controls(str(error), "?") == str(error)  # noqa: PT017 (both ways out are right)
        return
    # What we read, PyYAML reads alike where it keeps scalars as text.
    wanted = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # type: ignore[arg-type]
    assert _same(value, wanted)


def _same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return ours == theirs or (ours is None and theirs in ("", "~", "null", "Null", "NULL", None))
