"""The tab 'memorized'."""
