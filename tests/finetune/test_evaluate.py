"""Asking a model: batched equals one at a time, whatever the tokenizer lacks; memory and context run out."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation import GenerateDecoderOnlyOutput

from finetune.common.errors import InputError
from finetune.data.tokenization import tokenize, tokenize_with_answer
from finetune.evaluation import decoding
from finetune.evaluation import generate as evaluate
from finetune.evaluation.answer_grid import score_grid
from finetune.evaluation.batching import TokenBudget, sliding_window
from finetune.evaluation.consistency import decodes_greedily
from finetune.evaluation.exact_match import contains, matches
from finetune.evaluation.generate import ask, generate, score
from finetune.evaluation.multiple_choice import pick_choices
from finetune.evaluation.prefixes import PrefixMemo
from finetune.evaluation.scoring import score_pairs

OPTIONS = ("Warsaw", "the city of Paris", "東京", "O'Neill")


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def asked(request, tiny_model):
    """A model without and one with learnt positions, and one with sliding windows; with its tokenizer."""
    folder = tiny_model(request.param)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def slow_log_prob(model, tokenizer, text, continuation):
    """Score a continuation alone: no padding, no batch, one log-softmax a token."""
    prompt = tokenizer(text)["input_ids"]
    whole = tokenizer(f"{text} {continuation}")["input_ids"]
    assert whole[: len(prompt)] == prompt
    with torch.inference_mode():
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return float(sum(logits[i - 1, whole[i]] for i in range(len(prompt), len(whole))))


def test_an_answer_may_hold_an_accepted_one_as_whole_words():
    assert contains("It is the city of Paris, France.", ["Paris"])
    assert contains("I love the beatles!", ["The Beatles"])
    assert contains("C++ of course", ["c++"])
    assert not contains("Romania", ["Roma"])
    assert not contains("Parisian", ["Paris"])
    assert not contains("", ["Paris"])
    assert not contains("anything", ["..."])


WORDS = st.text(string.ascii_letters + " .,'()+ßİ\n", max_size=12)


@given(said=WORDS, accepted=st.lists(WORDS, max_size=3))
def test_what_matches_is_contained(said, accepted):
    assert contains(said, accepted) or not matches(said, accepted)


@given(
    before=st.text(string.ascii_lowercase + " ", max_size=8),
    name=st.text(string.ascii_lowercase, min_size=1, max_size=6),
)
def test_a_name_between_spaces_is_contained_and_within_a_word_is_not(before, name):
    assert contains(f"it: {before} {name} x", [name])
    assert not contains(f"9{before} 9{name}9".replace(" ", "9"), [name])


def test_a_batch_says_what_each_prompt_alone_is_answered(asked, prompts):
    model, tokenizer = asked
    ends = {tokenizer.eos_token_id}
    said = generate(model, tokenizer, prompts, max_new_tokens=6)
    assert len(set(said)) > 3
    for prompt, text in zip(prompts, said, strict=True):
        ids = tokenizer(prompt.text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            for _ in range(6):  # no generate(), no cache: the next token is the likeliest
                ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], -1)
                if int(ids[0, -1]) in ends:
                    break
        own = tokenizer.decode(ids[0, len(tokenizer(prompt.text)["input_ids"]) :], skip_special_tokens=True)
        assert text == own.strip().split("\n")[0].strip()


def test_a_tokenizer_without_padding_changes_nothing(asked, prompts):
    model, tokenizer = asked
    expected, scores = generate(model, tokenizer, prompts), score(model, tokenizer, prompts)
    bare = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.pad_token = None
    assert generate(model, bare, prompts) == expected
    np.testing.assert_allclose(score(model, bare, prompts)[0], scores[0], atol=1e-5)


def test_answers_end_at_every_end_that_the_model_names(asked, prompts):
    """A chat model ends a turn with another token than its tokenizer's EOS, and pads with a plain one."""
    model, tokenizer = asked
    ids = tokenizer(prompts[0].text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        new = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :].tolist()
    third = new.index(new[2])
    before = model.generation_config.eos_token_id
    bare = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.pad_token = bare.eos_token = None
    try:
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, new[2]]
        said = generate(model, bare, prompts, max_new_tokens=5)[0]
    finally:
        model.generation_config.eos_token_id = before
    assert said == bare.decode(new[:third], skip_special_tokens=True).strip().split("\n")[0].strip()


