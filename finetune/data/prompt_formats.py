"""Prompt formats: facts asked in a frame of text, behind solved examples, as a chat, with lettered options.

The default is the frame ``Question: ... Answer:`` around each fact's own question. Every format keeps the
exact place of the subject in the question that is asked, whatever else names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Literal
from zlib import crc32

import tyro

from finetune.common.errors import InputError, LeftOut
from finetune.common.option_checks import Within, require_valid
from finetune.common.seeds import generator
from finetune.data.chat import chat_prompt, require_chat_template
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED
from finetune.data.prompts import (
    QUESTION,
    Phrasebook,
    Prompt,
    fact_prompt,
    question_prompt,
    render,
    wording,
)
from finetune.data.records.fact import Fact
from finetune.data.tokenization import answer_ids, gap

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Choices = Literal["letter", "text"]
# Names that phrasebooks or tables know, which somebody may expect to be filled in here.
_SLOTS = re.compile(r"\{(?:subject|relation|answers?|choices)\}")


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """How facts are asked.

    Attributes:
        template: the text around the question; ``{question}`` is the fact's own, or its relation's wording.
        shots: solved examples of the same relation, of other subjects, in front.
        chat: ask in the tokenizer's own chat template, solved examples as earlier turns. The default template
            stands in for a chat's and is left off there; another one goes into the user's turn.
        choices: how a fact with options is asked: ``"letter"`` lists them and is answered by a letter;
            ``"text"`` does not, and is answered by the right one's text.
    """

    template: Annotated[str, tyro.conf.arg(name="prompt-format")] = ASKED
    shots: Annotated[int, Within(0, 1000)] = 0
    chat: bool = False
    choices: Choices = "text"

    def __post_init__(self) -> None:
        require_valid(self, flags=False)
        if self.template.count(QUESTION) != 1:
            raise InputError(
                f"template {self.template!r}: needs {QUESTION} exactly once; write it where "
                "the question belongs"
            )
        if "\\n" in self.template:
            raise InputError(
                f"template {self.template!r}: holds a backslash and an n, which is no line break; a shell "
                "writes one between $' and '"
            )
        if slot := _SLOTS.search(self.template):
            raise InputError(
                f"template {self.template!r}: holds {slot[0]}, which is not filled in; leave it out: "
                f"{QUESTION} is all that is, and the answer follows the template"
            )


def ask_in_format(
    facts: FactSet,
    book: Phrasebook,
    style: PromptFormat | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    examples: FactSet | None = None,
    seed: int = 0,
    worded: Mapping[str, Prompt] | None = None,
    shared: bool = False,
) -> list[Prompt]:
    """Ask facts in a format, one prompt each, in their order.

    A fact's draw of examples depends on its id and ``seed`` only, not on the other facts that are asked;
    where its relation has fewer other subjects, there are fewer examples.

    Args:
        facts: what to ask.
        book: each relation's wording.
        style: the format; a plain question without it.
        tokenizer: needed for a chat.
        examples: what solved examples are drawn from: training facts, so that no answer of a test leaks.
        seed: of the draws.
        worded: by fact id, questions that are asked as they are, in no template.
        shared: show all facts of a relation the same examples, but for those of their own subject.

    Raises:
        InputError: a question without its subject, more options than letters, or a chat without a template.
    """
    style, own = style or PromptFormat(), worded or {}

    def words(facts: FactSet) -> list[Prompt]:
        return [own.get(fact.id) or _question_in_format(fact, book, style) for fact in facts]

    prompts = words(facts)
    shown: list[list[Prompt]] = [[] for _ in prompts]
    if style.shots:
        pool = facts if examples is None else examples
        pooled = _by_relation(words(pool), pool)
        shown = [
            _draw_examples(fact, pooled.get(fact.relation, []), style.shots, seed=seed, shared=shared)
            for fact in facts
        ]
    both = list(zip(prompts, shown, strict=True))
    if not style.chat:
        return [_with_shots(solved, prompt) for prompt, solved in both]
    if tokenizer is None:
        raise InputError("a chat prompt needs the tokenizer whose template it is; give tokenizer=")
    require_chat_template(tokenizer)
    return [chat_prompt(tokenizer, prompt, solved=solved) for prompt, solved in both]


def prompts_within_context(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], context: int | None
) -> tuple[list[Prompt], tuple[LeftOut, ...]]:
    """Set aside prompts that do not fit ``context`` tokens with an answer and its end, or have no answer.

    The answer is the canonical one or any option, whichever is longest; one that tokenises to nothing cannot
    be learnt or scored. Without a context all are kept.
    """
    if context is None:
        return list(prompts), ()
    ended = int(tokenizer.eos_token_id is not None)
    owner = [i for i, prompt in enumerate(prompts) for _ in _continuations(prompt)]
    answers = [answer for prompt in prompts for answer in _continuations(prompt)]
    reasons: dict[int, str] = {}
    pairs = answer_ids(tokenizer, [prompts[i] for i in owner], answers)
    for i, answer, (asked_for, said) in zip(owner, answers, pairs, strict=True):
        width = len(asked_for) + len(said) + ended
        if not asked_for:
            reasons.setdefault(i, "the question tokenises to nothing")
        elif not said:
            reasons.setdefault(i, f"the answer {answer!r} tokenises to nothing")
        elif width > context:
            reason = f"{width} tokens with its answer are more than the model's context of {context}"
            reasons.setdefault(i, reason)
    left_out = [
        LeftOut(where=prompts[i].fact_id or prompts[i].text, reason=reasons[i]) for i in sorted(reasons)
    ]
    return [prompt for i, prompt in enumerate(prompts) if i not in reasons], tuple(left_out)


def rows_within_context(
    tokenizer: PreTrainedTokenizerBase, prompts: Mapping[int, Prompt], context: int | None
) -> list[int]:
    """Return the rows of different facts' prompts that fit the context (:func:`prompts_within_context`)."""
    kept, _ = prompts_within_context(tokenizer, list(prompts.values()), context)
    fit = {prompt.fact_id for prompt in kept}
    return [row for row, prompt in prompts.items() if prompt.fact_id in fit]


