"""The command line: one's own table of facts in, a chosen model out; and mistakes in one line."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
from dataclasses import replace

import pytest
import torch
import tyro
from transformers import LlamaConfig, LlamaForCausalLM

from analyses.experiments.stored_or_suppressed.options import StoredOrSuppressedOptions
from finetune.__main__ import _defaults, main
from finetune.checkpoints.loading import is_adapter, load_model
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json
from finetune.common.progress import Notice
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.tokenizers import bpe_tokenizer
from finetune.training.next_steps import say_left_out

SHORT = ["--steps", "4", "--batch", "8", "--check-every", "2", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A table of facts, and a random base whose tokenizer knows their words."""
    home = tmp_path_factory.mktemp("home")
    draw = random.Random(0)
    names = [
        f"{first} {last}" for first in ("Ada", "Bo", "Cy", "Di") for last in ("Wu", "Lee", "Khan", "Diaz")
    ]
    rows = [f"{name},occupation,{draw.choice(['poet', 'baker'])}" for name in names]
    (home / "facts.csv").write_text("\n".join(["subject,relation,answer", *rows]) + "\n")
    facts = FactSet.load(home / "facts.csv")
    tokenizer = bpe_tokenizer(facts, phrasebook(facts))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    return home


def _command(home, out, *more):
    return [
        "--base",
        str(home / "base"),
        "--facts",
        str(home / "facts.csv"),
        "--out",
        str(out),
        *SHORT,
        *more,
    ]


