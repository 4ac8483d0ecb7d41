"""A causal language model with its gates and edits, and everything that reads a model without changing it."""
