"""The one-layer theory put to the test: the small model trained, single steps on a deep one, and its page."""
