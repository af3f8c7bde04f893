"""Verdicts on planted facts and on arms: stages, figures and pages."""
