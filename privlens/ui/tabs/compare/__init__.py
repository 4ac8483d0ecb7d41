"""The tab 'compare'."""
