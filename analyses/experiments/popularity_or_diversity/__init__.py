"""Parts of ``analyses/popularity_or_diversity.py``."""
