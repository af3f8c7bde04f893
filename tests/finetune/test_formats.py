"""Formats: the subject is where it is meant, no answer leaks, training and asking meet the same tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import AddedToken, PreTrainedTokenizerBase

from finetune import Fact, FactSet, InputError
from finetune.data.chat import chat_prompt
from finetune.data.phrasebooks import ASKED, phrasebook
from finetune.data.prompt_formats import PromptFormat, ask_in_format, prompts_within_context
from finetune.data.prompts import Prompt, fact_prompt, render
from finetune.data.records.subject_position import find_subject
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenization import answer_ids, gap, special_texts, tokenize, tokenize_with_answer
from finetune.evaluation.answer_budget import answer_budget
from interp.measures.spans import encode
from tests.tokenizer_families import FAMILIES, build

SHARED = Path(__file__).parents[3] / "shared/data"
LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|head|>' + m.role + '<|end|>\n\n' + m.content | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|end|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
REPEATING = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\nagain: ' + m.content + '\n' }}{% endfor %}"
)
TEMPLATES = {
    "llama 2": LLAMA_2,
    "llama 3": LLAMA_3,
    "chatml": CHATML,
    "zephyr": ZEPHYR,
    "mistral": MISTRAL,
    "repeating": REPEATING,
}
MARKS = ("<|head|>", "<|end|>", "<|eot|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]")


def fact(subject: str, answer: str, relation: str = "capital", **given: object) -> Fact:
    question = f"What is the capital of {subject}?" if relation == "capital" else None
    fields = {"id": f"{relation}/{subject}", "question": question, **given}
    return Fact(subject=subject, relation=relation, answers=(answer, f"{answer} City"), **fields)


def made(*facts: Fact) -> FactSet:
    return FactSet(facts=facts, name="made")


CAPITALS = made(
    *(
        fact(*pair)
        for pair in (("Peru", "Lima"), ("Chad", "N'Djamena"), ("Capital", "What"), ("東京", "新宿"))
    ),
    *(fact(f"Land {i}", f"Town {i}") for i in range(40)),
    fact("Ada", "mathematician", "P106"),
)
STEM = "Which of these\nis a city?"
MULTIPLE = made(
    *(
        Fact(
            id=f"law/{i}",
            subject=stem,
            relation="law",
            answers=(choices[i % len(choices)],),
            question=stem,
            choices=choices,
        )
        for i, (stem, choices) in enumerate(
            [
                (STEM, ("Peru", "Lima", "A. none", "all of the above")),
                ("The tendency is called", ("decay.", "growth.", "pull.")),
                (STEM, ("Chad", "Oslo")),
                ("Is it so?", ("yes", "no")),
            ]
        )
    )
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    made = build("byte_level_bpe", tmp_path_factory.mktemp("tokenizer"), bos=True)
    made.add_tokens([AddedToken(mark, special=True) for mark in MARKS], special_tokens=True)
    return made


def with_template(tokenizer: PreTrainedTokenizerBase, template: str | None) -> PreTrainedTokenizerBase:
    tokenizer.chat_template = template
    return tokenizer


def subjects(facts: FactSet, prompts: list[Prompt]) -> None:
    """Every prompt names its own fact's subject in its place, and nothing of the question comes after it."""
    for f, prompt in zip(facts, prompts, strict=True):
        assert prompt.text[slice(*prompt.subject)] == f.subject
        assert prompt.text.find(f.subject, prompt.subject[0] + 1) == -1 or f.subject in ("Capital", STEM)
        assert (prompt.fact_id, prompt.relation) == (f.id, f.relation)


def test_the_default_is_what_was_always_asked() -> None:
    world = make_world(WorldConfig(subjects=20, relations=2, answers=4))
    for facts, book in ((CAPITALS, phrasebook(CAPITALS)), (world, world_phrasebook())):
        assert ask_in_format(facts, book) == [fact_prompt(f, book, ASKED) for f in facts]
        assert ask_in_format(facts, book) == [render(book[f.relation].asked, f) for f in facts]
    own = {"P106": replace(phrasebook(CAPITALS)["P106"], asked="Tell me the work of {subject}:")}
    ada = CAPITALS[-1:]
    assert ask_in_format(ada, own)[0].text == "Tell me the work of Ada:"


