"""Choosing training facts before training: the contest of scores, and the tool that applies the best."""
