"""Options of every command: each number has its range, whoever gives it, and nonsense is one line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.common.command_line import LONGEST, parse_options, run_command
from finetune.common.errors import InputError
from finetune.common.messages import without_controls
from finetune.common.option_checks import Within, require_valid
from finetune.data.prompt_formats import PromptFormat
from finetune.training.config import TuneConfig

from .commands import check, commands, numbers, refusal

COMMANDS = commands()
DRAWS = int(os.environ.get("FACTSCOPE_FUZZ_DRAWS", "40"))
NEEDED: dict[str, dict[str, Any]] = {
    "analyses.which_data": {"base": "b", "facts": "f.csv"},
    "analyses.popularity_proxies": {"facts": "f.csv"},
    "analyses.findings": {"runs": (Path("r"),)},
    "analyses.paper_table": {"runs": (Path("r"),)},
    "finetune.__main__": {"facts": "f.csv", "out": Path("o"), "base": "b"},
    "interp.reports.pages.command": {"run": (Path("r"),)},
}
ABSURD = (float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 10**30, -(10**30), 2**63, True, "7", 1j)


def test_all_commands_are_found() -> None:
    assert len(COMMANDS) >= 18
    assert {"analyses.attention_imbalance", "finetune.__main__", "interp.reports.pages.command"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_of_every_command_pass(name: str) -> None:
    assert refusal(COMMANDS[name](**NEEDED.get(name, {}))) is None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_says_its_range_and_refuses_what_is_absurd(name: str) -> None:
    options = COMMANDS[name](**NEEDED.get(name, {}))
    for path, hint, many in numbers(type(options)):
        assert any(isinstance(extra, Within) for extra in get_args(hint)[1:]), f"{path}: give it a range"
        for value in ABSURD:
            if value == 10**30 and get_args(hint)[0] is float and get_args(hint)[1].holds(value):
                continue
            with pytest.raises(InputError) as raised:
                check(_with(options, path, (value,) if many else value))
            assert re.search(path[-1].replace("_", ".") + ".*give ", str(raised.value)), str(raised.value)


def _with(options: Any, path: tuple[str, ...], value: Any) -> Any:
    """Set a field, also one of a dataclass inside."""
    if len(path) > 1:
        value = _with(getattr(options, path[0]), path[1:], value)
    return replace(options, **{path[0]: value})


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("attention_imbalance", "--seeds -1", "--seeds -1: give a whole number of at least 0"),
        ("attention_imbalance", "--seeds 4294967296", "at most 4,294,967,295"),
        ("attention_imbalance", "--seeds 0 0", "give each one once"),
        ("attention_imbalance", "--seeds", "--seeds: give one or more"),
        ("attention_imbalance", "--limit 50", "--limit 50: goes with --facts"),
        ("attention_imbalance", "--until-loss 2", "--until-loss 2: goes with --keep loss"),
        ("attention_imbalance", "--prompt-format {question}", "goes with --finetuned"),
        ("attention_imbalance", "--learning-rates nan", "--learning-rates nan: give a number"),
        ("attention_imbalance", "--learning-rates 1e-3 inf", "give a number between 0 and 10"),
        ("attention_imbalance", "--exponent nan", "--exponent nan: give a number"),
        ("attention_imbalance", "--facts f.csv --world tiny", "--world tiny: is no setting of real facts"),
        (
            "attention_imbalance",
            "--base b --finetuned a=x --facts f.csv --placebo",
            "--placebo True: nothing is trained with --finetuned",
        ),
        (
            "stored_or_suppressed",
            "--base b --finetuned a=x --facts f.csv --seeds 0 1",
            "--seeds: the checkpoints of --finetuned are one training each",
        ),
        ("stored_or_suppressed", "--shots -1", "--shots -1"),
        ("mixture_sweep", "--shares 0.2", "give two or more"),
        ("mixture_sweep", "--shares 0.2 1.5", "--shares 0.2 1.5: give a number between 0 and 1"),
        ("mixture_sweep", "--workers 0", "--workers 0"),
        ("mixture_sweep", "--gpus nan --engine ray", "--gpus nan"),
        ("mixture_sweep", "--gpus 1", "--gpus 1: goes with --engine ray"),
        ("depth_sweep", "--depths 0", "--depths 0"),
        ("long_tail_domain", "--sightings inf", "--sightings inf"),
        ("long_tail_domain", "--facts f.csv --sightings 3", "--sightings 3: is a setting of a world's"),
        ("pretraining_sweep", "--lengths nan 1", "--lengths nan 1"),
        ("popularity_splits", "--test 1", "--test 1: give a number between 0 and 1, not 0 or 1"),
        ("popularity_splits", "--limit 50", "--limit 50: goes with --facts"),
        ("popularity_splits", "--methods full --rank 4", "--rank 4: is LoRA's"),
        ("popularity_splits", "--splits x --test 0.5", "--splits brings its own"),
        ("popularity_splits", "--analyse --analysed 5", "nothing is analysed"),
        ("popularity_splits", "--corpus x", "goes with --popularity corpus"),
        ("which_data", "--base b --facts f --keep nan", "--share nan"),
        ("which_data", "--base b --facts f --seed -1", "--seed -1"),
        ("which_data", "--base b --facts f --prompt-format x", "write {question} where it belongs"),
        ("popularity_proxies", "--facts f --text-field x", "goes with --corpus"),
        ("popularity_proxies", "--facts f --proxies views fame", "--proxies fame: choose from"),
        (
            "popularity_proxies",
            "--facts f --base b --proxies views answer_frequency",
            "none of the --proxies",
        ),
        ("planted_truth", "--absent 1", "--absent 1"),
        ("attention_imbalance", "--facts=", "give some text, or leave it out"),
        ("popularity_splits", "--base=", "give some text, or leave it out"),
        ("findings", "", "no run"),
        ("paper_table", "", "no run"),
    ],
)
def test_what_leads_nowhere_is_refused_by_name(name: str, words: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        check(parse_options(COMMANDS[f"analyses.{name}"], args=words.split()))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--method full --rank 4", "--rank 4: is LoRA's"),
        ("--until-loss 2", "--until-loss 2: goes with --keep loss"),
        ("--epochs 2 --steps 7", "--steps 7: --epochs takes its place"),
        ("--validation v.csv --validation-share 0.3", "leave this out"),
        ("--validation-share 0.6 --test-share 0.4", "sum to less than 1"),
        ("--distil 0.5", "--distil 0.5: needs known facts"),
        ("--seed 4294967296", "--seed 4294967296"),
        ("--test-share nan", "--test-share nan"),
        ("--shots -1", "shots = -1"),
    ],
)
def test_the_training_command_refuses_what_nothing_would_read(words: str, told: str) -> None:
    given = ["--base", "b", "--facts", "f.csv", "--out", "o", *words.split()]
    with pytest.raises(InputError, match=re.escape(told)):
        check(parse_options(COMMANDS["finetune.__main__"], args=given))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("a --out x.html", "--out x.html: goes with --compare"),
        ("a b --compare --verdicts v", "--verdict-run v: is not compared"),
        ("a a --compare", "--run a a: give each one once"),
        ("", "no run"),
    ],
)
def test_the_report_command_refuses_what_nothing_would_read(words: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        check(parse_options(COMMANDS["interp.reports.pages.command"], args=words.split()))


def test_python_callers_are_held_to_the_same() -> None:
    for wrong in ({"steps": 0}, {"dropout": float("nan")}, {"learning_rates": (1e-3, 1e-3)}, {"rank": 1.5}):
        with pytest.raises(InputError):
            TuneConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"shots = 2\.5"):
        PromptFormat(shots=2.5)  # type: ignore[arg-type]
    for bad in (Path("a\nb"), Path("a\0b"), Path("\ud800"), "a"):
        with pytest.raises(InputError, match="--out"):
            check(COMMANDS["analyses.mixture_sweep"](out=bad))


NUMBERS = "0 -0 1 -1 0.5 1e-3 1e400 nan -nan inf -inf 1_000 0x10 ٣ 4294967296 9223372036854775808".split()
NAMES = (
    "None True tiny full lora loss last ray local popqa world:tiny a=b a=b=c = few_shot corpus base".split()
)
MARKS = "-- -h {question} --quiet --facts .. /dev/null"
ODD = ("", " ", "\x1b[31m", "a\nb", "9" * 5000, "x" * 400, "\u202e", "{", "\udc80", "é|`<b>")
WORDS = st.one_of(
    st.sampled_from([*NUMBERS, *NAMES, *MARKS.split(), *ODD]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8).filter(lambda text: "\0" not in text),
)
PLAIN = st.one_of(st.integers(), st.floats(), st.text(max_size=5))
ANYTHING = st.one_of(
    st.sampled_from([None, True, False, {}, object()]),
    PLAIN,
    st.builds(Path, st.text(max_size=5)),
    st.lists(PLAIN, max_size=3).map(tuple),
)


@st.composite
def lines(draw: st.DrawFn, kind: type[Any]) -> list[str]:
    """Draw a command line: some of the options, each with words that may fit."""
    names = [f"--{flag}" for flag in _flags(kind)]
    chosen = draw(st.lists(st.sampled_from(names), max_size=5))
    words = draw(st.lists(WORDS, max_size=2))
    for flag in chosen:
        words += [flag, *draw(st.lists(WORDS, max_size=3))]
    return words


def _flags(kind: type[Any]) -> Iterator[str]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        if is_dataclass(hints[each.name]):
            yield from _flags(hints[each.name])
        else:
            yield each.name.replace("_", "-")


FEW = settings(
    max_examples=DRAWS,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in: no path of a drawn option is there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@FEW
@given(data=st.data(), name=st.sampled_from(sorted(COMMANDS)))
def test_any_command_line_is_read_or_refused_in_one_line(home: Path, data: st.DataObject, name: str) -> None:
    words = data.draw(lines(COMMANDS[name]))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = run_command(lambda: check(parse_options(COMMANDS[name], args=words)), continues="")
        except SystemExit as end:  # --help
            status = int(end.code or 0)
    assert not list(home.iterdir()), "nothing is written"
    said = err.getvalue()
    if status == 0:
        assert said == ""
        return
    assert status == 2
    assert said.startswith("error: ")
    assert said.endswith("\n")
    assert without_controls(said[:-1], "?") == said[:-1]
    assert len(said) <= LONGEST + 1


@FEW
@given(data=st.data(), name=st.sampled_from(sorted(COMMANDS)))
def test_any_values_from_python_are_taken_or_refused(home: Path, data: st.DataObject, name: str) -> None:
    kind = COMMANDS[name]
    plain = [each.name for each in fields(kind) if each.name not in ("tune", "ask")]
    given = data.draw(st.dictionaries(st.sampled_from(plain), ANYTHING, max_size=4))
    with suppress(InputError):
        options = kind(**{**NEEDED.get(name, {}), **given})
        check(options)
        require_valid(options)
    assert not list(home.iterdir())
