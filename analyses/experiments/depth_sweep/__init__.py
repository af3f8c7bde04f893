"""Parts of ``analyses/depth_sweep.py``."""