def test_a_template_frames_the_question_or_the_relations_wording() -> None:
    prompts = ask_in_format(
        CAPITALS, phrasebook(CAPITALS), PromptFormat(template="Capital quiz.\nQ: {question}\nA:")
    )
    assert prompts[0].text == "Capital quiz.\nQ: What is the capital of Peru?\nA:"
    assert prompts[-1].text == "Capital quiz.\nQ: What kind of work does Ada do?\nA:"
    subjects(CAPITALS, prompts)
    assert prompts[2].subject[0] == prompts[2].text.rindex("Capital")


def test_solved_examples_are_of_the_relation_and_of_others() -> None:
    book, style = phrasebook(CAPITALS), PromptFormat(shots=3)
    prompts = ask_in_format(CAPITALS, book, style)
    plain = {p.fact_id: p for p in ask_in_format(CAPITALS, book)}
    solved = {f"{p.text} {p.answers[0]}" for p in plain.values() if p.relation == "capital"}
    for f, prompt in zip(CAPITALS, prompts, strict=True):
        *front, last = prompt.text.split("\n")
        assert last == plain[f.id].text
        assert set(front) <= solved - {f"{last} {f.answer}"}
        assert len(front) == (3 if f.relation == "capital" else 0)  # no other subject has Ada's relation
    subjects(CAPITALS, prompts)
    assert len({p.text.rsplit("\n", 1)[0] for p in prompts}) > 20
    assert ask_in_format(CAPITALS, book, style, seed=1) != prompts == ask_in_format(CAPITALS, book, style)


def test_no_answer_of_a_test_leaks_and_draws_do_not_depend_on_who_else_is_asked() -> None:
    book, style = phrasebook(CAPITALS), PromptFormat(shots=4)
    train, test = CAPITALS[:24], CAPITALS[20:44]  # four subjects are in both
    prompts = ask_in_format(test, book, style, examples=train)
    for f, prompt in zip(test, prompts, strict=True):
        front = prompt.text[: prompt.subject[0]]
        assert not any(other.answer + "\n" in front for other in test if other not in tuple(train))
        assert f.answer + "\n" not in front
        assert front.count("\n") == 4
    assert ask_in_format(test[5:9], book, style, examples=train) == prompts[5:9]
    one = made(fact("Oslo", "x", "P106"))
    assert ask_in_format(one, phrasebook(one), style, examples=train) == ask_in_format(one, phrasebook(one))


def test_small_pools_give_all_they_have() -> None:
    """One subject with many facts of one relation does not use up the draw."""
    many = [fact("Peru", f"a{i}", id=str(i)) for i in range(50)]
    facts = made(*many, fact("Chad", "b"), fact("Mali", "c"))
    for prompt in ask_in_format(facts, phrasebook(facts), PromptFormat(shots=2))[:50]:
        assert sorted(line[-1] for line in prompt.text.split("\n")[:-1]) == ["b", "c"]


def test_options_are_listed_and_answered_by_letter() -> None:
    prompts = ask_in_format(MULTIPLE, phrasebook(MULTIPLE), PromptFormat(choices="letter"))
    assert prompts[0].text == (
        f"Question: {STEM}\nA. Peru\nB. Lima\nC. A. none\nD. all of the above\nAnswer:"
    )
    assert prompts[0].choices == ("A", "B", "C", "D")
    assert [p.answers for p in prompts] == [("A",), ("B",), ("A",), ("B",)]
    assert prompts[1].choices == ("A", "B", "C")
    subjects(MULTIPLE, prompts)
    harness = ask_in_format(
        MULTIPLE, phrasebook(MULTIPLE), PromptFormat(choices="letter", template="{question}")
    )
    assert harness[3].text == "Is it so?\nA. yes\nB. no\nAnswer:"
    mixed = made(*MULTIPLE, CAPITALS[0])
    assert ask_in_format(mixed, phrasebook(mixed), PromptFormat(choices="letter"))[-1].answers[0] == "Lima"
    wide = made(replace(MULTIPLE[0], choices=tuple(map(str, range(27))), answers=("3",)))
    with pytest.raises(InputError, match=r"27 choices are more than there are letters; .*--choices text"):
        ask_in_format(wide, phrasebook(wide), PromptFormat(choices="letter"))


