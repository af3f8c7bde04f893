"""PopQA's relations: the data's own question, three statement forms, two question forms for pretraining."""

from __future__ import annotations

from finetune.data.records.wording import Wording

POPQA: dict[str, Wording] = {
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
