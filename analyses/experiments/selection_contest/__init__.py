"""Parts of ``analyses/selection_contest.py``."""
