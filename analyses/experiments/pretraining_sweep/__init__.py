"""Parts of ``analyses/pretraining_sweep.py``."""
