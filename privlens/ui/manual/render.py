"""A page of the manual as HTML: markup in its source is text, links lead to served pages only, formulas stay as they are written.

Links to what is not served (results, the API reference, files of the repository) become their words alone.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from privlens.ui.manual.pages import PAGES, PICTURES, source, title
from privlens.ui.text import en

FORMULA = re.compile(r"(\$\$?)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
STYLE = """:root { color-scheme: light dark; --paper: #fff; --ink: #18181b; --line: #d4d4d8; --link: #1d4ed8; --back: #f4f4f5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #18181b; --ink: #f4f4f5; --line: #52525b; --link: #93c5fd; --back: #27272a; }
}
html { background: var(--paper); color: var(--ink); }
body { margin: 0 auto; padding: 0 16px 64px; max-width: 62rem; font: 17px/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0; padding: 12px 0; list-style: none; }
nav { border-bottom: 1px solid var(--line); }
nav a { display: inline-block; padding: 2px 0; font-size: 15px; } nav [aria-current] { font-weight: 700; text-decoration: none; }
h1, h2, h3 { line-height: 1.25; scroll-margin-top: 12px; } h2 { margin-top: 2em; }
pre { overflow-x: auto; padding: 12px; border-radius: 8px; background: var(--back); line-height: 1.4; }
code { font: .9em ui-monospace, monospace; } .table { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: 6px 10px; border: 1px solid var(--line); text-align: left; vertical-align: top; }
img { max-width: 100%; height: auto; } :target { background: var(--back); }"""
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - PrivLens</title><style>{style}</style></head><body><nav aria-label="{label}"><ul>{menu}</ul></nav>
<main>{text}</main></body></html>"""


def rendered(page: str) -> str:
    """The whole HTML page of one of PAGES."""
    menu = "".join(
        f'<li><a href="{link_to(other, page)}"{" aria-current=page" if other == page else ""}>{escape(title(other))}</a></li>'
        for other in PAGES
    )
    text = to_html(page, source(page))
    return PAGE.format(title=escape(title(page)), style=STYLE, label=escape(en.MANUAL), menu=menu, text=text)


def link_to(target: str, page: str) -> str:
    """From one served file to another."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def to_html(page: str, markdown: str) -> str:
    """The Markdown of a page, or of a text that stands where this page does."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.inline.ruler.before("escape", "formula", _formula)
    reader.add_render_rule("formula", _formula_html)
    reader.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = reader.parse(markdown)
    used: Counter[str] = Counter()
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            before.attrSet("id", _anchor(token, used))
        if token.children:
            token.children = _within(page, token.children)
    return str(reader.renderer.render(tokens, reader.options, {}))


def _anchor(heading: Token, used: Counter[str]) -> str:
    """As the site and GitHub make them; a second one of the same words gets a number."""
    words = "".join(child.content for child in heading.children or ())
    anchor = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
    used[anchor] += 1
    return anchor if used[anchor] == 1 else f"{anchor}_{used[anchor] - 1}"


def _within(page: str, children: Sequence[Token]) -> list[Token]:
    """The pieces of a line with links that lead to served files or to other sites; those of other links without them."""
    kept, dropped = [], 0
    for token in children:
        if token.type == "link_open":
            target = _target(page, str(token.attrs["href"]))
            dropped += target is None
            if target is None:
                continue
            token.attrSet("href", target)
            if re.match(r"https?:", target):
                token.attrSet("rel", "noopener noreferrer")
        elif token.type == "link_close" and dropped:
            dropped -= 1
            continue
        elif token.type == "image" and _within_docs(page, str(token.attrs["src"])) not in PICTURES:
            token = Token("text", "", 0, content=token.content)
        kept.append(token)
    return kept


def _target(page: str, link: str) -> str | None:
    """Where a link of a page leads to from its place in the manual; None if that is not served."""
    if re.match(r"[a-z]+:", link):
        return link
    path, hash_mark, anchor = link.partition("#")
    if not path:
        return link
    target = _within_docs(page, path)
    served = target.removesuffix(".md")
    return link_to(served, page) + hash_mark + anchor if target.endswith(".md") and served in PAGES else None


def _within_docs(page: str, path: str) -> str:
    """A file that a page names by its place beside it, by its place in docs/."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def _formula(state: StateInline, silent: bool) -> bool:
    """Reads what stands between dollar signs as it is, for * and _ mean something else in it."""
    found = FORMULA.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("formula", "code", 0).content = found[2]
    state.pos = found.end()
    return True


def _formula_html(self: RendererHTML, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f'<code class="formula">{escape(tokens[index].content)}</code>'
