"""Prompts run once: what goes on from their keys and values is what a model says of the whole text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    MptConfig,
    MptForCausalLM,
    OpenAIGPTConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForCausalLM,
    RwkvConfig,
    XLNetConfig,
)

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.tokenization import end_ids, tokenize, tokenize_with_answer
from finetune.evaluation.answer_grid import score_grid
from finetune.evaluation.answer_words import first_line
from finetune.evaluation.batching import TokenBudget, context_limit, sliding_window
from finetune.evaluation.cache_parity import goes_on_from_cache
from finetune.evaluation.consistency import decodes_greedily
from finetune.evaluation.decoding import complete_cached
from finetune.evaluation.generate import ask, generate, generate_and_score, score
from finetune.evaluation.prefixes import PrefixMemo, common_prefix
from finetune.evaluation.prompt_cache import RanPrompts, run_prompts
from finetune.evaluation.scoring import score_pairs
from tests import architectures

FRONT = "Marie Curie was born in Paris. Marie Curie was born in New York. "
SUBJECTS = ("Bob", "Marie Curie of Warsaw", "Bob the third of New York", "Ada", "Bob Curie")
Asked = tuple[PreTrainedModel, PreTrainedTokenizerBase]


# Among them windows, local attention, learnt positions with an offset, and biases by distance.
@pytest.fixture(
    scope="module", params=["llama", "gpt2", "gpt_neox", "gemma3", "gpt_neo", "opt", "bloom", "mpt"]
)
def asked(request: pytest.FixtureRequest, tiny_tokenizer: PreTrainedTokenizerBase) -> Asked:
    size, name = len(tiny_tokenizer), request.param
    if name == "mpt":
        torch.manual_seed(0)
        config = MptConfig(d_model=16, n_heads=2, n_layers=2, vocab_size=size, initializer_range=0.5)
        return MptForCausalLM(config).eval(), tiny_tokenizer
    local = {"window_size": 16} if name == "gpt_neo" else {}
    return architectures.build(name, size, **local), tiny_tokenizer


def prompts(front: str) -> list[Prompt]:
    texts = [f"{front}{subject} was born in" for subject in SUBJECTS]
    return [
        Prompt(text=text, subject=(len(front), len(front) + 3), answers=("New York",), relation="r")
        for text in texts
    ]


def logits_of(model: PreTrainedModel, ids: list[int], last: int) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -last:]


@pytest.mark.parametrize("front", ["", FRONT])
@pytest.mark.parametrize("shared", [False, True])
def test_tails_are_read_as_behind_the_whole_prompt(asked: Asked, front: str, shared: bool) -> None:
    model, tokenizer = asked
    rows = [list(tokens.ids) for tokens in tokenize(tokenizer, prompts(front))]
    cache, first = run_prompts(model, rows, 0, front=common_prefix(model, rows, 4) if shared else 0)
    apart = model.config.model_type == "mpt" or (sliding_window(model) or 99) < len(rows[0])
    assert bool(common_prefix(model, rows, 4)) == (front == FRONT and not apart)
    for row, logits in zip(rows, first, strict=True):
        torch.testing.assert_close(logits, logits_of(model, row, 1)[0], atol=1e-4, rtol=1e-4)
    some, tails = torch.tensor([3, 0, 3, 1]), torch.tensor([[5, 6, 7], [8, 9, 0], [7, 6, 5], [9, 8, 5]])
    for _ in range(2):  # asking leaves what is kept as it was
        found = cache.tail_logits(tails, some)
        for k, i in enumerate(some.tolist()):
            whole = logits_of(model, rows[i] + tails[k].tolist(), 3)
            torch.testing.assert_close(found[k, :2], whole[:2], atol=1e-4, rtol=1e-4)
        every = cache.tail_logits(tails[:1, :1].expand(len(rows), 1), torch.arange(len(rows)))
        for row, logits in zip(rows, every, strict=True):
            whole = logits_of(model, [*row, 5], 1)
            torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("front", ["", FRONT])
def test_answers_are_those_of_generate(asked: Asked, front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's own settings of decoding hold for the first new token, too."""
    model, tokenizer = asked
    some = prompts(front)
    rows = [tokens.ids for tokens in tokenize(tokenizer, some)]
    said = []
    for penalty in (1.0, 3.0):
        monkeypatch.setattr(model.generation_config, "repetition_penalty", penalty)
        cache, _ = run_prompts(model, rows, 0, front=common_prefix(model, rows, 8))
        said.append(complete_cached(cache, tokenizer, room=8, limit=None))
        assert said[-1] == generate(model, tokenizer, some, max_new_tokens=8)
    assert said[0] != said[1], "or the penalty tests nothing"


