"""Secrets planted into known neurons, so that a localization can be held against the truth."""
