"""The wording of a relation: its statement forms and its question forms."""

from __future__ import annotations

Wording = tuple[str, tuple[str, ...], tuple[str, ...]]
