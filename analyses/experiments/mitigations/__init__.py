"""Parts of ``analyses/mitigations.py``."""
