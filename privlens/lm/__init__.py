"""A causal language model with its two doors, gates and edits, and everything that reads one without changing it."""
