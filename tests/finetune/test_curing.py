"""Cures while training: what is frozen stays, rates are rates, penalties are what is computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from finetune.checkpoints.loading import load_model, load_tokenizer
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.generate import score
from finetune.training.config import TuneConfig
from finetune.training.examples import answer_examples
from finetune.training.mitigation_losses import distillation_targets, read_base_attention
from finetune.training.mitigations import distillation_pairs, mitigated_trainer
from finetune.training.projections import routing_weights
from finetune.training.train import train
from interp.measures.attention import subject_attention
from interp.measures.spans import encode
from interp.models.load_pair import load_pair
from tests import architectures
from tests.finetune import tiny

CONFIG = TuneConfig(steps=4, batch=8, learning_rates=(1e-2,), check_every=2, keep="last")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose attention is far from uniform."""
    world = make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0)
    tokenizer = word_tokenizer(world, world_phrasebook())
    folder = tmp_path_factory.mktemp("base")
    architectures.build("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def asked():
    return tiny.prompts()


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def _is_routing(name: str) -> bool:
    return "q_proj" in name or "k_proj" in name


def test_frozen_routing_keeps_the_bits_of_the_base_and_all_else_learns(base, asked, tmp_path) -> None:
    made = train(base, asked, asked[:8], tmp_path / "m", config=replace(CONFIG, qk_rate=0.0))
    before, after = _weights(base), _weights(made.path)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if _is_routing(name)}


def test_frozen_routing_of_an_adapter_adds_nothing(base, asked, tmp_path) -> None:
    config = replace(CONFIG, method="lora", rank=2, qk_rate=0.0)
    made = train(base, asked, asked[:8], tmp_path / "m", config=config)
    second = {n: w for n, w in load_file(made.path / "adapter_model.safetensors").items() if "lora_B" in n}
    assert {name for name, w in second.items() if not w.any()} == {n for n in second if _is_routing(n)}


def test_a_tenth_of_the_rate_is_a_tenth_of_the_first_step(base, asked, tmp_path) -> None:
    # AdamW's first step and its decay are both proportional to the learning rate of the weight's group.
    config = replace(CONFIG, steps=1)
    whole = _weights(train(base, asked, asked[:8], tmp_path / "whole", config=config).path)
    tenth = _weights(
        train(base, asked, asked[:8], tmp_path / "tenth", config=replace(config, qk_rate=0.1)).path
    )
    for name, before in _weights(base).items():
        if _is_routing(name):
            assert torch.allclose(tenth[name] - before, 0.1 * (whole[name] - before), atol=2e-7)
            assert not torch.equal(tenth[name], before)
        else:
            assert torch.equal(tenth[name], whole[name])


def test_the_attention_that_is_held_to_is_what_interp_measures(base, asked) -> None:
    model, tokenizer = load_model(base)
    rows = answer_examples(tokenizer, asked, rows=8)
    watch = read_base_attention(model, tokenizer, rows, asked)
    pair = load_pair(str(base))
    with pair.base() as bridge:
        mass = subject_attention(bridge, encode(pair.tokenizer, asked))
    assert torch.allclose(watch.base, mass.raw.float(), atol=1e-5)


def test_the_penalty_counts_what_is_lost_and_its_gradient_is_that_of_finite_differences(base, asked) -> None:
    model, tokenizer = load_model(base)
    rows = answer_examples(tokenizer, asked, rows=8)
    watch = read_base_attention(model, tokenizer, rows, asked)
    torch.manual_seed(1)
    model.double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if _is_routing(name):
                weight += 0.1 * torch.randn_like(weight)
    texts = [0, 3, 5, 9]
    batch = {name: value for name, value in rows.collate(texts).items() if name != "labels"}

    def loss() -> torch.Tensor:
        return watch.loss(model(**batch, output_attentions=True).attentions, torch.tensor(texts))

    attentions = model(**batch, output_attentions=True).attentions
    by_hand = []
    for k, text in enumerate(texts):
        last = int(rows.scored_from[text]) - 1
        for layer, pattern in enumerate(attentions):
            for head in range(pattern.shape[1]):
                now = sum(
                    float(pattern[k, head, last, j].detach())
                    for j in range(last + 1)
                    if watch.subject[text, j]
                )
                by_hand.append(max(0.0, float(watch.base[text, layer, head]) - now) ** 2)
    value = loss()
    assert value.item() == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
    assert value.item() > 0
    value.backward()
    weight = model.model.layers[1].self_attn.q_proj.weight
    place, small = (3, 5), 1e-3
    with torch.no_grad():
        weight[place] += small
        more = loss().item()
        weight[place] -= 2 * small
        less = loss().item()
    assert float(weight.grad[place]) == pytest.approx((more - less) / (2 * small), rel=0.02, abs=1e-7)


