"""Prompts: a text that stops where the answer begins, with the subject's place in it.

A *form* is a template with one ``{subject}`` slot that stops before the answer, such as
``"{subject} was born in"``; where facts have no relation to be worded by, it has a ``{question}`` slot for
the fact's own question instead. Statement forms and question forms differ only in wording; what matters
for the science is which forms a model met in pretraining and which it met only in fine-tuning.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from numbers import Integral

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.common.seeds import generator
from finetune.common.short_repr import ShortRepr
from finetune.data.records.fact import Fact, wrong_answers
from finetune.data.records.subject_position import SLOT, find_subject

QUESTION = "{question}"
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(ShortRepr):
    """A text to complete. ``subject`` is the half-open character range of the subject in ``text``.

    ``choices`` are the continuations among which a multiple-choice question is answered, in their order; the
    right one is ``answers[0]``. ``rendered`` says that a chat template wrote the whole text, so that no
    special token is to be added to it.

    Examples:
        >>> prompt = Prompt(text="Where was Ada born? In", subject=(10, 13), answers=("London",))
        >>> prompt.text[slice(*prompt.subject)]
        'Ada'
    """

    text: str
    subject: tuple[int, int]
    answers: tuple[str, ...]
    fact_id: str = ""
    relation: str = ""
    choices: tuple[str, ...] = ()
    rendered: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or _LONE.search(self.text):
            raise InputError(
                f"{self._named}: its text is no Unicode text; give a str without lone surrogates"
            )
        if problem := wrong_answers(self.answers):
            raise InputError(f"{self._named}: {problem}")
        if not isinstance(self.subject, tuple | list) or len(self.subject) != 2:
            raise InputError(f"{self._named}: subject = {self.subject!r:.40}: give two character positions")
        start, end = self.subject
        if not (isinstance(start, Integral) and isinstance(end, Integral)):
            raise InputError(f"{self._named}: subject range {self.subject}: give two character positions")
        if not 0 <= start < end <= len(self.text):
            raise InputError(
                f"{self._named}: subject range {self.subject} does not lie in a text of {len(self.text)} "
                "characters; give half-open character positions"
            )

    @property
    def _named(self) -> str:
        return f"prompt {self.fact_id or self.text!r:.40}"


def digest_prompts(prompts: Iterable[Prompt]) -> str:
    """Return a hash of all that prompts say, in their order; what they are shown as is short."""
    told = json.dumps([astuple(prompt) for prompt in prompts], default=int)
    return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Phrases(ShortRepr):
    """How one relation is worded.

    ``statements`` and ``questions`` are the forms met in pretraining; ``asked`` is the form that
    fine-tuning teaches and that every arm is tested on.

    Examples:
        >>> Phrases(statements=("{subject} was born in",), questions=(), asked="Who?")
        Traceback (most recent call last):
        finetune.common.errors.InputError: form 'Who?': needs exactly one slot; write {subject} or {question}
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    asked: str

    def __post_init__(self) -> None:
        for form in self.forms:
            if form.count(SLOT) + form.count(QUESTION) != 1:
                raise InputError(f"form {form!r}: needs exactly one slot; write {SLOT} or {QUESTION}")

    @property
    def forms(self) -> tuple[str, ...]:
        """All forms, the asked one last."""
        return (*self.statements, *self.questions, self.asked)


Phrasebook = Mapping[str, Phrases]


def render(form: str, fact: Fact) -> Prompt:
    """Put a fact's subject into a form; the span comes from the slot, so it is exact by construction.

    Examples:
        >>> fact = Fact(id="1", subject="Ada", relation="born", answers=("London",))
        >>> prompt = render("Where was {subject} born? In", fact)
        >>> prompt.text, prompt.subject
        ('Where was Ada born? In', (10, 13))
    """
    if SLOT not in form and QUESTION in form:
        return _around_question(form, fact)
    start = form.index(SLOT)
    return Prompt(
        text=form.replace(SLOT, fact.subject),
        subject=(start, start + len(fact.subject)),
        answers=fact.answers,
        fact_id=fact.id,
        relation=fact.relation,
        choices=fact.choices,
    )


def wording(book: Phrasebook, relation: str) -> Phrases:
    """Return how a relation is worded.

    Raises:
        InputError: the phrasebook does not have it.
    """
    if relation not in book:
        raise InputError(f"relation {quote(relation)}: the phrasebook does not word it; add it there")
    return book[relation]


def question_prompt(fact: Fact) -> Prompt:
    """Take a fact's own question as the prompt's text, in NFC, with the subject's place in it.

    Raises:
        InputError: the fact has no question, or its subject does not occur in it.
    """
    return _around_question(QUESTION, fact)


def fact_prompt(fact: Fact, book: Phrasebook, template: str) -> Prompt:
    """Put a fact's own question into a format; a fact without one is asked in its relation's wording.

    Raises:
        InputError: the fact's question does not name its subject.
    """
    if not fact.question:
        return render(wording(book, fact.relation).asked, fact)
    return _around_question(template, fact)


def _around_question(template: str, fact: Fact) -> Prompt:
    """Put a fact's own question into a template, with the subject's place in it."""
    question = unicodedata.normalize("NFC", fact.question or "")
    span = find_subject(fact.subject, question)
    if span is None:
        problem = f"its question {quote(question)} does not name it" if question else "it has no question"
        raise InputError(
            f"fact {quote(fact.id)}: subject {quote(fact.subject)}, but {problem}; give a question that "
            "does, or a relation to word it by"
        )
    before, _, after = template.partition(QUESTION)
    return Prompt(
        text=f"{before}{question}{after}",
        subject=(len(before) + span[0], len(before) + span[1]),
        answers=fact.answers,
        fact_id=fact.id,
        relation=fact.relation,
        choices=fact.choices,
    )


def with_examples(prompts: Sequence[Prompt], shots: int, *, seed: int = 0) -> list[Prompt]:
    """Put solved examples of the same relation and of other subjects in front, a line each.

    A prompt whose relation has no other subject stays as it is.

    Examples:
        >>> form = "{subject} was born in"
        >>> ada = Fact(id="1", subject="Ada", relation="born", answers=("London",))
        >>> emmy = Fact(id="2", subject="Emmy", relation="born", answers=("Erlangen",))
        >>> asked = with_examples([render(form, ada), render(form, emmy)], 1)
        >>> asked[0].text.split(chr(10))
        ['Emmy was born in Erlangen', 'Ada was born in']
        >>> asked[0].text[slice(*asked[0].subject)]
        'Ada'
    """
    rng = generator(seed, "solved examples in front")
    by_relation: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        by_relation.setdefault(prompt.relation, []).append(prompt)
    made = []
    for prompt in prompts:
        pool = by_relation[prompt.relation]
        drawn = [pool[i] for i in dict.fromkeys(rng.integers(len(pool), size=4 * shots + 8).tolist())]
        subject = prompt.text[slice(*prompt.subject)]
        examples = [p for p in drawn if p.text[slice(*p.subject)] != subject][:shots]
        front = "".join(f"{p.text} {p.answers[0]}\n" for p in examples)
        first, last = (len(front) + at for at in prompt.subject)
        made.append(replace(prompt, text=front + prompt.text, subject=(first, last)))
    return made


def prompt_names(prompts: Sequence[Prompt]) -> list[str]:
    """Say of each prompt what an error calls it."""
    return [f"fact {p.fact_id!r}" if p.fact_id else f"prompt {p.text[:40]!r}" for p in prompts]
