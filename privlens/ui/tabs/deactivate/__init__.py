"""The tab 'deactivate'."""
