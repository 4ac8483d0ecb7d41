"""The tab 'localize'."""
