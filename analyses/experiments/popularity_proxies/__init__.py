"""Parts of ``analyses/popularity_proxies.py``."""
