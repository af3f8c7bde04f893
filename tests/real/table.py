"""The table of docs/real_models.md: what the tests found, kept in real_models.json beside it."""

from __future__ import annotations

import json
from pathlib import Path

from finetune.common.files import write_json
from finetune.common.markdown import replace_between

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RESULTS = DOCS / "real_models.md", DOCS / "real_models.json"
BEGIN, END = "<!-- written by the tests -->\n\n", "\n<!-- end -->\n"
SIDES, DTYPES = ("base", "lora", "full"), ("float32", "bfloat16")
FEATURES = {
    "log p of the next token": "log p of the likeliest next token, nats from transformers' and PEFT's",
    "subject attention": "subject attention, from transformers' patterns",
    "value readout": "value readout, from recall's extraction, logits",
    "recall's parts": "recall's parts added up, from the logit difference, logits",
    "knock-out of the subject": "knock-out of the subject, from a masked pass of transformers, nats",
    "training": "training: log p of its answers gained in three steps, nats",
    "the main job": "the main job, beside its base",
    "known, elicited": "what the base knows of it, elicited",
    "verdict": "a verdict",
}
COMPARED = ("training", "the main job", "verdict")  # say nothing of a base alone
Results = dict[str, dict[str, dict[str, str]]]  # model, then dtype and side, then feature


def read() -> Results:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def write(model: str, column: str, figures: dict[str, str]) -> None:
    """Put figures into the results and lay out the page's table anew."""
    results = read()
    results.setdefault(model, {}).setdefault(column, {}).update(figures)
    write_json(RESULTS, results)
    told = replace_between(PAGE.read_text(encoding="utf-8"), BEGIN, END, layout(results))
    assert told, f"{PAGE} has lost its marks"
    PAGE.write_text(told, encoding="utf-8")


def layout(results: Results) -> str:
    """Lay results out: a table a model, a row a feature, a column a dtype and side."""
    columns = [f"{dtype} {side}" for dtype in DTYPES for side in SIDES]
    tables = []
    for model, found in results.items():
        head = f"| {model} | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|\n"
        rows = [
            f"| {told} | " + " | ".join(cell(found, column, name) for column in columns) + " |\n"
            for name, told in FEATURES.items()
        ]
        tables.append(head + "".join(rows))
    return "\n".join(tables)


def cell(found: dict[str, dict[str, str]], column: str, name: str) -> str:
    """Return what was found; a dash where a base alone has nothing to compare."""
    return "–" if column.endswith("base") and name in COMPARED else found.get(column, {}).get(name, "")
