"""What a training's directory says of itself, and what is advised before one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from analyses.common.tuned_runs import TunedRun, completed, held_out
from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from analyses.experiments.which_data.advice import advice, evidence, next_commands, share_held_out
from analyses.experiments.which_data.expected_gains import ExpectedGain, measured_gains
from analyses.experiments.which_data.options import WhichDataOptions
from finetune.common.errors import InputError
from finetune.common.progress import Notice
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import PromptFormat
from finetune.data.records.fact import Fact
from finetune.training.fact_parts import write_parts
from finetune.training.training_format import format_of, write_format

FACTS = FactSet(
    facts=tuple(Fact(id=str(i), subject=f"s{i}", relation="r", answers=("a",)) for i in range(6)), name="six"
)


def training(path: Path, *, base: str = "base", facts: str = "facts.csv", train: str = "012") -> str:
    path.mkdir()
    rest = [i for i in "012345" if i not in train]
    config = {"base": base, "facts": facts, "columns": ["subject=Name"], "phrasebook": None}
    (path / "manifest.json").write_text(json.dumps({"analysis": "finetune", "config": config}))
    parts = {"train": list(train), "validation": rest[:1], "test": rest[1:]}
    (path / "partition.json").write_text(json.dumps(parts))
    return str(path)


def newer_training(path: Path, facts: FactSet, source: str) -> str:
    """A training that left digests: its first half trained on, then one fact chosen on, the rest held out."""
    home, half = training(path, facts=source), len(facts) // 2
    cuts = {"train": facts[:half], "validation": facts[half : half + 1], "test": facts[half + 1 :]}
    write_parts(Path(home), cuts)
    return home


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where trainings were started: in a directory with their facts."""
    monkeypatch.chdir(tmp_path)
    for name in ("facts.csv", "other.csv"):
        (tmp_path / name).touch()


def test_recorded_paths_are_found_from_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training(tmp_path / "one", base="./model")
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    taken = completed(options(), ["../one"])
    assert (taken.base, taken.facts) == (str(tmp_path / "model"), str(tmp_path / "facts.csv"))
    (tmp_path / "facts.csv").unlink()
    with pytest.raises(
        InputError, match=r"the facts that ../one was trained on \(facts.csv\) are not here; give"
    ):
        completed(options(), ["../one"])
    assert completed(options(facts="mine.csv"), [one]).facts == "mine.csv"


def options(**more: object) -> StoredOrSuppressedOptions:
    return StoredOrSuppressedOptions(**more)  # type: ignore[arg-type]


def test_a_training_says_its_base_and_facts_and_what_is_given_goes_first(tmp_path: Path) -> None:
    one = training(tmp_path / "one")
    taken = completed(options(), [one])
    assert (taken.base, taken.facts, taken.columns) == ("base", "facts.csv", ("subject=Name",))
    other = completed(options(facts="other.csv"), [one])
    assert (other.base, other.facts, other.columns) == ("base", "other.csv", ()), "columns of others"
    assert completed(options(base="mine"), [one]).base == "mine"
    plain = options(base="b", facts="f")
    assert completed(plain, [str(tmp_path)]) is plain


def test_a_model_in_a_training_is_of_it_and_one_beside_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(training(tmp_path / "one"))
    write_format(run, PromptFormat(template="Q: {question}"))
    for inside in ("lr-0.001", "lr-0.001/checkpoint-20"):
        (run / inside).mkdir(exist_ok=True)
        assert completed(options(), [str(run / inside)]).facts == "facts.csv"
        assert format_of(run / inside) == PromptFormat(template="Q: {question}")
    (tmp_path / "adapter").mkdir()
    monkeypatch.chdir(run)
    for beside in ("../adapter", "owner/model"):
        plain = options(base="b", facts="f")
        assert completed(plain, [beside]) is plain
        assert TunedRun.load(beside) is None
        assert format_of(beside) is None


def test_trainings_that_differ_are_told(tmp_path: Path) -> None:
    both = [training(tmp_path / "one"), training(tmp_path / "two", base="other")]
    with pytest.raises(InputError, match=r"--base: the trainings differ in it \(base, other\); give it"):
        completed(options(), both)
    assert completed(options(base="base"), both).facts == "facts.csv"


def test_only_what_no_training_saw_is_asked(tmp_path: Path) -> None:
    both = [training(tmp_path / "one"), training(tmp_path / "two", train="014")]
    asked, shown = held_out(FACTS, "facts.csv", both)
    assert [fact.id for fact in asked] == ["5"]
    assert [fact.id for fact in shown] == ["0", "1", "2", "3", "4"]
    assert len(asked.left_out) == 5
    assert all("was trained on" in item.reason for item in asked.left_out)
    with pytest.warns(
        Notice, match="4 facts of other.csv have ids of facts that .* says nothing else of those"
    ):
        # An id alone does not say that another file's fact is the same; older trainings left nothing else.
        assert held_out(FACTS, "other.csv", both[:1])[0] == FACTS
    every = training(tmp_path / "three", train="012345")
    with pytest.warns(Notice, match="was trained on all of facts.csv"):
        assert held_out(FACTS, "facts.csv", [every])[0] == FACTS


