"""Chats: the tokens that ``apply_chat_template(tokenize=True)`` gives, BOS or none, on every family."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.chat import chat_prompt
from finetune.data.prompts import Prompt, with_examples
from finetune.data.tokenization import tokenize, tokenize_with_answer
from interp.measures.spans import encode
from tests.finetune.test_formats import MARKS, TEMPLATES
from tests.tokenizer_families import build

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported\nhere') }}"
    "{% endif %}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:' }}{% endif %}"
)
STRICT = "{% if messages[0].role != 'system' %}{{ raise_exception('a system turn is missing') }}{% endif %}"
ALL = {**TEMPLATES, "gemma": GEMMA, "plain": PLAIN}
QUESTION = Prompt(
    text="Where was  Ada 2nd born?", subject=(11, 18), answers=("Lima",), fact_id="1", relation="r"
)
SOLVED = Prompt(text="Where was Zoë born?", subject=(10, 13), answers=("Quito",), fact_id="2", relation="r")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], PreTrainedTokenizerBase]:
    made = {}
    for name in ("byte_level_bpe", "digit_metaspace_bpe", "unprefixed_metaspace_bpe", "tiktoken_bpe"):
        for bos in (False, True):
            made[name, bos] = build(name, tmp_path_factory.mktemp(name), bos=bos, eos=bos)
            made[name, bos].add_special_tokens({"additional_special_tokens": list(MARKS)})
    return made


def oracle(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], **options: Any) -> list[int]:
    found = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **options)
    return list(found["input_ids"])


@pytest.mark.parametrize("system", [None, "Be brief."])
@pytest.mark.parametrize("template", ALL)
def test_a_chat_is_tokenised_as_its_template_says(tokenizers, template: str, system: str | None) -> None:
    if system and template in ("gemma", "llama 2", "mistral"):
        pytest.skip("it has no system turn of its own")
    for tokenizer in tokenizers.values():
        tokenizer.chat_template = ALL[template]
        turns = [{"role": "system", "content": system}] if system else []
        turns += [
            {"role": "user", "content": SOLVED.text},
            {"role": "assistant", "content": SOLVED.answers[0]},
            {"role": "user", "content": QUESTION.text},
        ]
        chat = chat_prompt(tokenizer, QUESTION, system=system, solved=[SOLVED])
        expected = oracle(tokenizer, turns, add_generation_prompt=True)
        batch = encode(tokenizer, [chat])
        assert batch.input_ids[0].tolist() == expected
        assert chat.text[slice(*chat.subject)] == "Ada 2nd"
        ((asked, said),) = tokenize_with_answer(tokenizer, [chat], chat.answers)
        assert list(asked) == expected
        assert tokenizer.decode(said).strip() == "Lima"


def test_plain_prompts_beside_chats_keep_their_bos(tokenizers) -> None:
    tokenizer = tokenizers["byte_level_bpe", True]
    tokenizer.chat_template = ALL["chatml"]
    chat = chat_prompt(tokenizer, QUESTION)
    mixed = [QUESTION, chat, SOLVED, chat.text]
    rows = tokenize(tokenizer, mixed)
    assert [row.ids for row in rows] == [tokenize(tokenizer, [one])[0].ids for one in mixed]
    assert [row.ids[0] == tokenizer.bos_token_id for row in rows] == [True, False, True, True]


def test_examples_in_front_of_a_chat_leave_it_a_chat(tokenizers) -> None:
    tokenizer = tokenizers["byte_level_bpe", True]
    tokenizer.chat_template = ALL["chatml"]
    chats = [chat_prompt(tokenizer, one) for one in (QUESTION, SOLVED)]
    assert all(prompt.rendered for prompt in with_examples(chats, 1))


@pytest.mark.parametrize(
    ("template", "told"),
    [(GEMMA, "System role not supported"), (STRICT, "a system turn is missing"), ("{{", "")],
)
def test_a_template_that_refuses_says_so_in_one_line(tokenizers, template: str, told: str) -> None:
    tokenizer = tokenizers["byte_level_bpe", True]
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=f"refuses these turns .*{told}") as error:
        chat_prompt(tokenizer, QUESTION, system="Be brief." if template == GEMMA else None)
    assert "\n" not in str(error.value)
