"""PopQA (Mallen et al. 2023, arXiv 2212.10511): 16 relations, with each subject's monthly page views."""

from __future__ import annotations

from finetune.facts import Fact, InputError
from finetune.sources.cells import answers, distinct, number, several, text
from finetune.sources.rows import Row, Table
from finetune.sources.table import question_naming

HUB_ID = "akariasai/PopQA"
COLUMNS = ("id", "subj", "prop", "obj", "s_pop", "question", "possible_answers")


def from_hub() -> Table:
    """Fetch the hub's data set.

    Raises:
        InputError: the hub cannot be reached, and no copy is in the cache.
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(HUB_ID, split="test")
    except OSError as error:
        raise InputError(
            f"popqa: the hub's data set {HUB_ID} cannot be loaded ({type(error).__name__}); "
            "connect to the network, or give a file of it (--facts popqa.tsv)"
        ) from error
    numbered = tuple(Row(where=f"popqa row {i}", cells=cells) for i, cells in enumerate(rows, start=1))
    return Table(name="popqa", columns=tuple(rows.column_names), rows=numbered)


def to_fact(row: Row) -> Fact:
    """Read one row; the answer is ``obj``, the other possible answers are its aliases."""
    cells = row.cells
    subject = text(cells.get("subj"), "subj")
    possible = answers(several(cells.get("possible_answers"), "possible_answers"))
    return Fact(
        id=text(cells.get("id"), "id"),
        subject=subject,
        relation=text(cells.get("prop"), "prop"),
        answers=distinct((text(cells.get("obj"), "obj"), *possible)),
        question=question_naming(subject, text(cells.get("question"), "question")),
        popularity=number(cells.get("s_pop"), "s_pop"),
    )