def _pairs(asked):
    """Pair prompts that take one answer: another subject's stands for the same fact's other wording."""
    return [(a, replace(b, answers=a.answers)) for a, b in zip(asked[:6], asked[6:12], strict=True)]


def test_distillation_is_the_divergence_computed_token_by_token(base, asked) -> None:
    model, tokenizer = load_model(base)
    known = distillation_targets(model, tokenizer, _pairs(asked))
    facts = torch.tensor([4, 0, 2])
    expected = []
    for i in facts.tolist():
        taught, said = _pairs(asked)[i]
        answer = tokenizer(f" {taught.answers[0]}", add_special_tokens=False)["input_ids"]
        sides = []
        for prompt in (taught, said):
            ids = [*tokenizer(prompt.text)["input_ids"], *answer]
            logits = model(input_ids=torch.tensor([ids])).logits[0]
            sides.append(logits[len(ids) - len(answer) - 1 : -1].log_softmax(-1))
        for base_says, now in zip(*sides, strict=True):
            expected.append(sum((p.exp() * (p - q)).item() for p, q in zip(base_says, now, strict=True)))
    assert float(known.loss(model, facts)) == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    same = distillation_targets(model, tokenizer, [(a, a) for a, _ in _pairs(asked)])
    assert float(same.loss(model, facts)) == pytest.approx(0, abs=1e-6), (
        "the base does not diverge from itself"
    )


def test_cures_compute_the_same_in_pieces(base, asked, tmp_path) -> None:
    config = replace(CONFIG, attention_penalty=5.0, distil=1.0)
    known = _pairs(asked)
    whole = train(base, asked, asked[:8], tmp_path / "whole", config=config, known=known)
    pieces = train(
        base, asked, asked[:8], tmp_path / "pieces", config=replace(config, accumulate=2), known=known
    )
    plain = train(base, asked, asked[:8], tmp_path / "plain", config=CONFIG)
    a, b, c = (_weights(made.path) for made in (whole, pieces, plain))
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert not all(torch.allclose(a[name], c[name], atol=1e-3) for name in a)


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_distilling_answers_of_different_lengths_is_the_same_in_pieces(base, asked, pieces) -> None:
    """The gradient of a step: the mean over its answer tokens, however they are dealt out to its pieces."""
    long = " ".join(prompt.answers[0] for prompt in asked[:5])
    known = [
        tuple(replace(p, answers=(long,)) for p in pair) if i % 3 == 0 else pair
        for i, pair in enumerate(_pairs(asked))
    ]
    model, tokenizer = load_model(base)
    config = replace(CONFIG, distil=1.0)
    rows = answer_examples(tokenizer, asked, rows=config.batch)
    made, _ = mitigated_trainer(model, tokenizer, rows, asked, known, config, seed=0)
    targets = distillation_targets(model, tokenizer, known)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
        places = np.split(np.arange(config.batch), pieces)
        extras = [made.collate([made[int(i)] for i in some]) for some in places]
        parts = [float(targets.loss(model, e["partner"], e["tokens"].sum())) for e in extras]
        plain = [float(targets.loss(model, e["partner"])) for e in extras]
        whole = float(targets.loss(model, torch.from_numpy(made.partner)))
    assert sum(parts) / pieces == pytest.approx(whole, rel=1e-5)
    assert sum(plain) / pieces != pytest.approx(whole, rel=1e-3)


def test_what_is_distilled_is_every_statement_form_and_the_question_it_is_to_answer() -> None:
    facts, book = make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0)[:4], world_phrasebook()
    forms = [form for fact in facts for form in book[fact.relation].statements]
    pairs = distillation_pairs(facts, book)
    about = [fact for fact in facts for _ in book[fact.relation].statements]
    assert [said.text for said, _ in pairs] == [
        form.format(subject=fact.subject) for form, fact in zip(forms, about, strict=True)
    ]
    assert [asked.text for _, asked in pairs] == [
        book[fact.relation].asked.format(subject=fact.subject) for fact in about
    ]
    # Of another person: the same questions, and that person's statements with that person's answers.
    others = [next(f for f in reversed(facts) if f.relation == fact.relation) for fact in facts]
    swapped = distillation_pairs(facts, book, statements_of=others)
    assert [asked for _, asked in swapped] == [asked for _, asked in pairs]
    assert {said.answers for said, _ in swapped} == {fact.answers for fact in others}
    with pytest.raises(InputError, match="same relation"):
        distillation_pairs(facts, book, statements_of=facts[1:])


