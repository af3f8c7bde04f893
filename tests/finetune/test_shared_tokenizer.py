"""One tokenizer for several checkpoints: which texts each of them can be asked, by its own readings."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase

from finetune.checkpoints.shared_tokenizer import Side, masked_id, shared_tokenizer, unreadable_texts
from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.tokenization import end_ids, tokenize
from interp.measures.spans import encode
from tests.tokenizer_families import build

TEXTS = ("Ada was born in", "<|im_start|>Ada was born in", "Is Ada <|im_end|> 2nd?", "Zoë <|im_start|>")
Family = Callable[[str], PreTrainedTokenizerBase]


@pytest.fixture(params=["byte_level_bpe", "digit_metaspace_bpe", "tiktoken_bpe", "wordpiece"])
def base(request: pytest.FixtureRequest, tmp_path) -> PreTrainedTokenizerBase:
    return build(request.param, tmp_path, bos=True)


def chatml(base: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tuned = copy.deepcopy(base)
    tuned.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tuned.eos_token = "<|im_end|>"
    tuned.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    return tuned


def test_sides_that_agree_in_everything_keep_the_bases_own(base) -> None:
    size = len(base)
    assert shared_tokenizer([Side("a", base, size), Side("b", copy.deepcopy(base), size)]) is base
    assert shared_tokenizer([Side("a", base, size), Side("b", None, size)]) is base
    assert unreadable_texts(base, TEXTS) == {}


def test_tokens_of_its_own_serve_where_the_base_has_no_embedding_for_them(base) -> None:
    tuned, size = chatml(base), len(base)
    shared = shared_tokenizer([Side("base", base, size), Side("mine", tuned, size + 2)])
    assert len(shared) == size + 2
    assert shared.eos_token == "<|im_end|>"
    assert shared.chat_template == tuned.chat_template
    assert end_ids(None, shared) == {base.eos_token_id, tuned.eos_token_id}
    reasons = unreadable_texts(shared, TEXTS)
    assert sorted(reasons) == [1, 2, 3]
    assert reasons[1] == f"base has no embedding for its token '<|im_start|>' (id {size})"
    assert tokenize(shared, TEXTS[:1])[0].ids == tokenize(base, TEXTS[:1])[0].ids
    assert base.chat_template is None  # the sides' own are left as they were


def test_reserved_rows_make_the_tokens_usable_on_both_sides(base) -> None:
    tuned, size = chatml(base), len(base)
    shared = shared_tokenizer([Side("base", base, size + 64), Side("mine", tuned, size + 64)])
    assert unreadable_texts(shared, TEXTS) == {}
    assert [t.ids for t in tokenize(shared, TEXTS)] == [t.ids for t in tokenize(tuned, TEXTS)]


def test_a_reserved_token_that_was_renamed_is_usable(base) -> None:
    reserved, renamed = copy.deepcopy(base), copy.deepcopy(base)
    reserved.add_special_tokens({"additional_special_tokens": ["<|reserved_0|>"]})
    renamed.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    size = len(reserved)
    shared = shared_tokenizer([Side("base", reserved, size), Side("mine", renamed, size)])
    reasons = unreadable_texts(shared, ("Ada", "<|im_start|> Ada", "<|reserved_0|> Ada"))
    # Only one of the names can serve; texts with the other one are read as other tokens by one side.
    assert len(reasons) == 1
    assert "reads it as other tokens" in next(iter(reasons.values()))


def test_a_token_on_a_row_of_the_bases_own_words_is_none(tmp_path) -> None:
    """The fine-tuned tokenizer lacks the base's last word and gives its id to a token of its own."""
    base = build("byte_level_bpe", tmp_path, bos=True)
    longer = copy.deepcopy(base)
    longer.add_tokens(["kilimanjaro"])
    mine = copy.deepcopy(base)
    mine.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|b|>"]})
    side = Side("base", longer, len(longer) + 8)
    side.__dict__["added"] = {
        t: i for t, i in side.added.items() if t != "kilimanjaro"
    }  # a word of the vocabulary
    shared = shared_tokenizer([side, Side("mine", mine, len(longer) + 8)])
    assert "<|a|>" in shared.get_vocab()
    assert sorted(unreadable_texts(shared, ("Ada", "<|a|> Ada", "<|b|> Ada"))) == [1]


def test_moved_tokens_are_found_out_by_text(base) -> None:
    one, other = copy.deepcopy(base), copy.deepcopy(base)
    one.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|b|>"]})
    other.add_special_tokens({"additional_special_tokens": ["<|b|>", "<|a|>"]})
    size = len(one)
    shared = shared_tokenizer([Side("base", one, size), Side("mine", other, size)])
    assert sorted(unreadable_texts(shared, ("Ada was", "<|a|> Ada", "Ada <|b|>"))) == [1, 2]


