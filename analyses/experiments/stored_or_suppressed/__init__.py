"""Parts of ``analyses/stored_or_suppressed.py``."""
