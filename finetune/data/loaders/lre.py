"""LRE's relation files (Hernandez et al. 2024, arXiv 2308.09124): one relation each, with its own templates.

``{"name": "landmark in country", "prompt_templates": ["{} is in the country of"], "prompt_templates_zs":
["What country is {} in? It is in"], "samples": [{"subject": "Bastille", "object": "France"}]}``. Templates
stop where the answer begins, so that they are the relation's statements; of one that asks first, the question
is what fine-tuning asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.data.loaders.records import Row, Table, table_of
from finetune.data.loaders.scalars import text_of_scalar
from finetune.data.records.subject_position import SLOT
from finetune.data.records.wording import Wording

SAMPLES = "samples"
_TEMPLATES = ("prompt_templates", "prompt_templates_zs")


def is_layout(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a relation with samples."""
    return isinstance(value.get(SAMPLES), list) and not value.keys().isdisjoint(("name", *_TEMPLATES))


def table(path: Path, value: Mapping[str, Any], rows: list[Row], columns: Mapping[str, str] | None) -> Table:
    """Make a table of a relation's samples; an ``object`` is the answer.

    Args:
        path: the file.
        value: the relation's object.
        rows: its samples.
        columns: what the file calls its columns, by their names here.

    Raises:
        InputError: a template without the one place for its subject.
    """
    found = {column for row in rows for column in row.cells}
    usual = {"answer": "object"} if "object" in found and not found & {"answer", "answers"} else {}
    given = [_templates(path, name, value.get(name)) for name in _TEMPLATES]
    relation = (text_of_scalar(value["name"]) if isinstance(value.get("name"), str) else "") or path.stem
    for i, row in enumerate(rows):
        if not row.problem and "relation" not in found:
            rows[i] = replace(row, cells={**row.cells, "relation": relation})
    made = table_of(path.name, rows, {**usual, **(columns or {})}, path=path)
    # The rows are as those of one's own table, so that they can be written without what is said of all.
    return replace(made, headers={}, nested=True, relation=relation, wording=wording(*given))


def wording(templates: list[str], asking: list[str]) -> Wording | None:
    """Make a relation's wording of its templates: the question that is asked, statements, other questions."""
    every = list(dict.fromkeys((*templates, *asking)))
    asks = {form: form[: form.rindex("?") + 1] for form in every if SLOT in form[: form.rfind("?") + 1]}
    statements = [form for form in every if form not in asks] or list(asks)[:1]
    if not statements:
        return None
    question = next(iter(asks.values()), f"{statements[0]} what?")
    others = [form for form, asked in asks.items() if asked != question and form not in statements]
    return question, tuple(statements), tuple(others or [f"How does this go on? {statements[0]}"])


def _templates(path: Path, name: str, given: Any) -> list[str]:
    given = [given] if isinstance(given, str) else given or []
    for template in given if isinstance(given, list) else [given]:
        if not isinstance(template, str) or template.count("{}") != 1 or SLOT in template:
            raise InputError(
                f"{path}: {name} holds {quote(template)}; write {{}} once, where the subject belongs"
            )
    return [text_of_scalar(template.replace("{}", SLOT)) for template in given]
