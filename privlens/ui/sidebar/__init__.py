"""The sidebar: which model, which secret, and what must stay as it is."""
