"""Parts of ``analyses/popularity_splits.py``."""
