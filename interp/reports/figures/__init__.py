"""Figures, each a function of a result or a run directory."""