@pytest.mark.parametrize("memo", [None, PrefixMemo()], ids=["apart", "shared"])
def test_asking_is_generating_and_scoring_and_runs_each_prompt_once(
    asked: Asked, memo: PrefixMemo | None
) -> None:
    model, tokenizer = asked
    some = [replace(prompt, answers=("Paris",)) for prompt in prompts(FRONT)]
    some[0] = replace(some[0], answers=("New York of New York and of Warsaw",))  # many tokens
    if limit := context_limit(model):  # and a prompt behind which there is room for few
        full = [replace(some[1], text=f"{FRONT}{'Bob ' * n}was born in") for n in range(1, min(limit, 64))]
        some[1] = [p for p in full if len(tokenize(tokenizer, [p])[0].ids) <= min(limit, 64) - 3][-1]
    read = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    assert goes_on_from_cache(model)
    both = ask(model, tokenizer, some, max_new_tokens=2, memo=memo)
    once, read[:] = sum(read), []
    said = generate(model, tokenizer, some, max_new_tokens=2, memo=memo)
    log_prob, _ = score(model, tokenizer, some, memo=memo)
    hook.remove()
    assert both.predictions == tuple(said)
    np.testing.assert_allclose(both.log_prob, log_prob, atol=1e-4)
    assert once < 0.9 * sum(read)


@pytest.mark.parametrize("shared", [False, True])
def test_prompts_that_were_run_are_asked_more_without_being_run_again(asked: Asked, shared: bool) -> None:
    model, tokenizer = asked
    some, memo, ran = prompts(FRONT), PrefixMemo() if shared else None, RanPrompts()
    said, scores = generate_and_score(
        model, tokenizer, some, temperatures=(1.0, 0.5), max_new_tokens=4, memo=memo, ran=ran
    )
    assert said == generate(model, tokenizer, some, max_new_tokens=4)
    for k, temperature in enumerate((1.0, 0.5)):
        alone, _ = score(model, tokenizer, some, temperature=temperature)
        np.testing.assert_allclose(scores[:, k], alone, atol=1e-4)
    pairs = tokenize_with_answer(tokenizer, some, [p.answers[0] for p in some])
    sampled = decodes_greedily(model, tokenizer, pairs, ["x"] * len(some), temperature=0.5)[1]
    np.testing.assert_allclose(np.exp(scores[:, 1]), sampled, rtol=1e-3)
    # In another order, some of them, twice; and with one that was not run, which all are run again for.
    rows = [head for head, _ in pairs]
    answers, read = [pairs[0][1], pairs[0][1][:1]], []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    for told in (rows[::-1], rows[3:1:-1], [*rows, (*rows[0], 3)]):
        read.clear()
        found = score_grid(model, told, answers, ["x"] * len(told), memo=memo, ran=ran)
        assert (max(read) <= len(told) * (len(answers[0]) - 1)) == (len(told) <= len(rows))
        alone = score_grid(model, told, answers, ["x"] * len(told))
        np.testing.assert_allclose(found, alone, atol=1e-4)
    hook.remove()
    small = RanPrompts(most=10)
    run_prompts(model, rows, 0, ran=small)
    assert small.of(rows) is None


