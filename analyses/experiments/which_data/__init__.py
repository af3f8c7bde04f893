"""Parts of ``analyses/which_data.py``."""
