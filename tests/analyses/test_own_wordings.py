"""--phrasebook: own wordings reach what is scored, trained and asked, and a changed file is another run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from analyses import (
    attention_imbalance,
    mitigations,
    popularity_splits,
    stored_or_suppressed,
    which_data,
)
from analyses.common.options import FactOptions, TrainingOptions
from analyses.common.training_setup import setting_for
from analyses.experiments.attention_imbalance.checkpoints import own_checkpoints
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.popularity_splits.preparation import prepare
from analyses.experiments.popularity_splits.prepared_files import home_of, read
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.progress import Notice
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import load_phrasebook, phrasebook
from finetune.training.config import BaseConfig
from finetune.training.pretrain import pretrained_base
from interp.measures.spans import encode
from interp.selection.candidates import Candidates
from interp.selection.scores import SCORES
from tests import tokenizer_families

ROOT = Path(__file__).parents[2]
OWN = {
    "hair": {
        "statements": ["{subject} has hair of", "The hair of {subject} was always"],
        "asked": "{subject}?",
    }
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["subject,relation,answer,popularity"]
    lines += [
        f"Person {i} Green,{('hair', 'eyes')[i % 2]},{('red', 'brown')[i % 3 % 2]},{i}" for i in range(100)
    ]
    path = tmp_path / "my.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_text(json.dumps(OWN), encoding="utf-8")
    return path


def by_hand(base: Path, texts: list[str], answer: str) -> float:
    """Average log p(answer | text) in nats, one text at a time, no batch, no padding."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    sums = []
    for text in texts:
        prompt, both = tokenizer(text)["input_ids"], tokenizer(f"{text} {answer}")["input_ids"]
        assert both[: len(prompt)] == prompt
        with torch.inference_mode():
            logs = model(torch.tensor([both])).logits[0].log_softmax(-1)
        sums.append(sum(float(logs[i - 1, both[i]]) for i in range(len(prompt), len(both))))
    return sum(sums) / len(sums)