@pytest.mark.filterwarnings("error::finetune.common.progress.Notice")
def test_what_was_trained_on_is_known_again_in_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},Where is Ada {i}?,Rome" for i in range(6)]
    Path("facts.csv").write_text("\n".join(["id,question,answer", *rows]))
    Path("copy.csv").write_text(Path("facts.csv").read_text())
    Path("part.csv").write_text("\n".join(["question,answer", *(row.partition(",")[2] for row in rows[1:])]))
    Path("news.csv").write_text("\n".join(["id,question,answer", "0,Who?,Ada", "1,What?,Bo"]))

    def asked(home: str, source: str) -> list[str]:
        facts = FactSet.load(source, subjects=False)
        return [str(fact.question) for fact in held_out(facts, source, [home])[0]]

    home = newer_training(tmp_path / "one", FactSet.load("facts.csv", subjects=False), "facts.csv")
    left = ["Where is Ada 4?", "Where is Ada 5?"]
    for source in ("facts.csv", "./facts.csv", str(tmp_path / "facts.csv"), "copy.csv", "part.csv"):
        assert asked(home, source) == left, source
    assert asked(home, "news.csv") == ["Who?", "What?"], "an id alone says nothing"


def test_an_older_training_knows_its_file_by_path_and_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("facts.csv").touch()
    home = training(tmp_path / "one")
    assert [fact.id for fact in held_out(FACTS, "./facts.csv", [home])[0]] == ["4", "5"]
    manifest = tmp_path / "one/manifest.json"
    held = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**held, "config": {**held["config"], "train": FACTS[:3].digest}}))
    assert [fact.id for fact in held_out(FACTS, "copy.csv", [home])[0]] == ["4", "5"]


def test_halving_is_advised_only_where_it_was_clearly_ahead() -> None:
    def gain(low: float, high: float) -> ExpectedGain:
        return ExpectedGain(setting="here", popularity=None, whole=((low + high) / 2, low, high), random=None)

    told = evidence(150, [gain(-0.02, 0.01), gain(-0.05, -0.01)])
    assert told.startswith("Train on all 150: in none of 2 settings measured here was a half clearly better ")
    assert "than all facts, in 1 clearly worse " in told
    told = evidence(150, [gain(0.01, 0.03), gain(-0.05, -0.01)])
    assert told.startswith(
        "Train on all 150, unless yours is like the settings where a half was clearly better "
    )
    assert "than all facts: 1 of 2 measured here, in 1 clearly worse " in told
    assert "was not measured" in evidence(150, [])
    assert all("in none of " in evidence(150, some) for some in measured_gains().values())


@pytest.mark.parametrize(("facts", "share"), [(300, 0.3), (150, 0.5), (600, 0.15), (100_000, 0.1), (3, 0.5)])
def test_enough_is_held_out_for_a_diagnosis(facts: int, share: float) -> None:
    assert share_held_out(facts) == share


def test_advice_begins_with_what_the_base_knows_and_says_what_will_fail() -> None:
    chosen = WhichDataOptions(base="b", facts="f.csv")
    known = {"value": 0.02, "low": 0.0, "high": 0.05, "n": 50}
    some = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 50}
    told = advice(chosen, "random", 50, known)
    assert told[0].startswith("The base knows 1 of 50 facts: 2.0% (0.0 to 5.0) ")
    assert any("little to lose" in each for each in told)
    assert any("give 80 or more in all" in each for each in advice(chosen, "random", 50, some))
    told = " ".join(advice(chosen, "random", 150, some))
    assert (
        "holds 75 of them out (--test-share 0.5), for factscope diagnose asks only facts that were not"
        in told
    )
    assert "40 at least and better 90; to train on every one, leave that option out" in told
    assert "--floor 1" not in told, "that is the default"
    assert "--floor 1" in " ".join(advice(replace(chosen, floor=0.5), "random", 150, some))
    config = {**chosen.config(), "columns": ["subject=My name"], "chat": True}
    first, _ = next_commands(config, 300, "chosen.csv", known, subjects=(300, 150))
    assert first.endswith("--chat --keep last --out runs/tuned"), "what it cannot know is learned to the end"
    first, second = next_commands(config, 300, "chosen.csv", some, subjects=(300, 150))
    assert first.endswith("--columns 'subject=My name' --chat --test-share 0.3 --out runs/tuned")
    assert "--facts chosen.csv" in second