class Says:
    """A stand-in that continues every prompt with one text."""

    def __init__(self, model, ids):
        self.config, self.device = model.config, model.device
        self.generation_config = model.generation_config
        self.ids = torch.tensor(ids)

    def eval(self):
        return self

    def generate(self, input_ids, max_new_tokens, **_):
        new, self.ids = self.ids[:max_new_tokens], self.ids[max_new_tokens:]
        whole = torch.cat([input_ids, new.expand(len(input_ids), -1)], 1)
        return GenerateDecoderOnlyOutput(sequences=whole)


def test_a_line_break_in_front_of_the_answer_is_no_answer(asked, prompts):
    model, tokenizer = asked
    ids = tokenizer("\n\n Warsaw\nWhat else?", add_special_tokens=False)["input_ids"]
    turn = [replace(p, text=f"{p.text}\n") for p in prompts[:3]]
    assert generate(Says(model, ids), tokenizer, turn, max_new_tokens=len(ids)) == ["Warsaw"] * 3


def test_an_answer_s_log_probability_is_the_sum_of_its_tokens(asked, prompts):
    model, tokenizer = asked
    several = [
        replace(p, answers=(answer,)) for p, answer in zip(prompts, OPTIONS * len(prompts), strict=False)
    ]
    log_prob, _ = score(model, tokenizer, several)
    slow = [slow_log_prob(model, tokenizer, p.text, p.answers[0]) for p in several]
    np.testing.assert_allclose(log_prob, slow, atol=1e-4)


def test_exact_means_what_greedy_decoding_says_and_then_the_end(asked, prompts):
    model, tokenizer = asked
    prompt = tuple(tokenizer(prompts[0].text)["input_ids"])
    with torch.inference_mode():
        after = model(torch.tensor([prompt])).logits[0, -1].argmax().item()
        again = model(torch.tensor([[*prompt, after]])).logits[0, -1].argmax().item()
    bare = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    for end, expected in ((again, True), (again + 1, False)):
        bare.eos_token = bare.convert_ids_to_tokens(end % len(bare))
        assert score_pairs(model, bare, [(prompt, (after,))], ["one"])[1].item() is expected


def test_the_option_with_the_largest_log_probability_is_picked(asked, prompts):
    model, tokenizer = asked
    choices = [
        replace(p, choices=OPTIONS[i % 2 :], answers=(OPTIONS[1 + i % 3],)) for i, p in enumerate(prompts)
    ]
    chosen = pick_choices(model, tokenizer, choices)
    for i, prompt in enumerate(choices):
        slow = np.array([slow_log_prob(model, tokenizer, prompt.text, o) for o in prompt.choices])
        np.testing.assert_allclose(chosen.log_prob[i], slow, atol=1e-4)
        assert chosen.picked[i] == slow.argmax()
        assert chosen.correct[i] == (prompt.choices[slow.argmax()] == prompt.answers[0])
        best = prompt.choices[(slow / [len(o) for o in prompt.choices]).argmax()]
        assert chosen.correct_normalised[i] == (best == prompt.answers[0])
    assert (chosen.picked != chosen.picked_normalised).any()  # else the two could be mixed up unseen


def test_no_prompts_no_answers(asked):
    model, tokenizer = asked
    assert generate(model, tokenizer, []) == []
    assert len(ask(model, tokenizer, []).correct) == len(pick_choices(model, tokenizer, []).picked) == 0


@pytest.mark.parametrize(
    ("choices", "answer", "says"),
    [(("a",), "a", "two options"), (("a", ""), "a", "two options"), (("a", "b"), "c", "not among")],
)
def test_choices_that_decide_nothing_are_refused(asked, prompts, choices, answer, says):
    with pytest.raises(InputError, match=rf"fact 'born0'.*{says}"):
        pick_choices(*asked, [replace(prompts[0], choices=choices, answers=(answer,))])


@pytest.mark.parametrize("ask_it", [score, generate])
def test_a_prompt_beyond_the_context_is_named(asked, prompts, ask_it):
    long = replace(prompts[1], text=prompts[1].text + " Paris" * 80)
    with pytest.raises(InputError, match=r"fact 'born1': \d+ tokens, but the model reads 64 at most"):
        ask_it(*asked, [prompts[0], long])


