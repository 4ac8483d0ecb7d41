"""The documents of an audit: safe whatever a model writes, accessible, self-contained, and never stronger than the numbers."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from privlens.audit.folder import read_audit
from privlens.audit.invented import invented_audit
from privlens.audit.population import CHANCES, EXPONENTS, Curve, Group, population, rate
from privlens.audit.records import Attack, Audit, Intervention, Plan
from privlens.audit.report import figures, schema, words, write_report
from privlens.audit.report.conclusion import conclusion
from privlens.audit.report.csv_file import cell, findings_csv
from privlens.audit.report.html import HERE, SECTIONS, report_html
from privlens.audit.report.limits import limits
from privlens.errors import BadInput
from privlens.neurons.entropy_memorization import entropy_sets
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyGroup, Line
from privlens.types import to_json
from tests.audits import audit_of, finding, measured

MARKUP = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>]]>--></style>{{ 7*7 }}"
HOSTILE = MARKUP + "\u202e\x00\x1b[31m\u2028=1+1"


class Page(HTMLParser):
    """Every tag with its attributes, and the text outside of style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text, self.style, self._tag = "", "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self._tag == "style":
            self.style += data
            self._tag = ""
        else:
            self.text += data

    def all(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def page_of(audit: Audit) -> Page:
    return Page(report_html(audit, population(audit)))


def said(audit: Audit) -> str:
    """The report's text with plain spaces."""
    return " ".join(page_of(audit).text.split())


@pytest.fixture(scope="module")
def invented() -> Page:
    return page_of(invented_audit())


def hostile_audit() -> Audit:
    """Every text that does not come from PrivLens is as bad as it can be."""
    state = measured(True, text=HOSTILE)
    attack = Attack(HOSTILE, True, HOSTILE)
    done = [
        Intervention(kind, HOSTILE, 3, 100, state, 1, 2, 0.5, 1.1, (), (attack,)) for kind in ("neurons", "random", "erasure")
    ]
    bad = finding(
        0, True, key=HOSTILE, masked=HOSTILE, category=HOSTILE, person=HOSTILE, measured=state, control=state, note=HOSTILE,
        interventions=tuple(done),
    )  # fmt: skip
    audit = audit_of([bad, finding(1, True, category=HOSTILE, false_positive=HOSTILE)], auditor=HOSTILE, question=HOSTILE)
    target = replace(
        audit.target,
        model=HOSTILE,
        fingerprint=HOSTILE,
        dtype=HOSTILE,
        files={HOSTILE: HOSTILE},
        edits=(HOSTILE,),
        versions={HOSTILE: HOSTILE},
    )
    sample = replace(audit.sample, name=HOSTILE, rejected=(HOSTILE,), key_id=HOSTILE, sha256=HOSTILE)
    return replace(audit, target=target, sample=sample, client=HOSTILE, scope=HOSTILE, legal_basis=HOSTILE, started=HOSTILE)


@pytest.mark.parametrize("audit", [hostile_audit(), invented_audit(), audit_of([])], ids=["hostile", "invented", "empty"])
def test_nothing_in_a_report_runs_or_is_fetched(audit: Audit) -> None:
    html = report_html(audit, population(audit))
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "audio",
        "video",
    }
    for _, attributes in page.tags:
        assert not {
            name for name in attributes if name.startswith("on") or name in ("src", "srcset", "style", "action", "xlink:href")
        }
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|expression|//", page.style)
    assert len(page.all("style")) == 1 and html.count("</style>") == 1
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", html), "nothing invisible"


def test_hostile_text_is_shown_as_it_stands() -> None:
    page = page_of(hostile_audit())
    shown = (
        HOSTILE.replace("\u202e", "<U+202E>")
        .replace("\x00", "<U+0000>")
        .replace("\x1b", "<U+001B>")
        .replace("\u2028", "<U+2028>")
    )
    assert page.text.count(shown) > 20
    assert "{{ 7*7 }}" in page.text and "49]" not in page.text


