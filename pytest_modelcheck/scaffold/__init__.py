"""A first test of a model: what it is, what it measures today, and the files that lock it."""