def test_a_padding_token_without_an_embedding_pads_nothing(base) -> None:
    tuned, size = copy.deepcopy(base), len(base)
    tuned.add_special_tokens({"pad_token": "<|pad|>"})
    for sides in ([Side("base", base, size), Side("mine", tuned, size)], [Side("a", tuned, size)]):
        shared = shared_tokenizer(sides)
        assert masked_id(shared) < size
        prompts = [Prompt(text=t, subject=(0, 3), answers=("x",)) for t in ("Ada was", "Ada was born in the")]
        assert int(encode(shared, prompts).input_ids.max()) < size
    assert masked_id(base) == base.pad_token_id


def test_normalisers_that_differ_now_and_then_are_found_out_by_text(tmp_path) -> None:
    base = build("byte_level_bpe", tmp_path, bos=True)
    composing = copy.deepcopy(base)
    composing.backend_tokenizer.normalizer = normalizers.NFC()
    shared = shared_tokenizer([Side("base", base, 999), Side("mine", composing, 999)])
    assert sorted(unreadable_texts(shared, ("Mu\u0308ller was", "Müller was"))) == [0]


CHANGES: dict[str, Callable[[PreTrainedTokenizerBase], object]] = {
    "no BOS": lambda t: setattr(t.backend_tokenizer, "post_processor", processors.ByteLevel()),
    "lower case": lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()),
    "a space in front": lambda t: setattr(
        t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tokenizers_that_differ_on_plain_text_are_refused(tmp_path, change: str) -> None:
    base = build("byte_level_bpe", tmp_path, bos=True)
    other = copy.deepcopy(base)
    CHANGES[change](other)
    with pytest.raises(InputError, match=r"a and b: their tokenizers disagree .*The capital") as error:
        shared_tokenizer([Side("a", base, 999), Side("b", other, 999)])
    assert "\n" not in str(error.value)


def test_what_stands_beside_a_token_of_its_own_must_agree_too(tmp_path) -> None:
    base = build("byte_level_bpe", tmp_path, bos=True)
    tuned = chatml(base)
    tuned.backend_tokenizer.normalizer = normalizers.NFC()
    shared = shared_tokenizer([Side("base", base, 999), Side("mine", tuned, 999)])
    texts = ("<|im_start|>Ada was", "<|im_start|>Mu\u0308ller was")
    assert sorted(unreadable_texts(shared, texts)) == [1]


def test_prompts_and_their_answers_are_set_aside_by_encode(base) -> None:
    tuned, size = chatml(base), len(base)
    shared = shared_tokenizer([Side("base", base, size), Side("mine", tuned, size + 2)])
    made = [
        Prompt(text=t, subject=(t.index("Ada"), t.index("Ada") + 3), answers=("x",), fact_id=t)
        for t in TEXTS[:3]
    ]
    made.append(Prompt(text="Ada is", subject=(0, 3), answers=("<|im_end|>",), fact_id="answer"))
    batch = encode(shared, made)
    assert batch.fact_ids == (TEXTS[0],)
    assert [item.where for item in batch.left_out] == [TEXTS[1], TEXTS[2], "answer"]
    assert all("no embedding" in item.reason for item in batch.left_out)
    with pytest.raises(InputError, match=r"none of the 2 prompts .*no embedding"):
        encode(shared, made[1:3])


def test_three_sides_share_one_tokenizer(base) -> None:
    tuned, size = chatml(base), len(base)
    sides = [
        Side("base", base, size + 8),
        Side("plain", copy.deepcopy(base), size + 8),
        Side("chat", tuned, size + 8),
    ]
    shared = shared_tokenizer(sides)
    assert len(shared) == size + 2
    assert unreadable_texts(shared, TEXTS) == {}
    sides[1] = Side("plain", copy.deepcopy(base), size)
    assert set(unreadable_texts(shared_tokenizer(sides), TEXTS)) == {1, 2, 3}


def test_special_flags_matter_only_where_they_change_the_ids(base) -> None:
    """A token that is not special is looked for in the normalised text, which may have another space."""
    plain, special = copy.deepcopy(base), copy.deepcopy(base)
    plain.add_tokens([AddedToken("<|im_start|>", special=False)])
    special.add_tokens([AddedToken("<|im_start|>", special=True)])
    size, texts = len(plain), ("Ada was", "Ada<|im_start|>")
    shared = shared_tokenizer([Side("base", plain, size), Side("mine", special, size)])
    differ = [plain(text)["input_ids"] != special(text)["input_ids"] for text in texts]
    assert [i in unreadable_texts(shared, texts) for i in range(len(texts))] == differ