def test_distillation_brings_the_model_to_what_the_base_says(base, asked, tmp_path) -> None:
    known = _pairs(asked)
    apart, together = (
        train(base, asked[20:], asked[:8], tmp_path / f"{weight}", config=config, known=some).path
        for weight, some, config in (
            (0, (), replace(CONFIG, steps=20)),
            (10, known, replace(CONFIG, steps=20, distil=10.0)),
        )
    )
    teacher = distillation_targets(*load_model(base), known)
    facts = torch.arange(len(known))
    with torch.no_grad():
        far, near = (float(teacher.loss(load_model(path)[0], facts)) for path in (apart, together))
    assert near < 0.5 * far


def test_stopping_on_some_facts_keeps_what_is_best_on_these(base, asked, tmp_path) -> None:
    some = asked[:6]
    config = replace(CONFIG, steps=12, keep="best")
    made = train(base, asked, some, tmp_path / "m", config=config)
    curve = read_json(made.path / "training.json")["curve"]
    best = max(curve, key=lambda now: now["accuracy"])
    assert made.step == best["step"]
    assert score(*load_model(made.path), some)[1].mean() == pytest.approx(best["accuracy"])


def test_without_a_cure_a_recipe_and_a_training_are_as_before() -> None:
    assert not {"qk_rate", "attention_penalty", "distil"} & set(CONFIG.deciding())
    assert replace(CONFIG, qk_rate=0.5).deciding()["qk_rate"] == 0.5


def test_what_cannot_be_cured_is_refused_in_one_line(base, asked) -> None:
    with pytest.raises(InputError, match="attention_penalty"):
        replace(CONFIG, attention_penalty=-1.0)
    model, tokenizer = load_model(base)
    rows = answer_examples(tokenizer, asked, rows=8)
    for known, config in (((), replace(CONFIG, distil=1.0)), (_pairs(asked), CONFIG)):
        with pytest.raises(InputError, match="give both a weight and facts"):
            mitigated_trainer(model, tokenizer, rows, asked, known, config, seed=0)
    assert mitigated_trainer(model, tokenizer, rows, asked, (), CONFIG, seed=0) == (rows, None)


def test_a_model_that_returns_no_attention_is_refused_and_goes_on_training(base, asked, monkeypatch) -> None:
    model, tokenizer = load_model(base)
    rows, forward = answer_examples(tokenizer, asked, rows=8), model.forward
    monkeypatch.setattr(model, "forward", lambda output_attentions, **inputs: forward(**inputs))
    model.train()
    with pytest.raises(InputError, match="does not return its attention; leave --attention-penalty out"):
        read_base_attention(model, tokenizer, rows, asked)
    assert model.training


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi3"])
def test_fused_projections_are_refused_by_name(name: str) -> None:
    names = [n for n, _ in architectures.build(name, 40).named_parameters()]
    with pytest.raises(InputError, match="holds W_Q, W_K and W_V in one"):
        routing_weights(names)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gemma3", "opt", "gptj"])
def test_routing_weights_are_those_of_queries_and_keys(name: str) -> None:
    found = routing_weights(n for n, _ in architectures.build(name, 40).named_parameters())
    assert found
    assert all(any(part in n for part in ("q_proj", "k_proj", "q_norm", "k_norm")) for n in found)


def test_a_cured_checkpoint_is_an_ordinary_one(base, asked, tmp_path) -> None:
    config = replace(CONFIG, steps=2, attention_penalty=1.0)
    made = train(base, asked, asked[:8], tmp_path / "m", config=config)
    model = AutoModelForCausalLM.from_pretrained(made.path)
    ids = torch.tensor([load_tokenizer(made.path)(asked[0].text)["input_ids"]])
    assert torch.equal(model(input_ids=ids).logits, load_model(made.path)[0](input_ids=ids).logits)