def _continuations(prompt: Prompt) -> tuple[str, ...]:
    return tuple(dict.fromkeys((prompt.answers[0], *prompt.choices)))


def _question_in_format(fact: Fact, book: Phrasebook, style: PromptFormat) -> Prompt:
    """Put one question into the frame, without examples or a chat around it."""
    template = QUESTION if style.chat and style.template == ASKED else style.template
    if fact.choices and style.choices == "letter":
        return _with_lettered_choices(fact, _question(fact, book), template)
    if template == ASKED:
        return fact_prompt(fact, book, template)
    return _question_in_template(_question(fact, book), template)


def _question(fact: Fact, book: Phrasebook) -> Prompt:
    """Return a fact's own question, or its relation's wording without the frame."""
    if fact.question:
        return question_prompt(fact)
    form = wording(book, fact.relation).asked
    before, after = ASKED.split(QUESTION)
    if form.startswith(before) and form.endswith(after):
        form = form.removeprefix(before).removesuffix(after)
    return render(form, fact)


def _question_in_template(question: Prompt, template: str) -> Prompt:
    start = template.index(QUESTION)
    first, last = question.subject
    text = template.replace(QUESTION, question.text)
    return replace(question, text=text, subject=(start + first, start + last))


def _with_lettered_choices(fact: Fact, question: Prompt, template: str) -> Prompt:
    """List the options below the question, one a line, and what the template has behind it below them."""
    if len(fact.choices) > len(ascii_uppercase):
        raise InputError(
            f"fact {fact.id!r}: {len(fact.choices)} choices are more than there are letters; ask for the "
            "answer's text (--choices text), or give fewer"
        )
    letters = tuple(ascii_uppercase[: len(fact.choices)])
    before, after = template.split(QUESTION)
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(letters, fact.choices, strict=True))
    framed = _question_in_template(question, f"{before}{QUESTION}")
    return replace(
        framed,
        text=f"{framed.text}{listed}\n{after.lstrip() or 'Answer:'}",
        answers=(letters[fact.choices.index(fact.answer)],),
        choices=letters,
    )


def _by_relation(prompts: Sequence[Prompt], facts: FactSet) -> Mapping[str, list[tuple[str, Prompt]]]:
    """Group prompts by relation, each with its subject."""
    groups: dict[str, list[tuple[str, Prompt]]] = {}
    for fact, prompt in zip(facts, prompts, strict=True):
        groups.setdefault(fact.relation, []).append((fact.subject.casefold(), prompt))
    return groups


def _draw_examples(
    fact: Fact, pool: Sequence[tuple[str, Prompt]], shots: int, *, seed: int, shared: bool
) -> list[Prompt]:
    rng = generator(
        seed, "solved examples of a format", crc32((fact.relation if shared else fact.id).encode())
    )
    subject = fact.subject.casefold()
    found: list[Prompt] = []
    # One subject seldom has several facts of a relation, so a few to spare are nearly always enough.
    for size in (min(len(pool), shots + 4), len(pool)):
        places = rng.permutation(size) if size == len(pool) else rng.choice(len(pool), size, replace=False)
        found = [pool[i][1] for i in places if pool[i][0] != subject]
        if len(found) >= shots:
            break
    return found[:shots]


def _with_shots(solved: Sequence[Prompt], prompt: Prompt) -> Prompt:
    """Put solved examples in front: a line each, or with a blank line between if they take several."""
    if not solved:
        return prompt
    end = "\n\n" if any("\n" in p.text for p in (*solved, prompt)) else "\n"
    front = "".join(f"{p.text}{gap(p.text)}{p.answers[0]}{end}" for p in solved)
    first, last = (len(front) + at for at in prompt.subject)
    return replace(prompt, text=front + prompt.text, subject=(first, last))
