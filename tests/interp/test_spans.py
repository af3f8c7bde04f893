"""Spans: every family of tokenizers, with and without BOS, against character counts and real questions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from finetune.common.errors import InputError
from finetune.data.chat import chat_prompt
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt, question_prompt
from finetune.data.tokenization import TokenizedText, tokenize
from interp.measures.spans import PromptBatch, encode
from tests.tokenizer_families import FAMILIES, build

HELD = [place / "shared" / "data" for place in Path(__file__).parents]
DATA = next((place for place in HELD if place.is_dir()), HELD[-1])
NORMALISING = ("metaspace_unigram", "wordpiece")
BYTES = tuple(name for name in FAMILIES if name not in NORMALISING)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory):
    made: dict[tuple[str, bool], PreTrainedTokenizerBase] = {}

    def get(name: str, bos: bool) -> PreTrainedTokenizerBase:
        if (name, bos) not in made:
            made[name, bos] = build(name, tmp_path_factory.mktemp(name), bos=bos, eos=bos)
        return made[name, bos]

    return get


def prompt(text: str, subject: str, at: int | None = None) -> Prompt:
    start = text.index(subject) if at is None else at
    return Prompt(text=text, subject=(start, start + len(subject)), answers=("x",), fact_id=subject)


def selected(tokenizer: PreTrainedTokenizerBase, batch: PromptBatch, row: int = 0) -> list[str]:
    """The selected tokens' own characters, from an independent look at the offsets."""
    (tokens,) = tokenize(tokenizer, [batch.prompts[row].text])
    mask = batch.subject_mask[row, : len(tokens)].tolist()
    assert tuple(batch.input_ids[row, : len(tokens)].tolist()) == tokens.ids
    text = batch.prompts[row].text
    return [text[a:b].strip() for (a, b), chosen in zip(tokens.offsets, mask, strict=True) if chosen]


def ranges(text: str, tokens: TokenizedText) -> list[range]:
    """Which characters each token stands for; offsets that leave spaces out give a lone space no range."""
    placed = []
    for start, end in tokens.offsets:
        lone_space = start == end > 0 and text[start - 1].isspace()
        placed.append(range(start - 1, end) if lone_space else range(start, end))
    return placed


def expected(one: Prompt, tokens: TokenizedText) -> list[bool]:
    """Which tokens are the subject's, character by character."""
    own = list(range(*one.subject))
    while own and one.text[own[0]].isspace():
        own.pop(0)
    while own and one.text[own[-1]].isspace():
        own.pop()
    return [any(i in own for i in placed) for placed in ranges(one.text, tokens)]


def exact(tokenizer: PreTrainedTokenizerBase, batch: PromptBatch) -> list[bool]:
    """Say of each prompt whether just the right tokens are selected."""
    rows = tokenize(tokenizer, [p.text for p in batch.prompts])
    return [
        mask[: len(tokens)] == expected(one, tokens) and not any(mask[len(tokens) :])
        for one, tokens, mask in zip(batch.prompts, rows, batch.subject_mask.tolist(), strict=True)
    ]


def check_cover(tokenizer: PreTrainedTokenizerBase, batch: PromptBatch) -> None:
    """The selected tokens are just those of the subject's characters, and cover every visible one."""
    for one, right in zip(batch.prompts, exact(tokenizer, batch), strict=True):
        assert right, one
    rows = tokenize(tokenizer, [p.text for p in batch.prompts])
    for one, tokens, mask in zip(batch.prompts, rows, batch.subject_mask.tolist(), strict=True):
        chosen = [placed for placed, chosen in zip(ranges(one.text, tokens), mask, strict=False) if chosen]
        covered = {i for placed in chosen for i in placed}
        missed = {i for i in range(*one.subject) if not one.text[i].isspace()} - covered
        # A normaliser may fuse an accent into its letter: then no token claims the accent.
        assert all(not one.text[i].isalnum() for i in missed), one