def test_options_by_text_are_continuations_and_not_listed() -> None:
    prompts = ask_in_format(MULTIPLE, phrasebook(MULTIPLE), PromptFormat(choices="text"))
    assert prompts[0].text == f"Question: {STEM} Answer:"
    assert [(p.answers, p.choices) for p in prompts] == [(f.answers, f.choices) for f in MULTIPLE]
    subjects(MULTIPLE, prompts)


def test_examples_of_several_lines_are_set_apart_and_share_no_stem() -> None:
    prompts = ask_in_format(MULTIPLE, phrasebook(MULTIPLE), PromptFormat(choices="letter", shots=3))
    for f, prompt in zip(MULTIPLE, prompts, strict=True):
        *front, last = prompt.text.split("\n\n")
        assert last.endswith("\nAnswer:")
        assert all(example[-9:-1] == "Answer: " for example in front)
        # Two facts have one stem: neither is an example for the other.
        assert len(front) == (2 if f.subject == STEM else 3)
        assert not any(f.subject in example for example in front)
        assert prompt.text[slice(*prompt.subject)] == f.subject


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("shots", [0, 2])
def test_a_chat_keeps_the_subject_in_the_question_that_is_asked(
    tokenizer: PreTrainedTokenizerBase, name: str, shots: int
) -> None:
    chat = with_template(tokenizer, TEMPLATES[name])
    for facts, choices in ((CAPITALS, "text"), (MULTIPLE, "letter")):
        book = phrasebook(facts)
        prompts = ask_in_format(
            facts, book, PromptFormat(chat=True, shots=shots, choices=choices), tokenizer=chat
        )
        bare = ask_in_format(facts, book, PromptFormat(template="{question}", choices=choices))
        for f, prompt, question in zip(facts, prompts, bare, strict=True):
            assert prompt.text[slice(*prompt.subject)] == f.subject
            start = prompt.text.rindex(question.text)
            assert prompt.subject == tuple(start + at for at in question.subject)
            turns = [{"role": "user", "content": question.text}]
            alone = chat.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            if shots == 0:
                assert prompt.text == alone
            elif f.relation == "capital":
                assert prompt.text.endswith(alone.removeprefix("<s>"))
                assert prompt.text.count("What is the capital of") == (shots + 1) * alone.count("the capital")
            assert (prompt.answers, prompt.choices) == (question.answers, question.choices)


def test_a_template_of_ones_own_goes_into_the_users_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = with_template(tokenizer, CHATML)
    style = PromptFormat(chat=True, template="Be brief. {question}")
    text = ask_in_format(CAPITALS, phrasebook(CAPITALS), style, tokenizer=chat)[0].text
    assert text == (
        "<|im_start|>user\nBe brief. What is the capital of Peru?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_chat_without_a_template_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    book, style = phrasebook(CAPITALS), PromptFormat(chat=True)
    with pytest.raises(InputError, match="give tokenizer="):
        ask_in_format(CAPITALS, book, style)
    with pytest.raises(InputError, match=r"tokenizer .+: has no chat template; use the plain prompt"):
        ask_in_format(CAPITALS, book, style, tokenizer=with_template(tokenizer, None))
    shouting = with_template(tokenizer, "{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(InputError, match=r"prompt '.+': the chat template .* rewrites .*ask without --chat"):
        ask_in_format(CAPITALS, book, style, tokenizer=shouting)
    ask_in_format(CAPITALS, book, PromptFormat(), tokenizer=with_template(tokenizer, None))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"template": "Question: Answer:"}, r"needs \{question\} exactly once; write it where"),
        ({"template": "{question} {question}"}, "exactly once"),
        ({"shots": -1}, "shots = -1"),
        ({"choices": "number"}, "choose one of letter, text"),
        ({"template": r"Q: {question}\nA:"}, "holds a backslash and an n, which is no line break"),
        ({"template": "{question} {answer}"}, r"holds \{answer\}, which is not filled in"),
        ({"template": "{subject}: {question}"}, r"holds \{subject\}, which is not filled in"),
    ],
)
def test_formats_that_make_no_sense_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        PromptFormat(**wrong)


