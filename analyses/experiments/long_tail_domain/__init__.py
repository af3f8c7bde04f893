"""Parts of ``analyses/long_tail_domain.py``."""