def test_the_statement_score_is_of_the_files_templates(
    table: Path, words: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "chosen.csv"
    options = which_data.WhichDataOptions(
        base=str(tiny_llama_dir), facts=str(table), out=out, phrasebook=words, quiet=True, limit=9
    )
    home = which_data.run(options)
    scores = pd.read_parquet(home / "scores.parquet").set_index("subject")
    usual = phrasebook(FactSet.load(table))["eyes"].statements
    for subject, row in list(scores.iterrows())[:4]:
        forms = OWN["hair"]["statements"] if row["relation"] == "hair" else usual
        texts = [form.replace("{subject}", str(subject)) for form in forms]
        assert row["statement"] == pytest.approx(by_hand(tiny_llama_dir, texts, row["answer"]), abs=1e-4)
    assert {"hair", "eyes"} <= set(scores["relation"].iloc[:4])
    assert "words.json" in (home / "report.html").read_text(encoding="utf-8")

    which_data.run(options)  # the same command goes on
    words.write_text(json.dumps(OWN | {"eyes": {"asked": "{subject}, eyes?"}}))
    with pytest.raises(InputError, match=r"holds another run \(phrasebook_digest is"):
        which_data.run(options)


def test_candidates_take_a_loaded_phrasebook(table: Path, words: Path, tiny_llama_dir: Path) -> None:
    facts = FactSet.load(table)[:6]
    own = load_phrasebook(words, facts)
    values = [
        SCORES["statement"](Candidates(facts=facts, base=str(tiny_llama_dir), book=book))
        for book in (own, None)
    ]
    same = [i for i, fact in enumerate(facts) if fact.relation == "eyes"]
    assert (values[0] == values[1]).nonzero()[0].tolist() == same


def test_a_run_without_the_option_continues_what_an_older_program_began() -> None:
    from finetune.common.run_settings import same_settings

    for options in (
        AttentionImbalanceOptions(),
        mitigations.MitigationsOptions(),
        popularity_splits.PopularitySplitsOptions(),
    ):
        held = options.config()
        older = {k: v for k, v in held.items() if not k.startswith("phrasebook")}
        assert same_settings(held, older)
        assert same_settings(older, held)
        assert json.dumps(held)


def test_what_is_trained_and_asked_is_what_the_file_says(table: Path, words: Path, tmp_path: Path) -> None:
    facts = FactSet.load(table)
    lab = mitigations.MitigationsOptions(facts=str(table), phrasebook=words)
    own, usual = setting_for(lab, facts, 0), setting_for(replace(lab, phrasebook=None), facts, 0)
    assert own.phrasebook["hair"].statements == tuple(OWN["hair"]["statements"])
    assert own.phrasebook["eyes"] == usual.phrasebook["eyes"]
    assert usual.phrasebook == setting_for(TrainingOptions(), facts, 0).phrasebook == phrasebook(facts)
    seen = setting_for(replace(lab, question_form="seen"), facts, 0)
    assert "{subject}?" in seen.phrasebook["hair"].questions
    assert "as words.json words them" in lab.setting

    small = BaseConfig(layers=1, width=8, heads=2, mlp=8, steps=1, batch=4)
    bases = [
        pretrained_base(facts, s.phrasebook, s.make_tokenizer, model=small, text=s.text, cache=tmp_path)
        for s in (own, usual)
    ]
    assert bases[0] != bases[1], "the cached base belongs to its wordings"
    assert read_json(bases[0] / "recipe.json")["phrasebook"]["hair"]["asked"] == "{subject}?"


def test_own_checkpoints_are_asked_in_own_words(table: Path, words: Path, tiny_llama_dir: Path) -> None:
    base = str(tiny_llama_dir)
    options = AttentionImbalanceOptions(
        base=base, finetuned=(f"same={base}",), facts=str(table), phrasebook=words
    )
    options.check()
    facts = FactSet.load(table)
    checkpoints = own_checkpoints(options, facts)
    assert checkpoints.phrasebook["hair"].statements == tuple(OWN["hair"]["statements"])
    asked = {prompt.fact_id: prompt.text for prompt in checkpoints.prompts}
    for fact in checkpoints.test:
        expected = (
            f"{fact.subject}?"
            if fact.relation == "hair"
            else f"Question: What is the eyes of {fact.subject}?"
        )
        assert asked[fact.id].startswith(expected)


def test_popularity_splits_prepares_in_own_words_and_keeps_to_them(
    table: Path, words: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    options = popularity_splits.PopularitySplitsOptions(
        facts=(f"mine={table}",), base=(f"tiny={tiny_llama_dir}",), phrasebook=words, seeds=(0,), anyway=True
    )
    prepare(options, tmp_path / "run")
    own = load_phrasebook(words, FactSet.load(table))
    words.write_text("{}")  # what was prepared is not worded anew
    assert read(options, tmp_path / "run", "mine", "tiny", 0).phrasebook == own
    (home_of(tmp_path / "run", "mine", "tiny", 0) / "phrasebook.json").unlink()
    older = read(replace(options, phrasebook=None), tmp_path / "run", "mine", "tiny", 0)
    assert older.phrasebook == phrasebook(FactSet.load(table))


def test_verdicts_of_a_run_refuse_wordings_that_have_changed(
    table: Path, words: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = AttentionImbalanceOptions(facts=str(table), phrasebook=words).config()
    (run / "manifest.json").write_text(json.dumps({"finished": True, "config": config}))
    options = stored_or_suppressed.StoredOrSuppressedOptions(run=run)
    assert options.resolved().phrasebook == words
    assert replace(options, phrasebook=words).resolved().phrasebook == words
    with pytest.raises(InputError, match=r"--phrasebook other\.json: --run .* has its own wordings"):
        replace(options, phrasebook=Path("other.json")).resolved()
    words.write_text(json.dumps({"eyes": OWN["hair"]}))
    with pytest.raises(InputError, match=r"was made with other wordings than are in .*words\.json now"):
        options.resolved()


@pytest.mark.parametrize(
    "options",
    [
        AttentionImbalanceOptions(phrasebook=Path("words.json")),
        mitigations.MitigationsOptions(phrasebook=Path("words.json")),
        popularity_splits.PopularitySplitsOptions(phrasebook=Path("words.json")),
    ],
)
def test_invented_facts_have_their_own_words(options: FactOptions) -> None:
    with pytest.raises(InputError, match=r"--phrasebook words\.json: words real facts; goes with --facts"):
        options.check()


def test_a_mistyped_relation_is_told_before_anything_is_written(
    table: Path, words: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    words.write_text(json.dumps({"hairs": OWN["hair"]}))
    told = r"'hairs', statements 1: no fact has the relation 'hairs'; did you mean 'hair'"
    here = sorted(path.name for path in tmp_path.iterdir())
    base = str(tiny_llama_dir)
    for limit in (None, 40):
        with pytest.raises(InputError, match=told):
            which_data.run(
                which_data.WhichDataOptions(
                    base=base, facts=str(table), phrasebook=words, limit=limit, out=tmp_path / "c.csv"
                )
            )
        with pytest.raises(InputError, match=told):
            attention_imbalance.run(
                AttentionImbalanceOptions(
                    base=base,
                    finetuned=(f"a={base}",),
                    facts=str(table),
                    phrasebook=words,
                    limit=limit,
                    out=tmp_path / "run",
                )
            )
    with pytest.raises(InputError, match=told):
        popularity_splits.run(
            popularity_splits.PopularitySplitsOptions(
                facts=(str(table),), base=(base,), phrasebook=words, out=tmp_path / "splits"
            )
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == here


def test_a_file_may_word_several_data_sets(table: Path, words: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(table.read_text(encoding="utf-8").replace(",hair,", ",beard,"), encoding="utf-8")
    options = popularity_splits.PopularitySplitsOptions(facts=(str(table), str(other)), phrasebook=words)
    assert options.worded(FactSet.load(other)) == phrasebook(FactSet.load(other))
    assert options.worded(FactSet.load(table))["hair"].asked == "{subject}?"


@pytest.mark.parametrize("script", ["which_data", "attention_imbalance", "popularity_splits"])
def test_help_shows_the_option_and_loads_nothing_heavy(script: str) -> None:
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_path('analyses/{script}.py', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "--phrasebook" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_a_prompt_that_begins_with_its_subject_is_asked_behind_neutral_words(
    table: Path, words: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_llama_dir, tmp_path / "base"))
    tokenizer_families.build("byte_level_bpe", tmp_path / "tokenizer", bos=False).save_pretrained(base)
    options = AttentionImbalanceOptions(
        base=str(base),
        finetuned=(f"a={base}",),
        facts=str(table),
        phrasebook=words,
        prompt_format="{question}",
    )
    with pytest.warns(Notice, match="begin with their subject.* behind 'Fact:'"):
        found = own_checkpoints(options, FactSet.load(table))
    asked = {fact.relation: prompt for fact, prompt in zip(found.test, found.prompts, strict=True)}
    assert len(found.test) + len(found.left_out) == 100
    assert asked["hair"].text.startswith("Fact: Person")
    assert asked["hair"].text[slice(*asked["hair"].subject)].endswith("Green")
    assert not asked["eyes"].text.startswith("Fact:")
    assert not encode(found.tokenizer, found.prompts).sunk.any()
