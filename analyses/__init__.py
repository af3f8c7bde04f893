"""One question each: a thin script with a ``run()`` that notebooks call."""
