"""Whether a preparation of popularity_splits is whole: its files as written, and the base made here."""

from __future__ import annotations

from pathlib import Path

from analyses.common.checkpoints import read_facts
from finetune.common.checksums import recorded_state, sealed_state
from finetune.common.files import read_json

FILES = ("facts.parquet", "partition.json", "base.json", "phrasebook.json", "left_out.json", "known.json")


def is_prepared(home: Path, *, made_here: bool) -> bool:
    """Whether all files of a preparation are as they were written, and the base that was made here, too."""
    if not (home / "known.json").is_file():
        return False
    # A run that an older program began has no phrasebook.
    names = [name for name in FILES if name != "phrasebook.json" or (home / name).is_file()]
    states = {recorded_state(home / name) for name in names}
    try:
        base = Path(read_json(home / "base.json")["base"])
        if "unrecorded" in states:
            read_facts(home / "facts.parquet", home.name)
            _ = [read_json(home / name) for name in names if name.endswith(".json")]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return states <= {"whole", "unrecorded"} and (not made_here or sealed_state(base, strict=True) == "whole")
