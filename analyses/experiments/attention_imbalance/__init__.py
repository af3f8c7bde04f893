"""Parts of ``analyses/attention_imbalance.py``."""
