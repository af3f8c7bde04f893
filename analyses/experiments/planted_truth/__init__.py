"""Parts of ``analyses/planted_truth.py``."""
