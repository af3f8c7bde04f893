"""Parts of ``analyses/salience_vs_frequency.py``."""