NAMES = st.text(
    st.one_of(
        st.sampled_from("abcXYZ   'é-(\"ëß東京мя0127"),
        st.sampled_from(["\u00a0", "\u3000", "\u2009"]),
        st.sampled_from(["\U0001f600", "\u0301", "\u200d", "\u0661", "\u0915", "\u093f"]),
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=NAMES, subject=NAMES, after=NAMES)
def test_selected_tokens_cover_the_subject_and_nothing_else(
    family, name, bos, before, subject, after
) -> None:
    tokenizer = family(name, bos)
    for text, start in ((f"{before} {subject} {after}", len(before) + 1), (f"{subject}{after}", 0)):
        one = prompt(text, subject, at=start)
        batch = encode(tokenizer, [one, prompt("Ada was", "Ada")])
        # Nothing may be left of an invisible subject, or of one that a normaliser takes away.
        assert name in NORMALISING or not subject.strip() or not batch.left_out
        check_cover(tokenizer, batch)


@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(subject=NAMES)
def test_families_with_bytes_leave_nothing_out(family, name, subject) -> None:
    text = f"Who is {subject}?"
    if not subject.isspace():
        batch = encode(family(name, True), [prompt(text, subject, at=7)])
        assert not batch.left_out
        assert batch.subject_mask.any()


@pytest.mark.parametrize("name", FAMILIES)
def test_known_failures_elsewhere(family, name) -> None:
    tokenizer = family(name, True)
    cases = {
        "(Batman)": "Batman",
        "Who is the author of (Batman)?": "Batman",
        "The Eiffel Tower": "The Eiffel Tower",
        "What is O'Neill's occupation?": "O'Neill",
        'What genre is "The Eiffel Tower"?': "The Eiffel Tower",
        "Where was Mu\u0308ller born?": "Mu\u0308ller",
        "東京 is in": "東京",
    }
    batch = encode(tokenizer, [prompt(text, subject) for text, subject in cases.items()])
    assert not batch.left_out
    check_cover(tokenizer, batch)
    assert not (batch.subject_mask & batch.special_mask).any()
    assert not batch.subject_mask[:, 0].any()  # BOS, whose offset is (0, 0), even where the subject is first


def test_a_space_alone_is_neither_subject_nor_special(family) -> None:
    """Trimmed offsets make a lone space's range empty, like BOS's: it is a word's place all the same."""
    tokenizer = family("trimmed_byte_level_bpe", True)
    text = "Who is \U0001f600?"
    batch = encode(tokenizer, [prompt(text, "\U0001f600")])
    (tokens,) = tokenize(tokenizer, [text])
    empty = [i for i, (a, b) in enumerate(tokens.offsets) if a == b]
    assert len(empty) == 2  # BOS and the space
    assert batch.special_mask[0].tolist() == [i == 0 for i in range(len(tokens))]
    assert not batch.subject_mask[0, empty].any()
    assert batch.subject_mask[0].sum() == 4  # the four bytes of one character share its range


SUBJECTS = (
    "George, 2nd Earl of Orford",
    "24 Hours of Le Mans",
    "Apollo 11",
    "1984",
    "Louis  XIV",
    "Area\u00a051",
    "Formula\u30001",
    "Mu\u0308ller 3",
    "\U0001f600 7 \U0001f469\u200d\U0001f680",
    "東京 2020",
    " 3 Idiots ",
    "9 to 5",
    "2 + 2",
)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_space_inside_the_subject_is_the_subjects(family, name, bos) -> None:
    """At the text's start, its end, inside it, and named twice."""
    tokenizer = family(name, bos)
    made = []
    for subject in SUBJECTS:
        made += [
            prompt(f"{subject} was", subject),
            prompt(f"When was  {subject} ?", subject),
            prompt(f"Who knows {subject}", subject),
            prompt(f"{subject} or {subject}?", subject, at=len(subject) + 4),
        ]
    batch = encode(tokenizer, made)
    assert name in NORMALISING or not batch.left_out
    check_cover(tokenizer, batch)
    both = encode(tokenizer, made[3::4], occurrence="all")
    each = [encode(tokenizer, made[3::4], occurrence=k).subject_mask for k in (0, 1)]
    assert torch.equal(both.subject_mask, each[0] | each[1])


def test_the_digits_own_space_is_selected(family) -> None:
    """Where digits stand alone, "2nd" has a space of its own in front: the subject's, if it is inside."""
    for name in ("digit_metaspace_bpe", "digit_byte_level_bpe", "tiktoken_bpe", "tekken_bpe"):
        tokenizer = family(name, True)
        batch = encode(tokenizer, [prompt("Who is the Earl 2nd 3rd ?", "Earl 2nd")])
        words = batch.tokens(tokenizer)[0]
        chosen = [word for word, own in zip(words, batch.subject_mask[0].tolist(), strict=True) if own]
        assert "".join(chosen).replace(" ", "") == "Earl2nd", name
        (tokens,) = tokenize(tokenizer, [batch.prompts[0].text])
        start, end = batch.prompts[0].subject
        spaces = {a: i for i, (a, b) in enumerate(tokens.offsets) if batch.prompts[0].text[a:b] == " "}
        inside = {a: bool(batch.subject_mask[0, i]) for a, i in spaces.items()}
        assert inside == {a: start < a < end for a in spaces}, name
        assert {True, False} <= set(inside.values()), name


def test_an_unknown_word_is_a_word(family) -> None:
    tokenizer = family("wordpiece", True)
    batch = encode(tokenizer, [prompt("Who is \U0001f600 ?", "\U0001f600")])
    at = batch.input_ids[0] == tokenizer.unk_token_id
    assert at.sum() == 1
    assert torch.equal(batch.subject_mask[0], at)
    assert not batch.special_mask[0][at].any()


def test_occurrences(family) -> None:
    tokenizer = family("byte_level_bpe", True)
    one = prompt("Ada and Ada met Ada in Canada", "Ada", at=8)
    picked = {
        key: encode(tokenizer, [one], occurrence=key).subject_mask[0] for key in (None, "all", 0, 1, 2, -1)
    }
    assert torch.equal(picked[None], picked[1])
    assert torch.equal(picked[2], picked[-1])
    assert torch.equal(picked["all"], picked[0] | picked[1] | picked[2])
    assert not (picked[0] & picked[1]).any()
    kept = encode(tokenizer, [one, prompt("Only Ada is", "Ada")], occurrence=2)
    assert len(kept) == 1
    assert "occurs 1 times" in kept.left_out[0].reason


def test_what_cannot_be_aligned_is_listed(family) -> None:
    tokenizer = family("byte_level_bpe", True)
    good, blank = prompt("Ada was born in", "Ada"), prompt("a   b", "  ", at=1)
    batch = encode(tokenizer, [good, blank, prompt("Ada " * 30, "Ada")], max_length=20)
    assert [p.fact_id for p in batch.prompts] == ["Ada"]
    assert [item.reason.split()[0] for item in batch.left_out] == ["no", batch.left_out[1].reason.split()[0]]
    assert "more than the 20 allowed" in batch.left_out[1].reason
    with pytest.raises(InputError, match=r"\(the first, .*no token covers the subject\); mark a subject"):
        encode(tokenizer, [blank])
    with pytest.raises(InputError, match=r"\(there are none\); mark a subject"):
        encode(tokenizer, [])


def test_a_tokenizer_that_drops_part_of_the_subject_is_found_out() -> None:
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate("Tower a")}, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    batch = encode(tokenizer, [prompt("a 東京Tower a", "東京Tower"), prompt("a Tower a", "Tower")])
    assert len(batch) == 1
    assert "drops part" in batch.left_out[0].reason