@pytest.mark.parametrize(("setting", "value"), [("cache_implementation", "static"), ("use_cache", False)])
@pytest.mark.parametrize("room", [4, 8])
def test_a_model_that_asks_for_another_cache_or_none_answers_all_the_same(
    asked: Asked, setting: str, value: str | bool, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = asked
    some = prompts(FRONT)
    rows = [tokens.ids for tokens in tokenize(tokenizer, some)]
    plain = generate(model, tokenizer, some, max_new_tokens=room)
    monkeypatch.setattr(model.generation_config, setting, value)
    cache, _ = run_prompts(model, rows, 0, front=common_prefix(model, rows, room))
    assert complete_cached(cache, tokenizer, room=room, limit=None) == plain
    assert generate(model, tokenizer, some, max_new_tokens=room, memo=PrefixMemo()) == plain


def test_a_prompt_of_one_token_is_completed(asked: Asked) -> None:
    model, tokenizer = asked
    row = [tokenize(tokenizer, prompts(""))[0].ids[-1]]
    cache, first = run_prompts(model, [row], 0)
    torch.testing.assert_close(first[0], logits_of(model, row, 1)[0], atol=1e-4, rtol=1e-4)
    said = complete_cached(cache, tokenizer, room=4, limit=None)
    with torch.inference_mode():
        new = model.generate(torch.tensor([row]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert said[0]
    assert tokenizer.decode(new[0, 1:], skip_special_tokens=True).strip().startswith(said[0].strip())


def test_a_model_with_layers_of_another_kind_is_refused(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    kinds = ["conv", "full_attention"]
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = Lfm2Config(vocab_size=len(tiny_tokenizer), intermediate_size=16, layer_types=kinds, **shape)
    model = Lfm2ForCausalLM(config).eval()
    with pytest.raises(InputError, match=r"Lfm2ForCausalLM.*convolutions.*attention alone"):
        run_prompts(model, [[3, 4, 5]], 0)
    # It is asked all the same; padding behind examples that are run once would enter its state.
    some = prompts(FRONT)
    plain = generate(model, tiny_tokenizer, some, max_new_tokens=3)
    assert generate(model, tiny_tokenizer, some, max_new_tokens=3, memo=PrefixMemo()) == plain
    assert not goes_on_from_cache(model)
    both = ask(model, tiny_tokenizer, some, max_new_tokens=3)
    assert list(both.predictions) == plain
    np.testing.assert_array_equal(both.log_prob, score(model, tiny_tokenizer, some)[0])
    assert generate(model, tiny_tokenizer, some, max_new_tokens=20) == said_without_cache(
        model, tiny_tokenizer, some, 20
    )


def said_without_cache(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, some: list[Prompt], room: int
) -> list[str]:
    """Decode greedily, each prompt alone, the whole text for each token."""
    said = []
    for tokens in tokenize(tokenizer, some):
        ids = list(tokens.ids)
        while len(ids) < len(tokens.ids) + room and ids[-1] not in end_ids(model, tokenizer):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
        said.append(first_line(tokenizer.decode(ids[len(tokens.ids) :], skip_special_tokens=True)))
    return said


def test_a_common_offset_of_logits_hides_no_position_that_is_off(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    config = RobertaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, is_decoder=True, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    for offset in (0.0, -100.0):
        model = RobertaForCausalLM(config).eval()
        with torch.no_grad():
            model.lm_head.bias += offset
        assert not goes_on_from_cache(model)


@pytest.mark.parametrize(
    "setting",
    [
        {"stop_strings": ["x"]},
        {"prompt_lookup_num_tokens": 3},
        {"penalty_alpha": 0.6, "top_k": 4},
        {"forced_eos_token_id": 5},
        {"guidance_scale": 2.0},
        {"exponential_decay_length_penalty": (2, 3.0)},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_of_a_model_that_are_not_of_greedy_decoding_change_nothing(
    setting: dict[str, object], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model, some = architectures.build("llama", len(tiny_tokenizer)), prompts("")
    plain = generate(model, tiny_tokenizer, some, max_new_tokens=14)
    for name, value in setting.items():
        setattr(model.generation_config, name, value)
    assert generate(model, tiny_tokenizer, some, max_new_tokens=14) == plain


@pytest.mark.parametrize("name", ["rwkv", "bart", "openai-gpt", "xlnet"])
def test_models_that_do_not_go_on_from_a_cache_are_asked_and_scored_apart(
    name: str, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    size = {"vocab_size": len(tiny_tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = {
        "rwkv": lambda: RwkvConfig(hidden_size=16, num_hidden_layers=2, **size),
        "bart": lambda: BartConfig(d_model=16, decoder_layers=2, decoder_attention_heads=2, **size),
        "openai-gpt": lambda: OpenAIGPTConfig(n_embd=16, n_layer=2, n_head=2, n_positions=64, **size),
        "xlnet": lambda: XLNetConfig(d_model=16, n_layer=2, n_head=2, d_inner=16, **size),
    }[name]()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    some = prompts("")
    both = ask(model, tiny_tokenizer, some, max_new_tokens=3)
    np.testing.assert_allclose(both.log_prob, score(model, tiny_tokenizer, some)[0], atol=1e-4)
    assert list(both.predictions) == generate(model, tiny_tokenizer, some, max_new_tokens=3)
    pairs = tokenize_with_answer(tiny_tokenizer, some, [p.answers[0] for p in some])
    _, scores = generate_and_score(model, tiny_tokenizer, some, temperatures=(0.5,))
    sampled = decodes_greedily(model, tiny_tokenizer, pairs, ["x"] * 5, temperature=0.5)[1]
    np.testing.assert_allclose(np.exp(scores[:, 0]), sampled, rtol=1e-3)
    # What prompts begin with is not run once, nor is a prompt run once for many answers.
    some = prompts(FRONT)
    for memo in (None, PrefixMemo()):
        pairs = tokenize_with_answer(tiny_tokenizer, some, ["New York", "Paris", "Rome", "Bob", "Ada"])
        plain, _ = score_pairs(model, tiny_tokenizer, pairs, ["x"] * 5)
        np.testing.assert_allclose(
            score_pairs(model, tiny_tokenizer, pairs, ["x"] * 5, memo=memo)[0], plain, atol=1e-4
        )
        heads, answers = zip(*pairs, strict=True)
        grid = score_grid(model, heads, answers, ["x"] * 5, memo=memo)
        np.testing.assert_allclose(grid.diagonal(), plain, atol=1e-4)
        said = generate(model, tiny_tokenizer, some, max_new_tokens=3, memo=memo)
        assert said == generate(model, tiny_tokenizer, some, max_new_tokens=3)


def test_a_window_that_holds_a_prompt_and_not_its_neighbours_answer_shares_no_prefix(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    some = prompts(FRONT)
    some[0] = replace(some[0], answers=("New York of New York and of Warsaw and of Paris",))
    widest = max(len(tokens.ids) for tokens in tokenize(tiny_tokenizer, some))
    model = architectures.build("mistral", len(tiny_tokenizer), sliding_window=widest + 4)
    both = ask(model, tiny_tokenizer, some, max_new_tokens=2, memo=PrefixMemo())
    np.testing.assert_allclose(both.log_prob, score(model, tiny_tokenizer, some)[0], atol=1e-4)


def test_what_is_kept_of_another_model_or_dtype_is_forgotten(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    size = len(tiny_tokenizer)
    first, second = (
        architectures.build("llama", size),
        architectures.build("llama", size, initializer_range=0.5),
    )
    rows, memo = [list(tokens.ids) for tokens in tokenize(tiny_tokenizer, prompts(FRONT))], PrefixMemo()
    front = common_prefix(first, rows, 4)
    assert front
    for model in (first, second, first):
        _, found = run_prompts(model, rows, 0, front=front, memo=memo)
        torch.testing.assert_close(found, run_prompts(model, rows, 0)[1], atol=1e-4, rtol=1e-4)
    assert run_prompts(first.double(), rows, 0, front=front, memo=memo)[1].dtype == torch.float64
    assert memo.runs == 4


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_what_a_window_keeps_is_copied_for_each_batch(
    name: str, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    """A window that is wider than the prompts shares their beginning, in a cache of its own kind."""
    model, some = architectures.build(name, len(tiny_tokenizer), sliding_window=256), prompts(FRONT)
    rows = [list(tokens.ids) for tokens in tokenize(tiny_tokenizer, some)]
    assert common_prefix(model, rows, 6)
    memo, few = PrefixMemo(), TokenBudget(tokens=2 * len(rows[0]))
    for _ in range(2):
        said = generate(model, tiny_tokenizer, some, max_new_tokens=6, memo=memo, budget=few)
        assert said == generate(model, tiny_tokenizer, some, max_new_tokens=6)
    assert memo.runs == 1
