"""mkdocs hooks: pages from the top of the repository join the site, links work in both places, formulas need no script."""

import posixpath
import re
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Markdown at the top of the repository, and where the site has it."""
PICTURES = {"assets/screenshot.gif": "assets/screenshot.gif"}
PLAIN = {"LICENSE": "LICENSE.txt", "CITATION.cff": "CITATION.cff"}
MOVED = PAGES | PICTURES | PLAIN
MATH = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, place in MOVED.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link is read from where the page lies in the repository, and written from where it lies in the site."""
    place = page.file.src_uri
    home = next((path for path, moved in PAGES.items() if moved == place), f"docs/{place}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), link[2]))
        target = MOVED.get(target, target.removeprefix("docs/"))
        return link[1] + posixpath.relpath(target, posixpath.dirname(place) or ".") + link[3]

    return LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas become MathML here, so that a reader's browser needs no script for them."""

    def formula(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        return str(convert(unescape(found[2])[2:-2], display=display))

    return MATH.sub(formula, html)
