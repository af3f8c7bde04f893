"""Files are whole or absent after a kill, a full disk or a power cut, and what a kill left is swept."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from finetune.common import files
from finetune.common import temporary_files as temporary
from finetune.common.files import atomic_directory, atomic_file, write_json
from finetune.common.temporary_files import is_temporary, sweep, temporary_path


@pytest.fixture(autouse=True)
def _looked_at_anew(monkeypatch):
    monkeypatch.setattr(temporary, "_swept", set())


def killed(work):
    """Do some work in a process that is killed in the middle of it."""
    child = os.fork()
    if child == 0:
        work(lambda: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def half_a_file(path):
    def work(die):
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            die()

    return work


def half_a_directory(path):
    def work(die):
        with atomic_directory(path) as temporary:
            (temporary / "a").write_text("half")
            die()

    return work


def test_what_a_killed_process_left_is_swept_by_the_next_that_writes_there(tmp_path):
    write_json(tmp_path / "a.json", "old")
    killed(half_a_file(tmp_path / "a.json"))
    killed(half_a_directory(tmp_path / "d"))
    (tmp_path / ".mine.tmp").write_text("a file of the user's")
    left = [path.name for path in tmp_path.iterdir() if is_temporary(path.name)]
    assert len(left) == 2
    assert (tmp_path / "a.json").read_text() == '"old"\n'
    temporary._swept.clear()
    write_json(tmp_path / "b.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json", ".mine.tmp"}


def test_what_a_living_process_writes_is_left_to_it(tmp_path):
    with atomic_file(tmp_path / "a.json") as path:
        path.write_text("half")
        sweep(tmp_path, again=True)
        assert path.exists()
        path.write_text("whole")
    assert (tmp_path / "a.json").read_text() == "whole"


def test_a_number_that_another_process_took_over_is_no_owner(tmp_path):
    begun = int(psutil.Process().create_time())
    mine = temporary_path(tmp_path / "a.json")
    mine.write_text("")
    other = mine.with_name(mine.name.replace(f"-{begun}-", f"-{begun - 500}-"))
    other.write_text("")
    foreign, stale = (
        mine.with_name(mine.name.replace(temporary._host(), host)) for host in ("0" * 8, "f" * 8)
    )
    for path in (foreign, stale):
        path.write_text("")
    day = time.time() - 2 * temporary.FOREIGN
    os.utime(stale, (day, day))
    sweep(tmp_path, again=True)
    assert set(tmp_path.iterdir()) == {mine, foreign}


def test_names_are_short_enough_and_keep_their_suffix(tmp_path):
    for name in ("é" * 120 + ".parquet", "a" * 240, "x.csv", ".hidden"):
        with atomic_file(tmp_path / name) as path:
            assert path.suffix == (tmp_path / name).suffix or not (tmp_path / name).suffix
            path.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_directory_is_there_at_every_moment_of_its_replacement(tmp_path, monkeypatch, can_swap):
    if not can_swap:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    path = tmp_path / "d"
    for text in ("old", "new"):
        with atomic_directory(path) as folder:
            (folder / "a").write_text(text)
            (folder / text).write_text("")
    assert {p.name for p in path.iterdir()} == {"a", "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_kill_between_old_and_new_brings_the_old_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    path = tmp_path / "d"
    with atomic_directory(path) as folder:
        (folder / "a").write_text("old")

    def work(die):
        replace = type(path).replace

        def dying(self, target):
            if target == path:
                die()
            return replace(self, target)

        monkeypatch.setattr(type(path), "replace", dying)
        with atomic_directory(path) as folder:
            (folder / "a").write_text("new")

    killed(work)
    assert not path.exists()
    sweep(tmp_path, again=True)
    assert (path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_contents_are_synced_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, type(tmp_path).replace

    def synced(handle):
        done.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def replaced(self, target):
        done.append(("rename", str(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(type(tmp_path), "replace", replaced)
    write_json(tmp_path / "a.json", 1)
    (_, first), second, third = done
    assert is_temporary(first.rsplit("/", 1)[1])
    assert (second, third) == (("rename", str(tmp_path / "a.json")), ("sync", str(tmp_path)))
    done.clear()
    with atomic_directory(tmp_path / "d") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")
    at = [what for what, _ in done].index("rename")
    assert [where.rsplit("/", 1)[1] for _, where in done[:at]][:2] == ["a", "inner"]
    assert done[at + 1] == ("sync", str(tmp_path))


@pytest.mark.parametrize("at", ["write", "fsync"])
def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(tmp_path, monkeypatch, at):
    write_json(tmp_path / "a.json", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    if at == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(type(tmp_path), "write_text", lambda *_, **__: full())
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "a.json", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.json").read_text() == '"old"\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
