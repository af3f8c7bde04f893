"""EntityQuestions' relations: three statement forms and two question forms for pretraining.

The relations of its templates hold things of many kinds, so a form names no kind: a P131 may be a town or a
bridge.
"""

from __future__ import annotations

from finetune.data.loaders.entity_questions import TEMPLATES
from finetune.data.records.wording import Wording

_FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "P17": (
        ("The country of {subject} is", "{subject} lies in", "{subject} can be found in"),
        ("{subject} lies within which nation? Within", "Where in the world is {subject}? It is in"),
    ),
    "P19": (
        ("The place of birth of {subject} is", "{subject} was born in", "The birthplace of {subject} is"),
        (
            "{subject} came into the world in which place? In",
            "Where did the life of {subject} begin? It began in",
        ),
    ),
    "P20": (
        ("The place of death of {subject} is", "{subject} died in", "The life of {subject} ended in"),
        ("Where did {subject} pass away? In", "Which place saw the end of {subject}? It was"),
    ),
    "P26": (
        ("The spouse of {subject} is", "{subject} is married to", "{subject} exchanged vows with"),
        ("Whom did {subject} wed? It was", "{subject} has which partner in marriage? The partner is"),
    ),
    "P30": (
        ("The continent of {subject} is", "{subject} lies on the continent of", "{subject} is a part of"),
        ("Which great landmass holds {subject}? It is", "On what continent would one find {subject}? On"),
    ),
    "P36": (
        ("The capital of {subject} is", "{subject} has its capital at", "The capital city of {subject} is"),
        ("{subject} is governed from which city? From", "Where does the government of {subject} sit? In"),
    ),
    "P40": (
        ("The child of {subject} is", "{subject} is a parent of", "{subject} has a child named"),
        ("{subject} has which son or daughter? The name is", "Whom did {subject} raise? It was"),
    ),
    "P50": (
        ("The author of {subject} is", "{subject} was written by", "{subject} came from the pen of"),
        ("{subject} was written by whom? By", "Whose book is {subject}? A book by"),
    ),
    "P69": (
        ("The place of education of {subject} is", "{subject} was educated at", "{subject} studied at"),
        ("{subject} went to which school? To", "Where did {subject} study? At"),
    ),
    "P106": (
        (
            "The occupation of {subject} is",
            "{subject} has built a career as a working",
            "The line of work of {subject} is",
        ),
        ("How does {subject} earn a living? As a professional", "{subject} does which job? The job of"),
    ),
    "P112": (
        ("The founder of {subject} is", "{subject} was founded by", "{subject} was brought into being by"),
        ("{subject} was founded by whom? By", "Who stood at the beginning of {subject}? It was"),
    ),
    "P127": (
        ("The owner of {subject} is", "{subject} is owned by", "{subject} is the property of"),
        ("To whom does {subject} belong? To", "{subject} is whose property? That of"),
    ),
    "P131": (
        (
            "The administrative location of {subject} is",
            "{subject} is located in",
            "{subject} belongs to the territory of",
        ),
        (
            "{subject} is part of which territory? Part of",
            "Under whose administration does {subject} fall? That of",
        ),
    ),
    "P136": (
        (
            "The genre of {subject} is",
            "{subject} belongs to the genre of",
            "The music of {subject} is an example of",
        ),
        ("How would a critic classify {subject}? As", "{subject} is filed under which style? Under"),
    ),
    "P159": (
        (
            "The headquarters location of {subject} is",
            "{subject} has its headquarters in",
            "{subject} is run from",
        ),
        ("From which city is {subject} run? From", "{subject} has its main office where? In"),
    ),
    "P170": (
        ("The creator of {subject} is", "{subject} was created by", "{subject} is the work of"),
        ("Whose creation is {subject}? The creation of", "Who made {subject}? It was made by"),
    ),
    "P175": (
        ("The performer of {subject} is", "{subject} was performed by", "{subject} was recorded by"),
        ("{subject} was recorded by whom? By", "Whose recording is {subject}? A recording by"),
    ),
    "P176": (
        ("The manufacturer of {subject} is", "{subject} is manufactured by", "{subject} is made by"),
        ("Who builds {subject}? It is built by", "{subject} leaves which factory? That of"),
    ),
    "P264": (
        (
            "The record label of {subject} is",
            "{subject} records for",
            "The music of {subject} is published by",
        ),
        (
            "{subject} is under contract with whom? With",
            "Who releases the records of {subject}? They are released by",
        ),
    ),
    "P276": (
        ("The location of {subject} is", "{subject} is situated in", "{subject} can be visited at"),
        ("Where would one go to find {subject}? To", "{subject} has its place where? In"),
    ),
    "P407": (
        ("The language of the work {subject} is", "{subject} was written in", "{subject} is read in"),
        (
            "In what tongue was {subject} put to paper? In",
            "{subject} speaks to its readers in which tongue? In",
        ),
    ),
    "P413": (
        (
            "The playing position of {subject} is",
            "{subject} plays as a",
            "On the team, {subject} takes the role of",
        ),
        ("Which role does {subject} have on the team? That of", "{subject} lines up as what? As a"),
    ),
    "P495": (
        ("The country of origin of {subject} is", "{subject} comes from", "{subject} was made in"),
        ("From which nation does {subject} come? From", "{subject} was made where? In"),
    ),
    "P740": (
        (
            "The place of formation of {subject} is",
            "{subject} was formed in",
            "{subject} had its beginnings in",
        ),
        ("Where did {subject} have its start? In", "{subject} was formed in which city? In"),
    ),
    "P800": (
        ("The notable work of {subject} is", "{subject} is famous for", "{subject} is best known for"),
        ("Which work made the name of {subject}? It was", "For what is {subject} remembered? For"),
    ),
}
ENTITY_QUESTIONS: dict[str, Wording] = {
    relation: (template, *_FORMS[relation]) for relation, template in TEMPLATES.items()
}
