"""The manual beside the page: every tab's link answers, all links in it lead somewhere, nothing comes from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from privlens.resources import DOCS
from privlens.ui.components.help import HELP
from privlens.ui.door import Door
from privlens.ui.manual import PAGES, glossary
from privlens.ui.manual.pages import PICTURES, source
from privlens.ui.manual.render import to_html
from privlens.ui.text import en
from tests.ui.test_door import TOKEN, serving, web

ROOT = Path(__file__).parents[2]


class Read(HTMLParser):
    """What a page links to, loads and offers as anchors, and the tags in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.add(tag)
        self.links += [values["href"] or ""] if tag == "a" else []
        self.loaded += [value or "" for name, value in attributes if name in ("src", "srcset") or (name == "href" and tag != "a")]
        self.anchors += [values["id"] or ""] if "id" in values else []


@pytest.fixture(scope="module")
def pages(outward: list[str]) -> dict[str, Read]:
    """All served pages by their paths, fetched from a page behind no lock."""
    with serving(Door()) as address, web(address) as visitor:
        answers = {f"/manual/{page}": visitor.get(f"/manual/{page}") for page in PAGES}
        pictures = [visitor.get(f"/manual/{picture}") for picture in PICTURES]
        strangers = ["extend/tab", "nothing", "../docs/hooks.py", "%2e%2e/pyproject.toml", "methods.md", ""]
        refused = [visitor.get(f"/manual/{name}").status_code for name in strangers]
    assert refused == [404] * len(strangers)
    assert {answer.status_code for answer in [*answers.values(), *pictures]} == {200}
    assert {picture.headers["content-type"] for picture in pictures} == {"image/png"}
    for answer in answers.values():
        assert answer.headers.get_list("content-security-policy")[0].startswith("default-src 'none'; img-src 'self';")
    return {path: Read(answer.text) for path, answer in answers.items()}


def test_every_tab_has_a_link_to_a_heading_of_the_manual(pages: dict[str, Read], address: str) -> None:
    config = httpx.get(f"{address.rstrip('/')}/config", timeout=60, trust_env=False).json()
    parts = [part["props"] for part in config["components"]]
    tabs = [part["id"] for part in parts if part.get("id") in HELP or str(part.get("name")) == "tabitem"]
    shown = {part["elem_id"]: part["html_template"] for part in parts if str(part.get("elem_id")).startswith("help-")}
    assert sorted(tabs) == sorted(HELP) and sorted(shown) == sorted(f"help-{tab}" for tab in tabs) and len(tabs) == 9
    for template in shown.values():
        [link] = Read(template).links
        path, anchor = urlsplit(urljoin("/", link)).path, urlsplit(link).fragment
        assert path in pages, link
        assert not anchor or anchor in pages[path].anchors, link
    assert sorted(en.HELP_ON) == sorted(HELP)


def test_links_within_the_manual_resolve_and_nothing_is_loaded_from_elsewhere(pages: dict[str, Read]) -> None:
    n_within = 0
    for path, page in pages.items():
        assert len(set(page.anchors)) == len(page.anchors), path
        assert not page.tags & {"script", "iframe", "link", "object", "form", "base"}, path
        for loaded in page.loaded:
            assert urljoin(path, loaded).removeprefix("/manual/") in PICTURES, f"{path} loads {loaded}"
        for link in page.links:
            target = urlsplit(urljoin(path, link))
            if target.scheme:
                assert target.scheme in ("http", "https")
                continue
            n_within += 1
            assert target.path in pages, f"{link} on {path}"
            assert not target.fragment or target.fragment in pages[target.path].anchors, f"{link} on {path}"
    assert n_within > len(pages) ** 2, "every page links to all, and some to some headings"


def test_the_manual_is_behind_the_lock(outward: list[str]) -> None:
    with serving(Door(token=TOKEN, root_path="/privlens")) as address, web(address) as visitor:
        assert visitor.get("/manual/methods").status_code == 401
        own = {"Authorization": f"Bearer {TOKEN}"}
        assert visitor.get("/manual/methods", headers=own).status_code == 200
        assert visitor.get("/privlens/manual/methods", headers=own).status_code == 200
        assert visitor.get("/manual/methods", headers={**own, "Host": "rebind.example"}).status_code == 403


def test_markup_is_text_and_links_that_are_not_served_are_words() -> None:
    hostile = "<script>x()</script>\n\n# A <img src=x onerror=y()>\n\n[no](javascript:x) [a](results/index.md) ![b](https://c.example/d.png)"
    read = Read(to_html("index", hostile))
    assert read.tags == {"p", "h1"} and read.links == [] and read.loaded == []
    assert "<a" not in to_html("methods", "[a](../SECURITY.md)") and "a" in to_html("methods", "[a](../SECURITY.md)")
    assert 'href="../methods#x"' in to_html("tutorials/auditor", "[m](../methods.md#x)")


def test_formulas_stay_as_they_are_written() -> None:
    html = to_html("methods", "With $a_1 * b_2$ and $c * d$, `$HOME` and 5 $ more.\n\n$$x_{i} < y$$")
    assert '<code class="formula">a_1 * b_2</code>' in html and '<code class="formula">x_{i} &lt; y</code>' in html
    assert "<em>" not in html and "<code>$HOME</code>" in html and "5 $ more" in html


def test_two_headings_of_the_same_words_have_two_anchors() -> None:
    assert Read(to_html("index", "## A, b\n\n## A b")).anchors == ["a-b", "a-b_1"]


def test_the_wheel_has_the_pages_that_are_served_and_the_glossary_among_them() -> None:
    included = dict(re.findall(r'^"(docs/.+)" = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    files = {
        file.relative_to(ROOT / "docs").as_posix()
        for name in included
        for file in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).iterdir())
    }
    assert files == {f"{page}.md" for page in PAGES} | set(PICTURES)
    assert {name: path for name, path in included.items() if path != f"privlens/{name}"} == {}
    assert DOCS == ROOT / "docs"


def test_the_glossary_of_the_page_is_that_of_the_site() -> None:
    lines = (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert [f"| {', '.join(entry.words)} | {entry.meaning} |" for entry in glossary()] == rows
    words: list[Any] = [word for entry in glossary() for word in entry.words]
    assert len(set(words)) == len(words) > 60
    assert not re.search(r"[*_`\[\]<>|]", source("glossary").replace("n_layers, d_mlp", "").replace("|", "")), (
        "plain text: it is shown as it is"
    )
