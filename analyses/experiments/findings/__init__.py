"""Parts of ``analyses/findings.py``."""
