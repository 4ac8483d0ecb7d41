"""Lessons: a walk over the real page in steps that ask first, wait for the act, and end in a worksheet."""
