"""Wordings of relations: those of known data sets and worlds, each by its name in the data, and of users."""
