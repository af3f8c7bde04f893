"""The wording of a relation: its statement forms and its question forms."""

Wording = tuple[str, tuple[str, ...], tuple[str, ...]]
