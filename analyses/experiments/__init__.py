"""One folder for each script of the same name: its options, cells, numbers, claims and page."""
