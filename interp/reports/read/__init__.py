"""Run directories read: numbers, rows, attention maps."""
