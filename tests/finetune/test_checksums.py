"""A file or directory that is not as it was written is made again, with a notice, and never read."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pandas as pd
import pytest

from finetune.common import checksums
from finetune.common.checksums import (
    RECORD,
    cached_files,
    cached_frame,
    cached_json,
    read_records,
    recorded_state,
    seal,
    sealed_state,
)
from finetune.common.files import SEAL, content_hash
from finetune.common.progress import Notice


def flip(path):
    """Change one bit in the middle of a file, whose size stays the same."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


DAMAGE = {"a flipped bit": flip, "truncated": truncate, "empty": empty}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_damaged_stage_file_is_made_again_with_a_notice(tmp_path, kind, damage):
    path, made = tmp_path / f"stage.{kind}", []

    def get():
        def make():
            made.append(1)
            return [1, 2, 3] if kind == "json" else pd.DataFrame({"a": [1, 2, 3]})

        held = (cached_json if kind == "json" else cached_frame)(path, make)
        return held if kind == "json" else held["a"].tolist()

    assert get() == get() == [1, 2, 3]
    assert len(made) == 1
    DAMAGE[damage](path)
    with pytest.warns(Notice, match="is not as it was written; it is made again"):
        assert get() == [1, 2, 3]
    path.unlink()
    assert get() == [1, 2, 3]
    assert len(made) == 3


def test_an_older_version_s_file_is_used_with_a_notice_unless_it_cannot_be_read(tmp_path):
    path = tmp_path / "stage.json"
    path.write_text("[1]")
    with pytest.warns(Notice, match="cannot be verified"):
        assert cached_json(path, lambda: [2]) == [1]
    path.write_text("[1")
    with pytest.warns(Notice, match="cannot be read"):
        assert cached_json(path, lambda: [2]) == [2]
    assert recorded_state(path) == "whole"


def test_files_that_belong_together_are_made_together(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    made = []

    def write(a, b):
        made.append(1)
        a.write_text("1")
        b.write_text("2")

    def get():
        return cached_files([one, two], write, lambda: one.read_text() + two.read_text())

    assert get() == get() == "12"
    two.unlink()
    assert get() == "12"
    assert len(made) == 2


def test_a_kill_between_record_and_file_makes_the_file_again(tmp_path):
    path = tmp_path / "stage.json"
    assert cached_json(path, lambda: "old") == "old"
    child = os.fork()
    if child == 0:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        checksums.write_recorded_json(path, "a longer new one")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert path.read_text() == '"old"\n'
    with pytest.warns(Notice, match="made again"):
        assert cached_json(path, lambda: "new") == "new"


def test_a_line_that_a_kill_cut_off_hides_no_other(tmp_path):
    cached_json(tmp_path / "a.json", lambda: 1)
    with (tmp_path / RECORD).open("a") as file:
        file.write('{"file": "b.json", "si')
    cached_json(tmp_path / "c.json", lambda: 3)
    assert set(read_records(tmp_path)) == {"a.json", "c.json"}
    before = (tmp_path / RECORD).read_bytes()
    (tmp_path / "a.json").unlink()
    cached_json(tmp_path / "a.json", lambda: 1)
    assert (tmp_path / RECORD).read_bytes() == before, "the same content is not recorded twice"


@pytest.fixture
def sealed(tmp_path):
    home = tmp_path / "model"
    (home / "inner").mkdir(parents=True)
    (home / "config.json").write_text('{"a": 1}')
    (home / "inner" / "weights").write_bytes(bytes(range(256)))
    seal(home)
    return home


def test_a_sealed_directory_knows_every_file(sealed):
    assert sealed_state(sealed, strict=True) == "whole"
    for damage in DAMAGE.values():
        kept = (sealed / "inner" / "weights").read_bytes()
        damage(sealed / "inner" / "weights")
        assert sealed_state(sealed) == "damaged"
        (sealed / "inner" / "weights").write_bytes(kept)
        assert sealed_state(sealed) == "whole"
    (sealed / "notes.txt").write_text("mine")
    assert sealed_state(sealed) == "whole"
    assert sealed_state(sealed, strict=True) == "damaged"
    (sealed / "config.json").unlink()
    assert sealed_state(sealed) == "damaged"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"config.json": 1}}'])
def test_a_damaged_seal_is_damage(sealed, text):
    (sealed / SEAL).write_text(text)
    assert sealed_state(sealed) == "damaged"


def test_a_seal_changes_no_identity_and_may_be_moved(sealed, tmp_path):
    before = content_hash(sealed)
    (sealed / SEAL).unlink()
    assert content_hash(sealed) == before
    assert sealed_state(sealed) == "unrecorded"
    seal(sealed)
    shutil.copytree(sealed, tmp_path / "copy" / "model")
    assert sealed_state(tmp_path / "copy" / "model", strict=True) == "whole"
    assert json.loads((sealed / SEAL).read_text())["files"].keys() == {"config.json", "inner/weights"}


def test_large_files_are_hashed_once_a_process_and_again_when_they_change(tmp_path, monkeypatch):
    path, hashed = tmp_path / "large", []
    path.write_bytes(b"a" * (1 << 20))
    digest = checksums.hashlib.file_digest
    monkeypatch.setattr(checksums.hashlib, "file_digest", lambda *a: hashed.append(1) or digest(*a))
    first = checksums.sha256(path)
    assert checksums.sha256(path) == first
    assert len(hashed) == 1
    path.write_bytes(b"b" * (1 << 20))
    os.utime(path, (1, 1))
    assert checksums.sha256(path) != first
