"""Choosing training facts before training: what they are scored by, and how a share of them is taken."""