@pytest.mark.parametrize("name", ["llama 3", "chatml", "zephyr", "mistral"])
def test_a_chats_answer_follows_as_the_template_writes_it(
    tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """The tokens of prompt and answer are those of the whole chat as its template renders it."""
    chat = with_template(tokenizer, TEMPLATES[name])
    for prompt in ask_in_format(CAPITALS, phrasebook(CAPITALS), PromptFormat(chat=True), tokenizer=chat)[:6]:
        question = prompt.text[prompt.text.index("What is") : prompt.subject[1] + 1]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": prompt.answers[0]}]
        whole = tokenize(chat, [chat.apply_chat_template(turns, tokenize=False)])[0].ids
        [(ids, answer)] = tokenize_with_answer(chat, [prompt.text], [prompt.answers[0]])
        assert whole[: len(ids) + len(answer)] == (*ids, *answer)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_space_is_doubled(family: str, tmp_path: Path) -> None:
    tokenizer = build(family, tmp_path, bos=True)
    for prompt in ("The author is", "The author is ", "The author is\n", "The author is</s>"):
        [(ids, answer)] = tokenize_with_answer(tokenizer, [prompt], ["Marie Curie"])
        assert ids == tokenize(tokenizer, [prompt])[0].ids
        said = tokenizer.decode(answer).strip()
        assert said.casefold() == "marie curie"
        if family == "byte_level_bpe":
            between = "" if prompt[-1] in " \n>" else " "
            assert tokenizer.decode([*ids, *answer]) == f"<s>{prompt}{between}Marie Curie"


def test_the_gap_is_a_space_unless_there_is_one() -> None:
    assert [gap(text, ("</s>",)) for text in ("a", "a ", "a\n", "a</s>", "a</s> b", "")] == [
        " ",
        "",
        "",
        "",
        " ",
        " ",
    ]


def test_special_texts_include_added_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    assert {*MARKS, "<s>", "</s>"} <= set(special_texts(tokenizer))
    assert "" not in special_texts(tokenizer)


def test_what_does_not_fit_is_set_aside_with_the_reason(tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = [p for facts in (CAPITALS, MULTIPLE) for p in ask_in_format(facts, phrasebook(facts))]
    pairs = {}
    for p in prompts:
        said = [p.answers[0], *p.choices]
        ids = answer_ids(tokenizer, [p.text] * len(said), said)
        pairs[p.fact_id] = [len(asked_for) + len(answer) + 1 for asked_for, answer in ids]
    context = sorted(max(widths) for widths in pairs.values())[-3]
    kept, left_out = prompts_within_context(tokenizer, prompts, context)
    assert [p.fact_id for p in kept] == [p.fact_id for p in prompts if max(pairs[p.fact_id]) <= context]
    assert {left.where for left in left_out} == {p.fact_id for p in prompts if p not in kept}
    assert left_out
    assert all(f"the model's context of {context}" in left.reason for left in left_out)
    assert max(map(len, encode(tokenizer, kept).input_ids)) < context
    assert prompts_within_context(tokenizer, prompts, 10_000) == (prompts, ())
    assert prompts_within_context(tokenizer, [], 10) == ([], ())


def test_an_answer_that_tokenises_to_nothing_is_set_aside(tmp_path: Path) -> None:
    tokenizer = build("wordpiece", tmp_path, bos=False)
    prompts = [replace(p, choices=()) for p in ask_in_format(CAPITALS, phrasebook(CAPITALS))[:3]]
    prompts[1] = replace(prompts[1], answers=("\u200b\u0301",))  # the normaliser drops both
    prompts[2] = replace(prompts[2], choices=("What", "\u0301"))
    kept, left_out = prompts_within_context(tokenizer, prompts, 512)
    assert kept == prompts[:1]
    assert [left.where for left in left_out] == [p.fact_id for p in prompts[1:]]
    assert all("tokenises to nothing" in left.reason for left in left_out)
    with pytest.raises(InputError, match=r"tokenises to nothing with \w+; leave facts"):
        tokenize_with_answer(tokenizer, [prompts[1].text], [prompts[1].answers[0]])
    with pytest.raises(InputError, match=f"behind the prompt of fact {prompts[1].fact_id!r}; leave facts"):
        tokenize_with_answer(tokenizer, prompts[1:2], [prompts[1].answers[0]])


def test_a_tokenizer_that_ends_texts_leaves_the_answer_whole(tmp_path: Path) -> None:
    """EOS behind every text is cut, and a prompt's own special token at its end is not."""
    plain = build("byte_level_bpe", tmp_path / "a", bos=True)
    ending = build("byte_level_bpe", tmp_path / "b", bos=True, eos=True)
    assert isinstance(ending.backend_tokenizer.post_processor, processors.Sequence)
    for prompt in ("Who is it? It is", "Who is it?</s>"):
        one, other = (tokenize_with_answer(t, [prompt], ["Ada"]) for t in (plain, ending))
        assert one == other
        assert (one[0][0][-1] == plain.eos_token_id) == prompt.endswith("</s>")


letters = st.text(st.sampled_from("ab_ .(é\u0301\u0930\u093e"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(letters, st.lists(letters, max_size=5))
def test_subjects_are_found_place_by_place(name: str, parts: list[str]) -> None:
    """The search agrees with a look at every place of the text."""
    import unicodedata

    text, name = (unicodedata.normalize("NFC", part) for part in (name.join(parts), name))

    def in_word(at: int) -> bool:
        return 0 <= at < len(text) and (unicodedata.category(text[at])[0] in "LNM" or text[at] == "_")

    def told_by_case(at: int) -> bool:
        return 0 <= at < len(text) and text[at] in "abAB_éáÉÁ"

    def kind(at: int, end: int) -> int:
        if not in_word(at - 1) and not in_word(end):
            return 0 if text[at:end] == name else 1
        starts = not (told_by_case(at - 1) and told_by_case(at))
        return 2 if starts and (len(name) > 2 or not (told_by_case(end - 1) and told_by_case(end))) else 3

    taken, at = [], 0
    while name and at + len(name) <= len(text):
        is_there = text[at : at + len(name)] == name
        taken += [(kind(at, at + len(name)), at)] if is_there else []
        at += 1
    best = min((each for each, _ in taken), default=3)
    found = find_subject(name, text)
    assert (found is None) == (best == 3)
    if found:
        assert (kind(*found), text[slice(*found)]) == (best, name)


def test_a_chat_prompt_takes_a_system_turn_and_examples(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = with_template(tokenizer, CHATML)
    peru, chad = ask_in_format(CAPITALS, phrasebook(CAPITALS), PromptFormat(template="{question}"))[:2]
    prompt = chat_prompt(chat, peru, system="Peru is in America.", solved=[chad])
    assert prompt.text.index("Peru") < prompt.text.index("N'Djamena<|im_end|>") < prompt.subject[0]
    assert prompt.text[slice(*prompt.subject)] == "Peru"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize("name", ["popqa.tsv", "entity_questions", "mmlu"])
def test_real_facts_in_every_format(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    facts = FactSet.load(SHARED / name, limit=300)
    book, chat = phrasebook(facts), with_template(tokenizer, LLAMA_3)
    for style in (
        PromptFormat(),
        PromptFormat(shots=2, choices="letter"),
        PromptFormat(chat=True, shots=1, choices="letter"),
        PromptFormat(template="Q: {question}\nA:"),
    ):
        prompts = ask_in_format(facts, book, style, tokenizer=chat)
        for f, prompt in zip(facts, prompts, strict=True):
            assert prompt.text[slice(*prompt.subject)].casefold() == f.subject.casefold()
    kept, left_out = prompts_within_context(chat, prompts, 2048)
    assert len(kept) + len(left_out) == len(facts)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_room_for_answers_is_that_of_every_prompt(family: str, tmp_path: Path) -> None:
    """One prompt with the same end and answer stands for all: the slower way asks each."""
    tokenizer = build(family, tmp_path, bos=False)
    subjects = ("Peru", "Chad", "N'Dj", "東京", "São Tomé", "Ab", "Abba")
    answers = ("Lima", "N'Djamena", "新宿", "São Tomé", "New York City", "x" * 9)
    prompts = [
        Prompt(text=text, subject=(0, len(subject)), answers=(answer,), fact_id=f"{subject}/{answer}/{end}")
        for subject in subjects
        for end in (" has as capital", ":", " (", "\n")
        for answer in answers
        for text in (f"{subject}{end}",)
    ]
    each = max(answer_budget(tokenizer, [prompt]) for prompt in prompts)
    assert answer_budget(tokenizer, prompts) == each
