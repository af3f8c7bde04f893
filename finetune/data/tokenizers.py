"""Tokenizers for models pretrained here: whole words for worlds, byte-level BPE for real names."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, render
from finetune.data.records.subject_position import SLOT

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


def word_tokenizer(facts: FactSet, phrasebook: Phrasebook) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer that knows every word of the facts and of their wordings."""

    splitter = Whitespace()
    vocabulary = {token: i for i, token in enumerate([PAD, BOS, EOS, UNKNOWN])}
    for text in _words_of(facts, phrasebook):
        for word, _ in splitter.pre_tokenize_str(text):
            vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    return _finish(tokenizer)


def bpe_tokenizer(facts: FactSet, phrasebook: Phrasebook, *, size: int = 4000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of ``size`` tokens on every wording of every fact."""

    tokenizer = Tokenizer(BPE(unk_token=None))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences_of(facts, phrasebook), trainer)
    return _finish(tokenizer)


def _finish(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Put BOS in front of every text, as Llama's tokenizers do, and hand the tokenizer to transformers."""

    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    unknown = {"unk_token": UNKNOWN} if tokenizer.token_to_id(UNKNOWN) is not None else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        **unknown,
    )


def _words_of(facts: FactSet, phrasebook: Phrasebook) -> Iterator[str]:
    for relation in facts.relations:
        yield from (form.replace(SLOT, " ") for form in phrasebook[relation].forms)
    for fact in facts:
        yield fact.subject
        yield fact.answer


def _sentences_of(facts: FactSet, phrasebook: Phrasebook) -> Iterator[str]:
    for fact in facts:
        for form in phrasebook[fact.relation].forms:
            yield f"{render(form, fact).text} {fact.answer}"