def test_slow_tokenizers_are_refused_with_the_remedy() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        encode(Slow(), [prompt("Ada was", "Ada")])


def test_batches_keep_rows_and_roles(tiny_tokenizer, prompts) -> None:
    batch = encode(tiny_tokenizer, prompts)
    roles = torch.stack([batch.special_mask, batch.subject_mask & ~batch.last_mask, batch.relation_mask])
    assert (roles.sum(0) + batch.last_mask == batch.attention_mask).all()
    assert torch.equal(batch.attention_mask.sum(1) - 1, batch.last)
    assert torch.equal(
        batch.special_mask, batch.attention_mask.bool() & (torch.arange(batch.last.max() + 1) == 0)
    )
    mask = batch.last > batch.last.float().mean()
    assert batch[mask].fact_ids == tuple(f for f, keep in zip(batch.fact_ids, mask, strict=True) if keep)
    assert batch[[3, 1]].fact_ids == (batch.fact_ids[3], batch.fact_ids[1])
    assert len(batch[:1]) == 1
    alone = encode(tiny_tokenizer, [prompts[4]])
    assert torch.equal(batch[[4]].input_ids, alone.input_ids)
    assert [len(row) for row in batch.tokens(tiny_tokenizer)] == (batch.last + 1).tolist()


@pytest.mark.parametrize("budget", [1, 30, 64, 10_000])
def test_chunks_hold_every_row_once_within_their_budget(tiny_tokenizer, prompts, budget: int) -> None:
    batch = encode(tiny_tokenizer, prompts)
    seen = []
    for index, chunk in batch.chunks(budget):
        assert chunk.input_ids.numel() <= budget or len(chunk) == 1
        assert chunk.input_ids.shape[1] == int(chunk.last.max()) + 1
        assert chunk.fact_ids == tuple(batch.fact_ids[i] for i in index)
        seen += index.tolist()
    assert sorted(seen) == list(range(len(batch)))