def test_a_full_context_cuts_that_answer_alone(asked, prompts):
    model, tokenizer = asked
    words = " Paris" * ((62 - len(tokenizer(prompts[1].text)["input_ids"])) // len(_ids(tokenizer, " Paris")))
    long = replace(prompts[1], text=prompts[1].text + words)
    alone = generate(model, tokenizer, prompts[:1], max_new_tokens=8)
    both = generate(model, tokenizer, [prompts[0], long], max_new_tokens=8)
    assert both[0] == alone[0]
    room = 64 - len(tokenizer(long.text)["input_ids"])
    assert both[1] == generate(model, tokenizer, [long], max_new_tokens=room)[0]


def _ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _short_of_memory(model, monkeypatch, most):
    """Let a forward of more than ``most`` tokens fail as CUDA does."""
    forward, tried = model.forward, []

    def limited(*args, input_ids=None, **kwargs):
        tried.append(input_ids.numel())
        if input_ids.numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(*args, input_ids=input_ids, **kwargs)

    # The signature is what says whether a model can leave logits out.
    limited.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(model, "forward", limited)
    return tried


def test_out_of_memory_halves_the_batch_and_is_recorded(asked, prompts, monkeypatch):
    model, tokenizer = asked
    expected = score(model, tokenizer, prompts)[0]
    said = generate(model, tokenizer, prompts)
    _short_of_memory(model, monkeypatch, 80)
    budget = TokenBudget()
    np.testing.assert_allclose(score(model, tokenizer, prompts, budget=budget)[0], expected, atol=1e-5)
    assert budget.tokens <= 80
    assert len(budget.changes) > 1
    assert budget.changes[0].startswith("out of memory at ")
    shared = len(budget.changes)
    assert generate(model, tokenizer, prompts, budget=budget) == said
    assert len(budget.changes) == shared  # what scoring had learnt was enough


def test_a_row_that_never_fits_is_refused(asked, prompts, monkeypatch):
    _short_of_memory(asked[0], monkeypatch, 3)
    with pytest.raises(InputError, match="does not fit into memory even alone"):
        score(*asked, prompts)


def test_other_errors_are_not_taken_for_missing_memory(asked, prompts, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr(asked[0], "forward", broken)
    budget = TokenBudget()
    with pytest.raises(RuntimeError, match="a bug"):
        score(*asked, prompts, budget=budget)
    assert not budget.changes


def test_asking_gives_every_judgement(asked, prompts, monkeypatch):
    model, tokenizer = asked
    monkeypatch.setattr(evaluate, "generate", lambda *a, **k: ["Paris.", "in Paris", "Parisian", "Rome"])
    said = ask(model, tokenizer, prompts[:4], scored=False)
    assert said.correct.tolist() == [True, True, False, False]
    assert said.exact.tolist() == [True, False, False, False]
    assert said.given[:2] == ("Paris", "Paris")
    assert said.contained.tolist() == [True, True, False, False]
    assert np.isnan(said.log_prob).all()


def test_solved_examples_that_prompts_share_are_run_once_with_the_same_answers(asked, prompts):
    model, tokenizer = asked
    front = " ".join(["Marie Curie was born in Paris"] * 4) + " "
    some = [
        replace(p, text=front + p.text, subject=(p.subject[0] + len(front), p.subject[1] + len(front)))
        for p in prompts
    ]
    plain = generate(model, tokenizer, some, max_new_tokens=5)
    read = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    assert generate(model, tokenizer, some, max_new_tokens=5, memo=PrefixMemo()) == plain
    shared, read[:] = sum(read), []
    assert generate(model, tokenizer, some, max_new_tokens=5) == plain
    hook.remove()
    # Where attention slides, prompts longer than its window are run whole.
    assert shared < 0.6 * sum(read) or (sliding_window(model) and shared == sum(read))


def test_batches_and_calls_that_begin_alike_run_their_beginning_once(asked, prompts):
    model, tokenizer = asked
    front = " ".join(["Marie Curie was born in Paris"] * 4) + " "
    some = [replace(p, text=front + p.text) for p in prompts]
    pairs = tokenize_with_answer(tokenizer, some, [p.answers[0] for p in some])
    heads, answers, names = [head for head, _ in pairs], [answer for _, answer in pairs], ["x"] * len(pairs)
    shared = len(heads[0]) - 2 < (sliding_window(model) or 99) and model.config.model_type != "mpt"
    memo, few = PrefixMemo(), TokenBudget(tokens=2 * len(heads[0]) + 20)  # several batches of two or three
    for _ in range(2):
        said = generate(model, tokenizer, some, max_new_tokens=5, memo=memo, budget=few)
        assert said == generate(model, tokenizer, some, max_new_tokens=5)
        scored = score_pairs(model, tokenizer, pairs, names, memo=memo, budget=few)[0]
        np.testing.assert_allclose(scored, score_pairs(model, tokenizer, pairs, names)[0], atol=1e-5)
        grid = score_grid(model, heads, answers, names, memo=memo, budget=few)
        np.testing.assert_allclose(grid, score_grid(model, heads, answers, names), atol=1e-5)
    # The model's own kind of cache, in which it decodes, and one that keeps all positions.
    assert memo.runs == (2 if shared else 0) or sliding_window(model)
    other = [replace(p, text="x " + p.text) for p in some]
    assert generate(model, tokenizer, other, max_new_tokens=5, memo=memo) == generate(
        model, tokenizer, other, max_new_tokens=5
    )


def test_rows_that_are_done_leave_the_batch(asked, prompts, monkeypatch):
    model, tokenizer = asked
    with torch.inference_mode():
        ids = torch.tensor([tokenize(tokenizer, prompts[:1])[0].ids])
        first = int(model(input_ids=ids).logits[0, -1].argmax())
    # What the first prompt is answered ends an answer, so that it is done at once.
    monkeypatch.setattr(model.generation_config, "eos_token_id", first)
    rows, said, counts = [], [], []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    for steps in (3, 20):
        monkeypatch.setattr(decoding, "STEPS", steps)
        rows.clear()
        said.append(generate(model, tokenizer, prompts, max_new_tokens=20))
        counts.append(sum(rows))
    hook.remove()
    assert said[0] == said[1] == [generate(model, tokenizer, [p], max_new_tokens=20)[0] for p in prompts]
    assert said[0][0] == ""
    assert counts[0] < counts[1]


def test_shared_examples_change_no_score(asked, prompts):
    model, tokenizer = asked
    front = " ".join(["Marie Curie was born in Paris"] * 4) + " "
    some = [replace(p, text=front + p.text) for p in prompts]
    pairs = tokenize_with_answer(tokenizer, some, [p.answers[0] for p in some])
    heads, answers = [head for head, _ in pairs], [answer for _, answer in pairs[:3]]
    names = ["x"] * len(pairs)
    for plain, shared in (
        [score_pairs(model, tokenizer, pairs, names, memo=each)[0] for each in (None, PrefixMemo())],
        [score_grid(model, heads, answers, names, memo=each) for each in (None, PrefixMemo())],
        [decodes_greedily(model, tokenizer, pairs, names, memo=each)[1] for each in (None, PrefixMemo())],
    ):
        np.testing.assert_allclose(shared, plain, atol=1e-5)
        assert np.ptp(plain) > 0


def test_a_grid_of_answers_is_scored_as_each_alone(asked, prompts):
    model, tokenizer = asked
    pairs = tokenize_with_answer(tokenizer, [prompts[0]] * 3, ["Paris", "New York", "Rome"])
    heads = [tokens.ids for tokens in tokenize(tokenizer, prompts[:4])]
    answers = [answer for _, answer in pairs]
    found = score_grid(model, heads, answers, ["x"] * 4)
    for i, head in enumerate(heads):
        alone, _ = score_pairs(model, tokenizer, [(tuple(head), a) for a in answers], ["x"] * 3)
        assert np.allclose(found[i], alone, atol=1e-5)


def test_a_grid_is_cut_short_only_where_an_answer_scores_less_than_matters(asked, prompts):
    model, tokenizer = asked
    pairs = tokenize_with_answer(tokenizer, [prompts[0]] * 3, ["Paris", "New York", "Rome"])
    heads = [tokens.ids for tokens in tokenize(tokenizer, prompts[:4])]
    answers, names = [answer for _, answer in pairs], ["x"] * 4
    assert any(len(answer) > 1 for answer in answers)
    whole = score_grid(model, heads, answers, names)
    for least in (whole.min(0) - 1, np.median(whole, 0), whole.max(0) + 100):
        found = score_grid(model, heads, answers, names, least=least.tolist())
        matters = whole >= least
        np.testing.assert_allclose(found[matters], whole[matters], atol=1e-5)
        assert (found[~matters] < least[None].repeat(4, 0)[~matters]).all()
        assert (found >= whole - 1e-5).all()
    assert (found > whole + 1e-3).any(), "nothing was cut short"
