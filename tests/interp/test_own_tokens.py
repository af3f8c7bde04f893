"""A fine-tuned side with tokens of its own: what is measured, what is refused, where an answer ends."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from analyses.common.arms import answers_stage
from analyses.common.measurements import mean_masses
from analyses.common.visits import opened, visit
from analyses.experiments.attention_imbalance.checkpoints import checkpoints_of
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt
from finetune.data.records.fact import Fact
from finetune.data.tokenization import end_ids, tokenize
from finetune.evaluation.generate import generate, score
from finetune.training.train import train
from interp.measures.attention import subject_attention
from interp.measures.decode import greedy
from interp.measures.spans import encode
from interp.models.load_pair import load_pair
from interp.models.preflight import require_measurable
from interp.patching.interventions import Intervention, Knockout
from interp.patching.patch import patch
from tests import architectures

CHATML = "<|im_start|>", "<|im_end|>"


def prompt(text: str, subject: str = "Ada") -> Prompt:
    start = text.index(subject)
    return Prompt(
        text=text, subject=(start, start + len(subject)), answers=("Paris",), fact_id=text, relation="born"
    )


PLAIN, MARKED = prompt("Ada was born in"), prompt("<|im_start|>Ada was born in")


def chatml(base: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tuned = copy.deepcopy(base)
    tuned.add_special_tokens({"additional_special_tokens": list(CHATML)})
    tuned.eos_token = CHATML[1]
    return tuned


@pytest.fixture(scope="module")
def make(tmp_path_factory, tiny_tokenizer):
    """Save a base and a fine-tuned model of so many embeddings, the latter with ChatML's tokens."""

    def save(base_rows: int, tuned_rows: int) -> tuple[Path, Path]:
        folders = []
        for seed, (rows, tokenizer) in enumerate(
            ((base_rows, tiny_tokenizer), (tuned_rows, chatml(tiny_tokenizer)))
        ):
            folders.append(tmp_path_factory.mktemp("side"))
            architectures.build("llama", rows, seed=seed).save_pretrained(folders[-1])
            tokenizer.save_pretrained(folders[-1])
        return folders[0], folders[1]

    return save


@pytest.fixture(scope="module")
def resized(make, tiny_tokenizer):
    return make(len(tiny_tokenizer), len(tiny_tokenizer) + 2)


@pytest.fixture(scope="module")
def reserved(make, tiny_tokenizer):
    return make(len(tiny_tokenizer) + 64, len(tiny_tokenizer) + 64)


def test_prompts_with_a_token_that_the_base_lacks_are_set_aside(resized, tiny_tokenizer) -> None:
    base, tuned = resized
    pair = load_pair(base, tuned)
    batch = encode(pair.tokenizer, [PLAIN, MARKED])
    assert batch.prompts == (PLAIN,)
    assert f"{base} has no embedding for its token '<|im_start|>'" in batch.left_out[0].reason
    assert batch.input_ids[0].tolist() == tiny_tokenizer(PLAIN.text)["input_ids"]
    with pair.base() as model:
        forced = encode(chatml(tiny_tokenizer), [MARKED])
        with pytest.raises(InputError, match="has no embedding for token id") as error:
            subject_attention(model, forced)
    assert "\n" not in str(error.value)
    assert "pair's own tokenizer" in str(error.value)


@pytest.mark.parametrize("low_memory", [False, True])
def test_reserved_rows_serve_both_sides(reserved, low_memory: bool) -> None:
    base, tuned = reserved
    pair = load_pair(base, tuned, low_memory=low_memory)
    batch = encode(pair.tokenizer, [PLAIN, MARKED])
    assert len(batch) == 2
    assert (batch.input_ids == pair.tokenizer.convert_tokens_to_ids(CHATML[0])).sum() == 1
    for side, side_of in ((base, pair.base), (tuned, pair.finetuned)):
        with side_of() as model:
            found = subject_attention(model, batch).raw
        plain = AutoModelForCausalLM.from_pretrained(side, attn_implementation="eager").eval()
        for row, one in enumerate((PLAIN, MARKED)):
            ids = torch.tensor([tokenize(pair.tokenizer, [one])[0].ids])
            with torch.inference_mode():
                attentions = torch.cat(plain(ids, output_attentions=True).attentions)
            own = batch.subject_mask[row, : ids.shape[1]]
            assert torch.allclose(found[row], attentions[:, :, -1, own].sum(-1), atol=1e-5)


def test_a_base_without_a_tokenizer_takes_the_fine_tuned_sides(resized, tmp_path) -> None:
    shutil.copytree(resized[0], tmp_path / "bare")
    for file in (tmp_path / "bare").glob("*token*"):
        file.unlink()
    batch = encode(load_pair(tmp_path / "bare", resized[1]).tokenizer, [PLAIN, MARKED])
    assert batch.prompts == (PLAIN,)


def test_an_adapters_tokens_have_no_embedding_unless_the_base_reserved_them(
    resized, reserved, save_adapter, tiny_tokenizer
) -> None:
    for base, usable in ((resized[0], 1), (reserved[0], 2)):
        adapter = save_adapter(base)
        chatml(tiny_tokenizer).save_pretrained(adapter)
        pair = load_pair(base, adapter)
        batch = encode(pair.tokenizer, [PLAIN, MARKED])
        assert len(batch) == usable
        assert pair.tokenizer.eos_token == CHATML[1]
        with pair.finetuned() as model:
            assert subject_attention(model, batch).values.isfinite().all()


