"""Before training: which facts should one train on? Scores of candidates at the base, and a share by a score.

    candidates = Candidates(facts=FactSet.load("my.csv"), base="path/or/hub-id")
    values = SCORES["statement"](candidates)              # Float [fact], higher = keep
    chosen = facts.subset(choose(values, facts, 0.5).indices)

:data:`SCORES` lists the scores, with what each costs and needs; :mod:`analyses.selection_contest` says which
of them is worth its cost.
"""

from finetune.evaluation.consistency import CLASSES
from interp.selection.behavioural_scores import known_classes
from interp.selection.candidates import Candidates
from interp.selection.choose import Choice, answer_types, choose, rank_facts
from interp.selection.scores import DEFAULT, LABEL_FREE, SCORES, WITHOUT_SUBJECT, Score

__all__ = [
    "CLASSES",
    "DEFAULT",
    "LABEL_FREE",
    "SCORES",
    "WITHOUT_SUBJECT",
    "Candidates",
    "Choice",
    "Score",
    "answer_types",
    "choose",
    "known_classes",
    "rank_facts",
]
