"""Parts of ``analyses/mixture_sweep.py``."""
