"""The records that data are made of: a fact, the wording of a relation, a subject in its text."""
