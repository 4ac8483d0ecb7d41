"""Text that must stay as it is while a secret is switched off or erased, and who counts as another secret."""
