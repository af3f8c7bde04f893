"""Loaders of fact files and data sets, one file for each layout."""