@pytest.mark.parametrize("system", [None, "Ada knows all about Ada. Be brief."])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_span_survives_a_chat_template(family, name, system) -> None:
    tokenizer = family(name, True)
    tokenizer.chat_template = TEMPLATE
    plain = prompt("  Where was Ada born? ", "Ada")
    chat = chat_prompt(tokenizer, plain, system=system)
    assert chat.text[slice(*chat.subject)] == "Ada"
    assert chat.text.endswith("[assistant]")
    assert "Where was" in chat.text[: chat.subject[0]]
    batch = encode(tokenizer, [chat])
    assert (batch.input_ids[0] == tokenizer.bos_token_id).sum() == 1  # the template's; no second one
    assert batch.special_mask[0].sum() == (3 if system else 2)
    assert not (batch.subject_mask & batch.special_mask).any()
    check_cover(tokenizer, batch)


def test_templates_that_rewrite_or_refuse_are_reported(family) -> None:
    tokenizer = family("byte_level_bpe", False)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        chat_prompt(tokenizer, prompt("Where is Ada?", "Ada"))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(InputError, match="rewrites"):
        chat_prompt(tokenizer, prompt("Where is Ada?", "Ada"))
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(InputError, match=r"refuses .*no system role"):
        chat_prompt(tokenizer, prompt("Where is Ada?", "Ada"), system="Be brief.")


def test_the_tokenizers_own_bos_is_kept_once(family) -> None:
    with_bos, without = family("byte_level_bpe", True), family("byte_level_bpe", False)
    text = "Ada was born in"
    assert encode(with_bos, [prompt(text, "Ada")]).special_mask.sum() == 1
    assert encode(without, [prompt(text, "Ada")]).special_mask.sum() == 0
    (twice,) = tokenize(with_bos, [f"<s>{text}"])
    (once,) = tokenize(with_bos, [text])
    assert twice.ids == once.ids


@cache
def real_prompts() -> list[Prompt]:
    """PopQA's and EntityQuestions' questions; of the large training files, those of subjects with digits."""
    found = []
    for fact in FactSet.load(DATA / "popqa.tsv"):
        try:
            found.append(question_prompt(fact))
        except InputError:
            continue
    folder = DATA / "entity_questions"
    templates = json.loads((folder / "relation_query_templates.json").read_text(encoding="utf-8"))
    for file in sorted(folder.rglob("P*.json")):
        before, _, after = templates[file.name.split(".")[0]].partition("[X]")
        for row in json.loads(file.read_text(encoding="utf-8")):
            question = row["question"]
            end = len(question) - len(after)
            assert question.startswith(before)
            if file.parent != folder and not any(c.isdigit() for c in question[len(before) : end]):
                continue
            found.append(prompt(question, question[len(before) : end], at=len(before)))
    return found


@pytest.mark.skipif(
    not DATA.is_dir(), reason="needs PopQA and EntityQuestions, which are not in the repository"
)
@pytest.mark.parametrize("name", [*FAMILIES, "gpt2"])
def test_on_real_questions_the_cover_is_exact(family, name) -> None:
    tokenizer = (
        GPT2Tokenizer.from_pretrained(DATA / "tokenizers" / "gpt2") if name == "gpt2" else family(name, True)
    )
    everything = real_prompts()
    assert len(everything) > 9_000
    # The real tokenizer reads all; each that was trained here reads a part of its own.
    parts = [*FAMILIES, "gpt2"]
    batch = encode(tokenizer, everything if name == "gpt2" else everything[parts.index(name) :: len(parts)])
    check_cover(tokenizer, batch)
    assert not batch.left_out, batch.left_out[:5]
