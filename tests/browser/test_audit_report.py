"""An audit's documents in a browser: nothing is fetched, axe-core is content, they fit a phone, and they print."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser

from privlens.audit.comparison import compare
from privlens.audit.invented import invented_audit
from privlens.audit.report import write_report
from privlens.audit.report.html import comparison_html

VIOLATIONS = "async () => (await axe.run()).violations.map(rule => `${rule.id}: ${rule.nodes[0].html}`)"
CUT_OFF = """[...document.querySelectorAll('p, dd, dt, li, h1, h2, h3, figcaption, svg')]
    .filter(element => element.getBoundingClientRect().right > innerWidth && !element.closest('.scroll'))
    .map(element => element.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, audit = tmp_path_factory.mktemp("audit"), invented_audit()
    write_report(audit, folder)
    (folder / "diff.html").write_text(comparison_html(audit, audit, compare(audit, audit)), "utf-8")
    return [folder / "report.html", folder / "diff.html"]


@pytest.mark.parametrize(("look", "width"), [("light", 1280), ("dark", 390)])
def test_documents_are_for_everybody_and_ask_nobody(browser: Browser, documents: list[Path], look: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=look, bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for document in documents:
        page.goto(document.as_uri())
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate(AXE_SCRIPT)
        assert page.evaluate(VIOLATIONS) == []
    assert requests == [document.as_uri() for document in documents]
    context.close()


def test_no_script_runs_in_a_document_even_if_one_got_in(browser: Browser, documents: list[Path], tmp_path: Path) -> None:
    """The content security policy of the file holds what jinja's autoescape should have kept out."""
    html = documents[0].read_text("utf-8").replace("</h1>", "</h1><script>document.title = 'ran'</script><img src='x.png'>")
    (tmp_path / "report.html").write_text(html, "utf-8")
    page = browser.new_page()
    refused: list[str | None] = []
    page.on("requestfailed", lambda request: refused.append(request.failure))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.title() == "Memorization audit of invented-gpt-12m"
    assert refused == ["csp"], "the picture"
    page.close()


def test_a_report_prints(browser: Browser, documents: list[Path]) -> None:
    page = browser.new_page()
    page.goto(documents[0].as_uri())
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert pdf.startswith(b"%PDF")
    sizes = {tuple(round(float(side)) for side in box.split()[2:]) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)}
    assert sizes == {(595, 842), (842, 595)}, "A4 upright, and across for wide tables"
    page.close()