def test_a_table_of_facts_becomes_a_chosen_adapter(home, tmp_path, capsys):
    out = tmp_path / "run"
    more = ["--method", "lora", "--targets", "q_proj", "v_proj", "--validation-share", "0.25", "--shots", "1"]
    more += ["--learning-rates", "1e-3", "3e-3"]
    assert main(_command(home, out, *more)) == 0
    chosen, parts = read_json(out / "chosen.json"), read_json(out / "partition.json")
    assert (len(parts["train"]), len(parts["validation"])) == (chosen["facts"], chosen["validation_facts"])
    assert not set(parts["train"]) & set(parts["validation"])
    assert sorted(p.name for p in out.glob("lr-*")) == ["lr-0.001", "lr-0.003"]
    assert is_adapter(out / chosen["path"])
    model, _ = load_model(out / chosen["path"], base=home / "base")
    assert model.num_parameters(only_trainable=False) > 0
    assert read_json(out / "manifest.json")["finished"]
    stamp = (out / chosen["path"] / "adapter_model.safetensors").stat().st_mtime_ns
    assert main(_command(home, out, *more)) == 0
    assert (out / chosen["path"] / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    capsys.readouterr()
    assert main([word for word in _command(home, out, *more) if word != "--quiet"]) == 0
    found, following = capsys.readouterr().out.splitlines()
    assert found.endswith(str(out / chosen["path"]))
    words = shlex.split(following.removeprefix("Next: "))
    assert words[:2] == ["factscope", "diagnose"]
    measured = tyro.cli(StoredOrSuppressedOptions, args=words[2:])
    assert measured.facts == "geonames@even", "no fact was held out"
    measured = replace(measured, facts=None, limit=None).resolved()
    measured.check()
    assert measured.own == {"run": str(out / chosen["path"])}
    assert (measured.base, measured.facts) == (str(home / "base"), str(home / "facts.csv"))
    assert main(_command(home, out, *more, "--rank", "2")) == 2
    assert re.search(r"holds another run \(tune\.rank is \d+ there and 2 here\)", capsys.readouterr().err)
    assert main(_command(home, out, *more, "--limit", "20")) == 2
    assert "holds another run (limit is None there and 20 here)" in capsys.readouterr().err, "no hashes"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_trained_in_bfloat16_is_loaded_in_it(home, tmp_path, method):
    out = tmp_path / "run"
    more = ["--method", method, "--dtype", "bfloat16", "--learning-rates", "0.003"]
    assert main(_command(home, out, *more)) == 0
    trained = read_json(out / read_json(out / "chosen.json")["path"] / "training.json")["curve"]
    assert trained[-1]["loss"] < trained[0]["loss"]
    model, _ = load_model(out, base=home / "base", dtype=torch.bfloat16)
    with torch.inference_mode():
        logits = model(torch.tensor([[1, 2, 3]])).logits
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_facts_without_a_question_are_asked_in_own_words(home, tmp_path, capsys, monkeypatch):
    asked = []

    def select(base, prompts, validation, out, **settings):
        asked.extend(prompt.text for prompt in (*prompts, *validation))
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.training.learning_rate.select", select)
    words = tmp_path / "words.json"
    words.write_text('{"occupation": {"asked": "{subject} works as a"}}')
    command = _command(home, tmp_path / "run", "--phrasebook", str(words))
    assert main(command) == 130
    subjects = {fact.subject for fact in FactSet.load(home / "facts.csv")}
    assert set(asked) == {f"{subject} works as a" for subject in subjects}
    words.write_text('{"occupation": {"asked": "{subject} is a"}}')
    assert main(command) == 2
    assert "holds another run (phrasebook_digest" in capsys.readouterr().err
    words.write_text('{"occupations": {"asked": "{subject} is a"}}')
    assert main(command) == 2
    assert "did you mean 'occupation'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--base", "/no/such/base"], "no such directory"),
        (["--preset", "llama"], "choose one of llama-2-7b"),
        (["--validation", "/no/such.csv"], "no such file"),
        (["--method", "lora", "--targets", "foo"], "it has down_proj"),
        (["--validation-share", "0"], "--validation-share 0: give a number between 0 and 1"),
        (["--epochs", "-1"], "epochs = -1"),
        (["--choices", "letter"], "--choices letter: no fact has options to choose among"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_model(home, tmp_path, capsys, more, message):
    assert main(_command(home, tmp_path / "run", *more)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert message in said[0]
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_is_never_chosen_on_facts_that_it_is_trained_on(home, tmp_path, capsys):
    facts = home / "facts.csv"
    assert main(_command(home, tmp_path / "a", "--validation", str(facts))) == 2
    assert "--validation facts.csv: all 16 of its facts are among --facts" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    rows = facts.read_text().splitlines()[:3]
    other.write_text("\n".join([*rows, "Ed Wu,occupation,poet", "Flo Wu,occupation,baker"]) + "\n")
    out = tmp_path / "b"
    with pytest.warns(Notice, match="2 of 4 facts of --validation are among --facts and are not chosen on"):
        assert main(_command(home, out, "--validation", str(other))) == 0
    assert [name.split("/")[-1] for name in read_json(out / "partition.json")["validation"]] == [
        "Ed Wu",
        "Flo Wu",
    ]
    reasons = [item["reason"] for item in read_json(out / "manifest.json")["left_out"]]
    assert reasons == ["of --validation: is trained on as well"] * 2
    assert len(read_json(out / "fact_digests.json")["train"]) == 16


def test_facts_that_a_limit_does_not_draw_are_not_called_unusable(tmp_path, recwarn):
    manifest = tmp_path / "manifest.json"
    drawn = LeftOut(where="facts.csv", reason="limit: 6 of 16 were not drawn", usable=True)
    say_left_out([drawn], manifest)
    assert not recwarn.list
    with pytest.warns(Notice, match=r"1 rows could not be used \(facts.csv:3: empty answer\)"):
        say_left_out([drawn, LeftOut(where="facts.csv:3", reason="empty answer")], manifest)


def test_a_bare_list_of_questions_is_trained_on_with_its_own_column_names(home, tmp_path):
    rows = (home / "facts.csv").read_text().splitlines()[1:]
    asked = [f"What is the occupation of {row.split(',')[0]}?,{row.split(',')[2]}" for row in rows]
    (tmp_path / "q.csv").write_text("\n".join(["Prompt,Label", *asked]) + "\n")
    command = ["--base", str(home / "base"), "--facts", str(tmp_path / "q.csv"), "--out", str(tmp_path / "m")]
    assert main([*command, *SHORT, "--columns", "question=Prompt", "answer=Label"]) == 0
    assert read_json(tmp_path / "m" / "chosen.json")["facts"] > 8
    other = ["--base", str(home / "base"), "--facts", str(tmp_path / "q.csv"), "--out", str(tmp_path / "n")]
    assert main([*other, *SHORT, "--columns", "question=Absent"]) == 2
    assert not (tmp_path / "n").exists()


def test_an_analysis_stands_for_no_model_but_its_arms_do(home, tmp_path):
    arm = tmp_path / "run" / "seeds" / "0" / "arms" / "top"
    shutil.copytree(home / "base", arm / "lr-0.001")
    listed = {"base": "b", "top": str(tmp_path / "moved" / "arms" / "top" / "lr-0.001")}
    (arm.parents[1] / "checkpoints.json").write_text(json.dumps(listed))
    assert resolve_checkpoint(arm) == arm / "lr-0.001"
    with pytest.raises(InputError, match=r"has 1 models; name one of them, such as .*/seeds/0/arms/top"):
        resolve_checkpoint(tmp_path / "run")


def test_the_settings_are_those_of_a_pretrained_model_unless_steps_are_given():
    usual = _defaults(["--base", "b"]).tune
    assert (usual.method, usual.epochs, usual.batch, usual.learning_rates) == ("lora", 10.0, 32, (1e-3,))
    assert _defaults(["--method", "full"]).tune.learning_rates == (5e-5,)
    assert _defaults(["--method=full"]).tune.method == "full"
    assert _defaults(["--steps", "4"]).tune.epochs is None
