"""Audit: one model and a list of secrets in, findings with their controls and a report that another person can check out."""