def test_a_report_is_accessible(invented: Page) -> None:
    assert [attributes["lang"] for attributes in invented.all("html")] == ["en"]
    assert len(invented.all("h1")) == 1
    assert len(invented.all("main")) == 1
    tables = invented.all("table")
    assert len(tables) == len(invented.all("caption")) > 8
    assert {attributes.get("scope") for attributes in invented.all("th")} == {"col", "row"}
    levels = [int(tag[1]) for tag, _ in invented.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level is left out"
    ids = Counter(attributes["id"] for _, attributes in invented.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    links = [attributes["href"][1:] for attributes in invented.all("a")]
    labels = [name for _, attributes in invented.tags for name in attributes.get("aria-labelledby", "").split()]
    assert {*links, *labels} <= set(ids)
    assert links == [name for name, _ in SECTIONS]
    pictures = invented.all("svg")
    assert len(pictures) == len(invented.all("title")) - 1 == len(invented.all("desc")) == len(invented.all("figcaption")) == 4
    assert all(picture["role"] == "img" and "aria-labelledby" in picture for picture in pictures)


def contrast(a: str, b: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""

    def luminance(color: str) -> float:
        digits = color.lstrip("#")
        digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
        channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(a), luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_text_has_contrast_in_light_dark_and_print() -> None:
    style = (HERE / "style.css").read_text("utf-8")
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(schemes) == 3
    assert contrast("#000", "#fff") == 21
    for scheme in schemes:
        for color in ("ink", "quiet", "strong", "secret", "control"):
            assert contrast(scheme[color], scheme["paper"]) >= 4.5, (color, scheme)
            assert contrast(scheme[color], scheme["wash"]) >= 4.5, (color, scheme)
        assert contrast(scheme["ink"], scheme["warn-wash"]) >= 4.5


def test_every_section_is_there_and_says_what_was_done(invented: Page) -> None:
    text = " ".join(invented.text.split())
    for number, (_, name) in enumerate(SECTIONS, 1):
        assert f"{number}. {name}" in text
    for stated in (
        "invented-people.csv",
        "4f1c9a7be2d05386",
        "12,405,760",
        "line 17: the value is empty",
        "Ada Invented",
        "emso",
    ):
        assert stated in text
    assert "2 March 2026, 11:47 UTC" in text
    assert "3 more were left, since the plan works on at most 5" in text


def test_a_bare_audit_says_what_is_missing() -> None:
    text = said(audit_of([finding(0, False)]))
    for sentence in (
        "There are no controls. Nothing can be said about false positives.",
        "No attack was tried. What a mitigation withstands is unknown.",
        "No mitigation was part of the plan.",
        "No reworded prompts were tried",
        "Not stated.",
        "Not measured: there are fewer than two controls.",
    ):
        assert sentence in text
    assert "How often the model was trained on it is unknown for 1 secret" in text
    assert "as plain text" in text and "in chat turns" not in text
    in_turns = audit_of([finding(0, False)])
    assert "in chat turns" in said(replace(in_turns, target=replace(in_turns.target, chat=True)))


def sentences(audit: Audit) -> str:
    return " ".join(" ".join((limb.verdict, *limb.sentences)) for limb in conclusion(audit, population(audit))).replace(
        "\u00a0", " "
    )


def test_a_rate_of_zero_is_not_called_more_than_it_is() -> None:
    none = audit_of([finding(row, False, control=measured(False), n_reworded=2) for row in range(20)])
    text = sentences(none)
    assert text.count("A rate of 0 of 20 does not show less than 16.8 %.") == 2, "of both limbs"
    assert text.count("Not refuted by this sample, which does not mean that it is met.") == 2
    assert "fewer than 13.9 % of such values are" in text, "1 - .05^(1/20) of the controls"
    for claim in ("anonymous", "is met.", "safe", "no risk"):
        assert claim not in text.replace("does not mean that it is met.", "")


def test_limbs_are_refuted_only_beyond_the_controls() -> None:
    def verdict(k: int, n: int, written: int) -> str:
        rows = [finding(row, row < k, control=measured(row < written)) for row in range(n)]
        audit = audit_of(rows)
        return conclusion(audit, population(audit))[0].verdict

    assert verdict(10, 20, 0).startswith("Not met")
    assert verdict(3, 20, 0).startswith("Not decided"), "3.2 to 37.9 % beside 0 to 16.8 %"
    assert verdict(10, 20, 8).startswith("Not decided")
    assert verdict(0, 20, 0).startswith("Not refuted")
    uncontrolled = audit_of([finding(row, True) for row in range(20)])
    limbs = conclusion(uncontrolled, population(uncontrolled))
    assert limbs[0].verdict.startswith("Not decided")
    assert limbs[1].verdict == "Not measured."
    assert "There are no controls, so it is unknown" in limbs[0].sentences[1]


def test_mitigation_is_worded_with_its_interval_and_its_attacks() -> None:
    done = Intervention("erasure", "emso", 9, 100, measured(False), 1, 2, 1.5, 1.0, (), (Attack("reworded prompts", True),))
    text = sentences(audit_of([finding(row, True, interventions=(done,)) for row in range(5)], Plan(erasure="emso")))
    assert "After erasing by emso, 0 of 5 targets are still written (before: 5)." in text
    assert "A rate of 0 of 5 does not show less than 52.2 %." in text
    assert "reworded prompts brought back 5 of 5" in text
    assert "The largest rise of another secret was +1.5 nats." in text
    bare = replace(done, attacks=(), worst_rise=-0.1)
    assert "No attack on it was tried." in sentences(audit_of([finding(0, True, interventions=(bare,))]))


def test_limits_are_those_of_this_audit() -> None:
    few = audit_of([finding(row, True, control=measured(False)) for row in range(2)])
    told = " ".join(limits(few, population(few)))
    assert "takes 100." in told and "No mitigation was tried." in told and "Nobody is named" in told
    whole = invented_audit()
    told = " ".join(limits(whole, population(whole)))
    assert "3 memorized secrets got no intervention" in told
    assert "No mitigation was tried." not in told and "Nobody is named" not in told
    many = audit_of([finding(row, True, control=measured(False)) for row in range(100)])
    assert "takes 100." not in " ".join(limits(many, population(many)))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"), ("+49 30 1", "'+49 30 1"), ("-cmd", "'-cmd"), ("@sum(a)", "'@sum(a)"), ("\u200b=x", "'\u200b=x"),
        ("＝1+1", "'＝1+1"), ("|calc", "'|calc"), ("%0a", "'%0a"), (" =x", "' =x"), ("\tx", '"\'\tx"'),
        ("=a,b", '"\'=a,b"'), ('say "x"', '"say ""x"""'), ("a;b", '"a;b"'), ("a\r\nb", '"a\r\nb"'),
        (-1.5, "-1.5"), (1e-9, "1e-09"), ("-", "-"), ("+5 %", "+5 %"), (None, ""), (0, "0"), ("plain", "plain"),
        (-math.inf, "'-inf"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(value: object, written: str) -> None:
    assert cell(value) == written


def test_findings_in_a_spreadsheet() -> None:
    audit = hostile_audit()
    text = findings_csv((replace(audit.findings[0], masked="=HYPERLINK(0)"), *invented_audit().findings))
    assert text.startswith("\ufeffrow,key,")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert len(rows) == 53, "the file holds one row a finding, line breaks in cells or not"
    assert rows[0]["masked_value"] == "'=HYPERLINK(0)"
    assert rows[0]["key"] == HOSTILE
    assert {row["written"] for row in rows} == {"yes", "no"}
    second = invented_audit().findings[0]
    assert float(rows[1]["nll_nats_per_token"]) == second.measured.nll
    assert int(rows[1]["distance_tokens"]) == second.measured.distance
    assert None not in rows[0] and None not in rows[0].values(), "as many cells as columns"


def with_never() -> Audit:
    """An audit that holds what JSON has no number for."""
    return audit_of([finding(0, False, measured=measured(False, logprob=-math.inf, nll=9.0))])


@pytest.mark.parametrize("audit", [invented_audit(), hostile_audit(), with_never()], ids=["invented", "hostile", "never"])
def test_the_published_schema_describes_audits(audit: Audit, tmp_path: Path) -> None:
    write_report(audit, tmp_path)
    (tmp_path / "audit.json").write_text(to_json(audit), "utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "audit.json", "audit.schema.json", "findings.csv", "population.json", "report.html",
    ]  # fmt: skip
    published = json.loads((tmp_path / "audit.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    content = json.loads((tmp_path / "audit.json").read_text("utf-8"))
    jsonschema.validate(content, published)
    assert read_audit(tmp_path) == audit
    old = {**content, "findings": [{**found, "measured": {**found["measured"]}} for found in content["findings"]]}
    del old["entropy"]
    for found in old["findings"]:
        del found["measured"]["distance"]
    (tmp_path / "audit.json").write_text(json.dumps(old), "utf-8")
    assert read_audit(tmp_path).entropy is None
    assert len(read_audit(tmp_path).findings) == len(audit.findings)
    assert json.loads((tmp_path / "population.json").read_text("utf-8"))["extraction"]["n"] == population(audit).extraction.n
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir() if path.name != "audit.json")


def broken() -> Iterator[dict[str, Any]]:
    for path, value in (("findings.0.measured.nll", "low"), ("plan.seed", 0.5), ("findings.0.measured.verdict", "gone")):
        content = json.loads(to_json(invented_audit()))
        *parents, last = path.split(".")
        place = content
        for name in parents:
            place = place[int(name)] if name.isdigit() else place[name]
        place[last] = value
        yield content
    content = json.loads(to_json(invented_audit()))
    del content["target"]
    yield content


def test_the_schema_refuses_what_is_no_audit() -> None:
    for content in broken():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema())


def test_an_audit_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no audit\.json"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(BadInput, match="damaged or no audit"):
        read_audit(tmp_path)
    (tmp_path / "audit.json").write_text(to_json(replace(invented_audit(), format=99)))
    with pytest.raises(BadInput, match="has format 99"):
        read_audit(tmp_path)


def numbers(svg: str, tag: str, name: str) -> list[float]:
    return [
        float(value) for element in re.findall(rf"<{tag} [^>]*>", svg) for value in re.findall(rf' {name}="([^"]*)"', element)
    ]


def test_dots_stand_where_their_rates_are() -> None:
    svg = str(figures.rates("r", [Group("a", rate(0, 20)), Group("b", rate(10, 20)), Group("<c>", rate(20, 20))]))
    left, right = figures.LABEL, figures.WIDTH - figures.RIGHT
    assert numbers(svg, "circle", "cx") == [left, (left + right) / 2, right]
    assert "&lt;c&gt;: 20 of 20" in svg and "<c>" not in svg
    assert "0 of 20" in svg


def test_a_curve_rises_to_its_shares() -> None:
    curves = [Curve(chance, tuple(n / 9 for n in EXPONENTS), (0.0,) * 10) for chance in CHANCES]
    svg = str(figures.curves("c", curves, EXPONENTS))
    lines = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', svg)
    assert [kind for kind, _ in lines] == [f"secret stroke dash{i}" for i in range(4)] + ["control stroke"]
    points = [tuple(map(float, point.split(","))) for point in lines[0][1].split()]
    assert points[0][1] - points[-1][1] == pytest.approx(212), "from the lower edge to the upper one"
    steps = [before[1] - after[1] for before, after in pairwise(points)]
    assert steps == pytest.approx([212 / 9] * 9, abs=0.11)
    assert {point.split(",")[1] for point in lines[-1][1].split()} == {"224.0"}, "controls stay at 0"


def test_circles_stand_where_their_sets_are() -> None:
    groups = (EntropyGroup(0, 16, 64, 8, 2.0, None), EntropyGroup(3, 4, 16, 4, 2.5, None), EntropyGroup(6, 4, 16, 4, 4.0, None))
    svg = str(figures.entropy_sets("e", groups, Line(3.0, -6.0, 0.9, None, 3)))
    assert numbers(svg, "circle", "cx") == [48, 48 + 408 / 4, 456], "2, 2.5 and 4 bits on an axis of 2 to 4"
    assert numbers(svg, "circle", "cy") == [244, 142, 40]
    assert numbers(svg, "circle", "r") == [figures.LARGEST_SET, figures.LARGEST_SET / 2, figures.LARGEST_SET / 2], "areas"
    line = re.findall(r'class="secret stroke dash2" x1="(.*?)" y1="(.*?)" x2="(.*?)" y2="(.*?)"', svg)
    assert line == [("48.0", "244.0", "456.0", "40.0")], "through (2, 0) and (4, 6)"
    assert "distance 3: 2.50 bits, 4 secrets" in svg
    assert "circle" not in str(figures.entropy_sets("e", (), None))


def test_a_line_through_sets_stands_beside_its_control_and_its_objections() -> None:
    audit = invented_audit()
    sets = audit.entropy
    assert sets and sets.line and sets.line.interval and sets.shuffled is not None
    text = said(audit)
    n = sets.line.n  # cells follow each other without a space
    assert f"sets{n}{sets.line.r:.2f}{sets.line.interval[0]:.2f} to {sets.line.interval[1]:.2f}" in text
    assert f"control: dealt at random{n}{sets.shuffled:.2f}–{words.p_value(sets.p_value)} of an r" in text
    assert f"{sets.n_left_out} secrets in sets of fewer than 5 are left out" in text
    assert all(caution in text for caution in ENTROPY_CAUTIONS)
    few = replace(audit, entropy=entropy_sets([0] * 5, [[1, 2]] * 5, 0, 5))
    assert "No line is drawn: 1 set of equal distance and of 5 secrets or more: a line needs 4." in said(few)
    assert all(caution in said(few) for caution in ENTROPY_CAUTIONS)


def test_entropies_of_another_version_or_of_other_secrets_are_told() -> None:
    audit = invented_audit()
    assert "earlier version" not in said(audit) and "others count by now" not in said(audit)
    assert said(replace(audit, entropy=None)).count("earlier version of PrivLens checked these secrets") == 2
    struck = replace(audit, findings=(replace(audit.findings[0], false_positive="a hotline"), *audit.findings[1:]))
    assert "The entropy of sets is of the 39 secrets that counted when the audit ended; others count by now." in said(struck)


def test_bars_hold_every_value() -> None:
    secrets, controls = [0.0, 0.4, 1.0, 7.9, None], [8.0, 8.5, None, None]
    svg = str(figures.histogram("h", secrets, controls))
    described = re.findall("<desc[^>]*>(.*?)</desc>", svg)[0]
    assert described == (
        "Secrets: 2 at 10^0 to 10^1, 1 at 10^1 to 10^2, 1 at 10^7 to 10^8, 1 at never. Controls: 2 at 10^8 to 10^9, 2 at never."
    )
    heights = numbers(svg, "rect", "height")
    assert sum(heights[0::2]) == pytest.approx(5 * 50) and sum(heights[1::2]) == pytest.approx(4 * 50), "2 values are 100 units"
    assert "none" in str(figures.histogram("h", [], []))
    wide = str(figures.histogram("h", [400.0], [0.0]))
    assert len(numbers(wide, "rect", "height")) <= 2 * figures.BINS


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.168433, "16.8 %"), (0.0004, "< 0.1 %"), (0.9996, "> 99.9 %"), (0.25, "25 %"), (None, "–")],
)
def test_shares_are_rounded_with_care(share: float | None, text: str) -> None:
    assert words.percent(share).replace("\u00a0", " ") == text


def test_numbers_in_words() -> None:
    assert words.rate(rate(9, 20)).replace("\u00a0", " ") == "9 of 20 (45 %; 95 % interval 23.1 % to 68.5 %)"
    assert words.rate(rate(0, 0)) == "none measured"
    assert [words.power(change) for change in (2.8, -3.3, 0.0, 0.3, math.inf, None)] == [
        "×\u00a0630", "÷\u00a02,000", "×\u00a01.0", "×\u00a02.0", "without end", "–",
    ]  # fmt: skip
    assert [words.p_value(p) for p in (0.0004, 0.0215, None)] == ["p < 0.001", "p = 0.021", "–"]
    assert [words.duration(seconds) for seconds in (5, 65, 8940)] == ["5 s", "1 min 5 s", "2 h 29 min"]
    assert words.moment("2026-03-02T11:47:00Z") == "2 March 2026, 11:47 UTC"
    assert words.moment("yesterday\u202e") == "yesterday<U+202E>"
    assert words.tries(None) == "never"
    assert words.counted(1, "row") + words.counted(2000, "row") == "1 row2,000 rows"
    assert words.visible("Zoë 東京 \u00ad\ud800é") == "Zoë 東京 <U+00AD><U+D800>é"


def test_long_lists_are_cut_in_words() -> None:
    page = page_of(audit_of([finding(row, False) for row in range(503)]))
    assert "The first 500 of 503 are shown." in " ".join(page.text.split())
