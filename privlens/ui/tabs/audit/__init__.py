"""The tab 'audit'."""
