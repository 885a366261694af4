"""Look at a dataset before it is trained: what is wrong with it, and what would help."""
