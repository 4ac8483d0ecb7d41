"""Retained text, which must be preserved while a secret is switched off or erased; and what counts as another secret."""
