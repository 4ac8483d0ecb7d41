"""The tab 'erase'."""
