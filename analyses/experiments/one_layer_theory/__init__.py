"""Parts of ``analyses/one_layer_theory.py``."""
