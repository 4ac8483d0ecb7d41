"""The manual, served with the page: the user's part of docs/, which the wheel carries, as plain HTML behind the same door."""

from privlens.ui.manual.pages import PAGES, glossary
from privlens.ui.manual.served import PATH, Manual

__all__ = ["PAGES", "PATH", "Manual", "glossary"]
