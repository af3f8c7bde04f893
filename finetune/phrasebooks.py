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
from finetune.sources.entity_questions import LABELS, TEMPLATES

QuestionForm = Literal["new", "seen"]
ASKED = "Question: {question} Answer:"
_SHARED = 0.9  # the share of a relation's questions that must fit one template for it to be the asked form

# PopQA's relations: its own question, three statement forms, two question forms for pretraining.
_POPQA: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "occupation": (
        "What is {subject}'s occupation?",
        (
            "The occupation of {subject} is",
            "{subject} has built a career as a working",
            "The line of work of {subject} is",
        ),
        ("How does {subject} earn a living? As a professional", "{subject} does which job? The job of"),
    ),
    "place of birth": (
        "In what city was {subject} born?",
        ("{subject} was born in", "The place of birth of {subject} is", "The birthplace of {subject} is"),
        ("{subject} was born where? In", "Where did the life of {subject} begin? It began in"),
    ),
    "genre": (
        "What genre is {subject}?",
        ("The genre of {subject} is", "{subject} belongs to the genre of", "{subject} is an example of"),
        ("How would a critic classify {subject}? As", "{subject} is filed under which style? Under"),
    ),
    "father": (
        "Who is the father of {subject}?",
        ("The father of {subject} is", "{subject} was fathered by", "{subject} has a father named"),
        ("{subject} calls which man a parent? He is", "By whom was {subject} fathered? By"),
    ),
    "country": (
        "In what country is {subject}?",
        ("The country of {subject} is", "{subject} is located in", "{subject} can be found in"),
        ("{subject} lies within which nation? Within", "Where in the world is {subject}? It is in"),
    ),
    "producer": (
        "Who was the producer of {subject}?",
        ("The producer of {subject} was", "{subject} was produced by", "Production of {subject} was led by"),
        ("{subject} was produced by whom? By", "Whose production is {subject}? A production of"),
    ),
    "director": (
        "Who was the director of {subject}?",
        ("The director of {subject} was", "{subject} was directed by", "{subject} is a work directed by"),
        ("{subject} was directed by whom? By", "Under whose direction was {subject} made? Under that of"),
    ),
    "capital of": (
        "What is {subject} the capital of?",
        (
            "{subject} is the capital of",
            "The city of {subject} is the capital of",
            "{subject} is the seat of",
        ),
        (
            "{subject} governs which land as its chief city? It governs",
            "Which land is ruled from {subject}? It is",
        ),
    ),
    "screenwriter": (
        "Who was the screenwriter for {subject}?",
        (
            "The screenwriter for {subject} was",
            "The screenplay of {subject} was written by",
            "{subject} has a script written by",
        ),
        ("{subject} has a script by whom? By", "Whose pen gave us the script of {subject}? That of"),
    ),
    "composer": (
        "Who was the composer of {subject}?",
        (
            "The composer of {subject} was",
            "{subject} was composed by",
            "The music of {subject} was written by",
        ),
        ("{subject} was composed by whom? By", "Whose music is heard in {subject}? The music of"),
    ),
    "color": (
        "What color is {subject}?",
        ("The color of {subject} is", "{subject} is colored", "Anyone who looks at {subject} sees"),
        ("{subject} is painted how? In", "How does {subject} look? It looks"),
    ),
    "religion": (
        "What is the religion of {subject}?",
        (
            "The religion of {subject} is",
            "{subject} belongs by faith to",
            "In matters of faith, {subject} follows",
        ),
        ("{subject} holds to which faith? To", "How does {subject} worship? In the way of"),
    ),
    "sport": (
        "What sport does {subject} play?",
        ("The sport of {subject} is", "{subject} competes in", "{subject} is known from the world of"),
        ("{subject} takes part in which game? In", "At which game does {subject} compete? At"),
    ),
    "author": (
        "Who is the author of {subject}?",
        ("The author of {subject} is", "{subject} was written by", "{subject} came from the pen of"),
        ("{subject} was written by whom? By", "Whose book is {subject}? A book by"),
    ),
    "mother": (
        "Who is the mother of {subject}?",
        ("The mother of {subject} is", "{subject} was born to", "{subject} has a mother named"),
        ("{subject} calls which woman a parent? She is", "Which woman gave birth to {subject}? It was"),
    ),
    "capital": (
        "What is the capital of {subject}?",
        ("The capital of {subject} is", "{subject} has its capital at", "The capital city of {subject} is"),
        ("{subject} is governed from which city? From", "Where does the government of {subject} sit? In"),
    ),
}


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
        default, statements, questions = _POPQA.get(relation) or _generic(relation)
        asked = ASKED.replace("{question}", shared.get(relation, default))
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


def _generic(relation: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Word a relation by its name alone."""
    name = LABELS.get(relation, relation)
    return (
        TEMPLATES.get(relation, f"What is the {name} of {SLOT}?"),
        (f"The {name} of {SLOT} is", f"{SLOT} has as its {name}", f"As for {SLOT}, the {name} is"),
        (f"{SLOT} has which {name}? It is", f"Do you know the {name} for {SLOT}? Yes, it is"),
    )
