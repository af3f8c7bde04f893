"""Small tokenizers of every family, trained in-process on a few sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SENTENCES = (
    "Marie Curie was born in Warsaw. What is the occupation of George Rankin?",
    "Who is the author of (Batman)? In what country is O'Neill, the capital of Zoë Québec?",
    "The instrument that Ada plays is the viola. Tokyo Tower stands in 东京. Where was Müller born?",
    'What genre is "The Eiffel Tower"? The director of the film was born in the city of Paris in 1984.',
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
# The split of tiktoken's cl100k_base, as Llama 3 and Qwen use it.
TIKTOKEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# Mistral's Tekken: words split where the case changes, digits one by one.
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(pre: pre_tokenizers.PreTokenizer, *, trim: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES * 3, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    if trim:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def byte_level_bpe() -> Tokenizer:
    """GPT-2's family: the space belongs to the word that follows it, in ids and in offsets."""
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def trimmed_byte_level_bpe() -> Tokenizer:
    """As GPT-2's, with offsets that leave the space out."""
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), trim=True)


def tiktoken_bpe() -> Tokenizer:
    """tiktoken's family: split by one expression, then bytes without an expression of their own."""
    split = pre_tokenizers.Split(Regex(TIKTOKEN), behavior="isolated")
    return _byte_level(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    )


def tekken_bpe() -> Tokenizer:
    """Mistral's Tekken family."""
    split = pre_tokenizers.Split(Regex(TEKKEN), behavior="isolated")
    return _byte_level(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    )


def digit_byte_level_bpe() -> Tokenizer:
    """SmolLM2's and StarCoder's family: GPT-2's, with every digit a token of its own."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return _byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]))


def composing_byte_level_bpe() -> Tokenizer:
    """GPT-NeoX's, Qwen's and OLMo's family: GPT-2's behind Unicode's NFC."""
    tokenizer = byte_level_bpe()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def prefixed_byte_level_bpe() -> Tokenizer:
    """RoBERTa's family: GPT-2's with a space in front of the text and trimmed offsets."""
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), trim=True)


def metaspace_bpe() -> Tokenizer:
    """Llama 2's family: spaces become a visible mark, unknown characters fall back to bytes."""
    return _metaspace(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def digit_metaspace_bpe() -> Tokenizer:
    """Llama 2's and Mistral's family as they are: no merge holds a digit."""
    marks = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _metaspace(marks, digits=True)


def unprefixed_metaspace_bpe() -> Tokenizer:
    """Gemma's family: Llama 2's without a space in front of the text."""
    return _metaspace(normalizers.Replace(" ", "▁"), digits=True)


def _metaspace(normalizer: normalizers.Normalizer, *, digits: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    # SentencePiece learns no merge across words; the finished tokenizer needs no splitting.
    words = pre_tokenizers.Split("▁", behavior="merged_with_next")
    each = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, each]) if digits else words
    tokenizer.train_from_iterator(
        SENTENCES * 3, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL + bytes_)
    )
    tokenizer.pre_tokenizer = None
    # The trainer takes bytes only as special tokens; in real vocabularies they are ordinary entries.
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(plain))


def metaspace_unigram() -> Tokenizer:
    """SentencePiece's Unigram with its NFKC normaliser, as T5 and XLNet have it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>")
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return tokenizer


def wordpiece() -> Tokenizer:
    """BERT's family: lower case, accents stripped, unknown words become one token."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        SENTENCES * 3, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL)
    )
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    function.__name__: function
    for function in (
        byte_level_bpe,
        trimmed_byte_level_bpe,
        tiktoken_bpe,
        tekken_bpe,
        digit_byte_level_bpe,
        composing_byte_level_bpe,
        prefixed_byte_level_bpe,
        metaspace_bpe,
        digit_metaspace_bpe,
        unprefixed_metaspace_bpe,
        metaspace_unigram,
        wordpiece,
    )
}


def build(family: str, folder: Path, *, bos: bool, eos: bool = False) -> PreTrainedTokenizerBase:
    """Train one family's tokenizer, save it in ``folder`` and load it from there."""
    tokenizer = FAMILIES[family]()
    if bos or eos:
        single = f"{'<s>:0 ' if bos else ''}$A:0{' </s>:0' if eos else ''}"
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        template = processors.TemplateProcessing(single=single, special_tokens=ids)
        before = [tokenizer.post_processor] if tokenizer.post_processor else []
        tokenizer.post_processor = processors.Sequence([*before, template])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)
