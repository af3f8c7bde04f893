"""Asking a model: greedy answers, multiple choice, log-probabilities, and whether an answer is right."""