def test_a_pad_token_without_an_embedding_hinders_neither_check_nor_loading(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    architectures.build("llama", len(tiny_tokenizer), seed=0).save_pretrained(tmp_path)
    padded = copy.deepcopy(tiny_tokenizer)
    padded.add_special_tokens({"pad_token": "[PADDED]"})
    padded.save_pretrained(tmp_path)
    require_measurable(tmp_path, [tmp_path])
    said, _ = load_model(tmp_path)
    with load_pair(tmp_path, tmp_path).base() as hooked:
        assert hooked.cfg.d_vocab == said.get_input_embeddings().weight.shape[0]
    architectures.build("llama", len(tiny_tokenizer) - 3, seed=0).save_pretrained(tmp_path)
    for refuse in (
        lambda: require_measurable(tmp_path),
        lambda: load_pair(tmp_path, tmp_path).base().__enter__(),
    ):
        with pytest.raises(InputError, match="name the tokenizer that the model was trained with"):
            refuse()


def test_a_tokenizer_given_by_the_user_is_limited_by_the_embeddings(resized, tiny_tokenizer) -> None:
    mine = chatml(tiny_tokenizer)
    pair = load_pair(*resized, tokenizer=mine)
    assert not hasattr(mine, "readings")
    assert encode(pair.tokenizer, [PLAIN, MARKED]).prompts == (PLAIN,)
    assert load_pair(resized[1], tokenizer=mine).tokenizer is mine


def test_plain_models_refuse_what_they_cannot_look_up(resized, tiny_tokenizer) -> None:
    model, _ = load_model(resized[0])
    mine = chatml(tiny_tokenizer)
    for ask in (generate, score):
        with pytest.raises(InputError, match=r"holds the token '<\|im_start\|>' .*embeddings"):
            ask(model, mine, [PLAIN, MARKED])
    mine.pad_token = CHATML[0]
    longer = prompt("Ada was born in the city of")
    assert generate(model, mine, [PLAIN, longer]) == generate(model, tiny_tokenizer, [PLAIN, longer])


def test_training_on_an_end_without_an_embedding_is_refused(resized, tiny_tokenizer, tmp_path) -> None:
    base = tmp_path / "base"
    shutil.copytree(resized[0], base)
    chatml(tiny_tokenizer).save_pretrained(base)
    with pytest.raises(InputError, match=r"holds the token '<\|im_end\|>' .*embeddings"):
        train(base, [PLAIN], [PLAIN], tmp_path / "out")


def test_answers_end_where_either_tokenizer_or_the_model_says(reserved, tiny_tokenizer) -> None:
    """Against the tokens of transformers' own ``generate``, cut at every kind of end."""
    pair = load_pair(*reserved)
    batch = encode(pair.tokenizer, [PLAIN])
    plain = AutoModelForCausalLM.from_pretrained(reserved[1]).eval()
    new = plain.generate(batch.input_ids, max_new_tokens=6, do_sample=False, eos_token_id=None)[0]
    new = new[batch.input_ids.shape[1] :].tolist()
    with pair.finetuned() as model:
        assert end_ids(model, pair.tokenizer) == {
            tiny_tokenizer.eos_token_id,
            pair.tokenizer.convert_tokens_to_ids(CHATML[1]),
        }
        whole = greedy(model, batch, pair.tokenizer, max_new_tokens=6)[0]
        assert whole == _cut(pair.tokenizer, new, end_ids(model, pair.tokenizer))
        before = model.original_model.generation_config.eos_token_id
        model.original_model.generation_config.eos_token_id = [before, new[1]]
        try:
            said = greedy(model, batch, pair.tokenizer, max_new_tokens=6)[0]
            cell = Intervention(site="pattern", do=Knockout(), keys="subject")
            patched = patch(model, batch, [cell], pair.tokenizer, max_new_tokens=6).clean_said[0]
        finally:
            model.original_model.generation_config.eos_token_id = before
    assert said == patched == _cut(pair.tokenizer, new, {new[1]})


def _cut(tokenizer: PreTrainedTokenizerBase, ids: list[int], ends: set[int] | frozenset[int]) -> str:
    first = next((i for i, each in enumerate(ids) if each in ends), len(ids))
    return str(tokenizer.decode(ids[:first], skip_special_tokens=True)).strip().split("\n")[0].strip()


def _facts() -> FactSet:
    questions = {
        "1": "Where was Ada born?",
        "2": "<|im_start|>Where was Ada born?",
        "3": "Where was Zoë born?",
    }
    made = (
        Fact(id=i, subject="Zoë" if i == "3" else "Ada", relation="born", question=q, answers=("Paris",))
        for i, q in questions.items()
    )
    return FactSet(facts=tuple(made), name="made")


@pytest.mark.parametrize("kind", ["resized", "reserved"])
def test_the_main_job_sets_them_aside_for_every_checkpoint(kind, request, tiny_adapter_dir, tmp_path) -> None:
    """Every checkpoint is asked the same tokens, by one tokenizer; else the fact is left out of all."""
    base, tuned = request.getfixturevalue(kind)
    options = AttentionImbalanceOptions(
        base=str(base), finetuned=(f"mine={tuned}", f"same={base}"), facts="f.csv"
    )
    checkpoints = checkpoints_of(options, _facts(), tmp_path, 0)
    kept = [fact.id for fact in checkpoints.test]
    assert kept == (["1", "3"] if kind == "resized" else ["1", "2", "3"])
    assert [item.where for item in checkpoints.left_out] == [i for i in ("1", "2", "3") if i not in kept]
    said = {}
    for name in checkpoints.names:
        stage = answers_stage(checkpoints, name, tmp_path / f"{name}.parquet", seed=0)
        visit(checkpoints, name, plain=[stage])
        said[name] = stage.read()["prediction"].tolist()
        with opened(checkpoints, name) as found:
            assert list(mean_masses(found, 512)) == kept
    assert said["base"] == said["same"]
