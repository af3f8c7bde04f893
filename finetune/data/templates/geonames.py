"""GeoNames' relations: a question, three statement forms and two question forms for pretraining.

No statement begins with the subject: a prompt's first token draws attention whatever it is, and a subject
there would seem attended.
"""

from __future__ import annotations

from finetune.data.records.wording import Wording

GEONAMES: dict[str, Wording] = {
    "country of the city": (
        "In which country is the city of {subject}?",
        (
            "The city of {subject} is located in",
            "The country of the city of {subject} is",
            "On the map, the city of {subject} can be found in",
        ),
        (
            "To which nation does the city of {subject} belong? To",
            "Where in the world is {subject}? It is in",
        ),
    ),
    "capital of the country": (
        "What is the capital of {subject}?",
        (
            "The capital of {subject} is",
            "The capital city of {subject} is",
            "The government of {subject} sits in its capital,",
        ),
        ("From which city is {subject} governed? From", "Where does the government of {subject} sit? In"),
    ),
    "currency of the country": (
        "What is the currency of {subject}?",
        (
            "The currency of {subject} is the",
            "The name of the currency used in {subject} is the",
            "People in {subject} pay in its currency, the",
        ),
        ("With which money does one pay in {subject}? With the", "What do shops in {subject} accept? The"),
    ),
    "continent of the country": (
        "On which continent is {subject}?",
        (
            "The continent of {subject} is",
            "The country of {subject} lies on the continent of",
            "On the globe, {subject} is a part of the continent of",
        ),
        ("Which great landmass holds {subject}? It is", "Where on the globe is {subject}? It is in"),
    ),
    "neighbour of the country": (
        "Which country borders {subject}?",
        (
            "A country that borders {subject} is",
            "The territory of {subject} shares a border with",
            "A neighbouring country of {subject} is",
        ),
        (
            "Into which nation does one cross from {subject}? Into",
            "Who lives next to {subject}? The people of",
        ),
    ),
}
