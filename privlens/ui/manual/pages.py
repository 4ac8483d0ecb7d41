"""Which pages of docs/ are served, and the glossary, which site, manual and the page's tooltips read from one file."""

import re
from dataclasses import dataclass

from privlens.resources import DOCS

PAGES = (
    "index",
    "tutorials/researcher",
    "tutorials/teacher",
    "tutorials/auditor",
    "methods",
    "erasing",
    "neurons",
    "neurons-kin",
    "models",
    "audit-report",
    "command-line",
    "http",
    "administrator",
    "glossary",
)
"""In the order of the menu. Results, the API reference and what is for developers stay on the site."""
PICTURES = ("tutorials/audit-plan.png", "tutorials/audit-findings.png")
ROW = re.compile(r"^\| *(.+?) *\| *(.+?) *\|$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One row of the glossary: the words that it explains, and what they mean, in plain text."""

    words: tuple[str, ...]
    meaning: str


def source(page: str) -> str:
    """The Markdown of one of PAGES."""
    return (DOCS / f"{page}.md").read_text("utf-8")


def title(page: str) -> str:
    """A page's first heading."""
    return source(page).split("\n", 1)[0].lstrip("# ")


def glossary() -> tuple[Entry, ...]:
    """The rows of docs/glossary.md; words that share a row are parted by commas there."""
    rows = ROW.findall(source("glossary"))[2:]  # the heading, and the line below it
    return tuple(Entry(tuple(words.split(", ")), meaning) for words, meaning in rows)
