"""How real facts are worded: in statements and questions for pretraining, and as fine-tuning asks.

Fine-tuning asks in the frame ``Question: ... Answer:``, with the data's own question inside. Pretraining
questions use other words in another frame (the question first, then the beginning of its answer), for
where a base already knows the asked form, fine-tuning has nothing to teach.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from finetune.facts import FactSet, InputError
from finetune.prompts import SLOT, Phrases, find_subject
from finetune.wordings import ENTITY_QUESTIONS, POPQA, Wording

QuestionForm = Literal["new", "seen"]
ASKED = "Question: {question} Answer:"
_SHARED = 0.9  # the share of a relation's questions that must fit one template for it to be the asked form

# A question that is its own subject, as a multiple-choice test's are: it has no slot but the whole.
_WHOLE: Wording = (
    SLOT,
    (f"{SLOT} The answer is", f"{SLOT} The right answer is", f"To the question {SLOT} one answers"),
    (f"{SLOT} What is right here? It is", f"{SLOT} What would an expert say? An expert would say"),
)


def phrasebook(facts: FactSet, *, question_form: QuestionForm = "new") -> dict[str, Phrases]:
    """Return the wording of each relation that occurs.

    ``asked`` is the template that the facts' own questions share; failing that, the data set's template
    for the relation; failing that, a question made of the relation's name. With ``question_form="seen"``
    the pretraining questions include the asked form: the null condition.

    Raises:
        InputError: an unknown question form.
    """
    if question_form not in get_args(QuestionForm):
        raise InputError(
            f"question_form = {question_form!r}: choose one of {', '.join(get_args(QuestionForm))}"
        )
    shared = shared_questions(facts)
    book = {}
    for relation in facts.relations:
        own = shared.get(relation)
        default, statements, questions = _WHOLE if own == SLOT else _wording(relation)
        asked = ASKED.replace("{question}", own or default)
        seen = (*questions, asked) if question_form == "seen" else questions
        book[relation] = Phrases(statements=statements, questions=seen, asked=asked)
    return book


def shared_questions(facts: FactSet) -> dict[str, str]:
    """Return, by relation, the question template that at least nine tenths of its facts follow."""
    found: dict[str, Counter[str | None]] = {relation: Counter() for relation in facts.relations}
    for fact in facts:
        question = fact.question or ""
        span = find_subject(fact.subject, question)
        template = None if span is None else question[: span[0]] + SLOT + question[span[1] :]
        found[fact.relation][template] += 1
    shared = {}
    for relation, templates in found.items():
        template, count = templates.most_common(1)[0]
        if template is not None and template.count(SLOT) == 1 and count >= _SHARED * templates.total():
            shared[relation] = template
    return shared


def _wording(relation: str) -> Wording:
    """Word a relation of a known data set in its own way, and any other by its name."""
    if known := POPQA.get(relation) or ENTITY_QUESTIONS.get(relation):
        return known
    return (
        f"What is the {relation} of {SLOT}?",
        (
            f"The {relation} of {SLOT} is",
            f"{SLOT} has as its {relation}",
            f"As for {SLOT}, the {relation} is",
        ),
        (f"{SLOT} has which {relation}? It is", f"Do you know the {relation} for {SLOT}? Yes, it is"),
    )
