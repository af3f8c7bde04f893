"""Interactive views of attention and values, offline, with a picture beside each."""
