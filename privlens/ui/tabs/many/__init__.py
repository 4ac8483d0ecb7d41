"""The tab 'many'."""
