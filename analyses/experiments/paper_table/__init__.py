"""Parts of ``analyses/paper_table.py``."""
