"""Phrasebooks: how real facts are worded in pretraining, in statements and questions, and in fine-tuning.

Fine-tuning asks in the frame ``Question: ... Answer:``, with the data's own question inside. Pretraining
questions use other words in another frame (the question first, then the beginning of its answer), for
where a base already knows the asked form, fine-tuning has nothing to teach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from finetune.common.errors import InputError
from finetune.common.files import write_json
from finetune.data.facts import FactSet
from finetune.data.loaders.table import UNNAMED
from finetune.data.prompts import QUESTION, Phrasebook, Phrases
from finetune.data.records.subject_position import SLOT, find_subject
from finetune.data.records.wording import Wording
from finetune.data.templates.custom import WordingTemplate, read_templates
from finetune.data.templates.known import ENTITY_QUESTIONS, GEONAMES, POPQA

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
    for the relation; failing that, a question made of the relation's name. Facts without a relation are
    worded by their own questions only, and so is a relation that asks several questions about one subject:
    no statement of it has one right answer. With ``question_form="seen"`` the pretraining questions include
    the asked form: the null condition.

    Raises:
        InputError: an unknown question form.
    """
    if question_form not in get_args(QuestionForm):
        raise InputError(
            f"question_form = {question_form!r}: choose one of {', '.join(get_args(QuestionForm))}"
        )
    shared, topics = shared_questions(facts), _topics(facts)
    book = {}
    for relation in facts.relations:
        own = shared.get(relation)
        if own == SLOT or relation == UNNAMED or relation in topics:
            default, statements, questions = _phrases_of_questions(own or QUESTION)
        else:
            default, statements, questions = facts.wordings.get(relation) or _wording(relation)
        asked = ASKED.replace("{question}", own or default)
        book[relation] = Phrases(statements=statements, questions=questions, asked=asked)
    return _show_asked_form(book) if question_form == "seen" else book


def _topics(facts: FactSet) -> set[str]:
    """Return the relations that ask several questions about one subject."""
    asked = Counter((f.relation, f.subject) for f in facts if f.question and not f.choices)
    return {relation for (relation, _), count in asked.items() if count > 1}


def load_phrasebook(
    path: str | Path,
    facts: FactSet,
    *,
    question_form: QuestionForm = "new",
    relations: Collection[str] | None = None,
) -> dict[str, Phrases]:
    """Return the wording of each relation that occurs, in a person's own words where a file has some.

    Relations that it does not name, and parts that it does not give, are worded as :func:`phrasebook` does.

    Args:
        path: JSON, YAML, CSV or TSV (:mod:`finetune.data.templates.custom`).
        facts: the facts to word.
        question_form: whether pretraining sees the form that fine-tuning asks.
        relations: those that the file may name where ``facts`` are only some of all facts.

    Raises:
        InputError: names the file, the row or relation and the remedy: a template that no answer completes,
            or that is there twice, or of a relation that no fact has.
    """
    templates = read_templates(Path(path))
    _require_known(templates, facts.relations if relations is None else relations)
    usual, own = phrasebook(facts), _parts(templates)
    for template in templates:
        # What is worded so anyway, by a relation's odd name, is not for the file to repair.
        if template.relation not in usual or template.text not in usual[template.relation].forms:
            template.check()
    book = {relation: replace(phrases, **own.get(relation, {})) for relation, phrases in usual.items()}
    for relation in own.keys() & book.keys():
        _require_no_shared_form(Path(path), relation, book[relation], question_form)
    return _show_asked_form(book) if question_form == "seen" else book


def write_phrasebook(book: Phrasebook, path: str | Path) -> None:
    """Write how relations are worded as JSON that :func:`load_phrasebook` reads, to be edited.

    A part without a form is not written.

    Raises:
        InputError: the file is there already, or is not called ``.json``.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: is written as JSON; name a .json file")
    if path.exists():
        raise InputError(f"{path}: is there already; name a new place, or remove it")
    write_json(path, {r: {k: v for k, v in asdict(phrases).items() if v} for r, phrases in book.items()})


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
        is_one = template is not None and template.count(SLOT) == 1 and QUESTION not in template
        if template is not None and is_one and count >= _SHARED * templates.total():
            shared[relation] = template
    return shared


def _phrases_of_questions(question: str) -> Wording:
    """Word facts that nothing but their question says anything of."""
    default, statements, questions = _WHOLE

    def put(form: str) -> str:
        return form.replace(SLOT, question)

    return put(default), tuple(map(put, statements)), tuple(map(put, questions))


def _wording(relation: str) -> Wording:
    """Word a relation of a known data set in its own way, and any other by its name."""
    if known := POPQA.get(relation) or ENTITY_QUESTIONS.get(relation) or GEONAMES.get(relation):
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


def _show_asked_form(book: Phrasebook) -> dict[str, Phrases]:
    """Have pretraining meet the asked form, too."""
    return {
        relation: replace(p, questions=tuple(dict.fromkeys((*p.questions, p.asked))))
        for relation, p in book.items()
    }


def _parts(templates: Sequence[WordingTemplate]) -> dict[str, dict[str, Any]]:
    """Gather templates by relation, as the fields of :class:`Phrases`."""
    parts: dict[str, dict[str, Any]] = {}
    for template in templates:
        own = parts.setdefault(template.relation, {})
        several = (*own.get(template.part, ()), template.text)
        own[template.part] = template.text if template.part == "asked" else several
    return parts


def _require_known(templates: Sequence[WordingTemplate], relations: Collection[str]) -> None:
    """Refuse a relation that no fact has: a mistyped one would be worded as ever without a word."""
    alike = {relation.casefold(): relation for relation in relations}
    for template in templates:
        if template.relation not in relations:
            near = get_close_matches(template.relation.casefold(), alike, n=1)
            some = ", ".join(map(repr, sorted(relations)[:8])) + (", ..." if len(relations) > 8 else "")
            hint = f"did you mean {alike[near[0]]!r}?" if near else f"they have {some};"
            raise InputError(
                f"{template.where}: no fact has the relation {template.relation!r}; {hint} correct it or "
                "remove it"
            )


def _require_no_shared_form(path: Path, relation: str, phrases: Phrases, question_form: QuestionForm) -> None:
    """Refuse one template for two purposes: what pretraining shows, fine-tuning cannot teach."""
    forms = [*phrases.statements, *phrases.questions]
    if question_form == "new" or phrases.asked not in phrases.questions:
        forms.append(phrases.asked)
    if twice := next((form for form in forms if forms.count(form) > 1), None):
        raise InputError(
            f"{path}: {relation!r} has {twice!r} in two of statements, questions and asked; word one of "
            "them otherwise"
        )
