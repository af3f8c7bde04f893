"""Which of a data set's splits to take: the one with most of its facts.

That is the test split of a multiple-choice test such as MMLU, whose other splits are examples, and the train
split of anything else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from finetune.data.loaders import mmlu

_TEST_FIRST = ("test", "validation", "val", "dev", "train", "auxiliary_train")
_TRAIN_FIRST = ("train", "validation", "val", "dev", "test", "auxiliary_train")
_MARK = re.compile(r"(?:^|[._])(auxiliary_train|train|dev|validation|val|test)(?=[.]|-\d+-of-\d+|$)")


def preferred_split(found: Collection[str], columns: Collection[str]) -> str:
    """Return the split to take, of those found; one of an unknown name only if there is no other."""
    order = _TEST_FIRST if mmlu.is_layout(columns) else _TRAIN_FIRST
    return min(found, key=lambda split: order.index(split) if split in order else len(order))


def split_of(path: Path) -> str | None:
    """Return the split that a file's or directory's name says it is (``P17.dev.json``, ``law_test.csv``)."""
    found = _MARK.search(path.name)
    return found[1] if found else None
