"""Finds strings in text that look private: by their form, and by their check digits where the form has any.

Patterns of this module alone: no model and no network. The whole of presidio-analyzer was tried for the same: it asks the network
for the list of top-level domains, so that without it an address under a reserved domain is missed, it takes 10 to 30 ms a text,
and it finds no names without a language model. What it adds, national ids of more countries, is looked for in texts of people and
not in those of models (`national_ids`). A name here is what is written like one, so places and titles count as names too, and one
in lower case is missed: a name alone is weak evidence. A pipeline that knows better may be asked instead (`names`).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

FEWEST_DIGITS = 5
"""A number or code with fewer digits is more often a quantity, a year or a time than a number of a person."""
MOST_NAMES = 3
"""Words of one name: a longer run of capitalized words is more often a title or two names."""
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NOT_IN_NAMES = {
    *(*MONTHS, *WEEKDAYS),
    *[
        "A",
        "An",
        "And",
        "As",
        "At",
        "But",
        "By",
        "Dear",
        "For",
        "From",
        "He",
        "Her",
        "Hello",
        "Hi",
        "His",
        "How",
        "I",
        "If",
        "In",
        "It",
        "Its",
        "My",
        "No",
        "Not",
        "Of",
        "On",
        "Or",
        "Our",
        "She",
        "So",
        "That",
        "The",
    ],
    *[
        "Their",
        "Then",
        "There",
        "These",
        "They",
        "This",
        "Those",
        "To",
        "We",
        "What",
        "When",
        "Where",
        "Which",
        "Who",
        "Why",
        "With",
        "Yes",
        "You",
        "Your",
        "Please",
        "Since",
        "Could",
    ],
}
"""Words that begin sentences and letters, and parts of dates: a name that starts with one begins behind it."""
STREETS = (
    "Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Boulevard|Blvd|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Walk|Hill|Row|Close|"
    "Crescent|Gardens|Grove|Mews|Parade|Cottage|House"
)
WORD = r"[A-ZÀ-ÖØ-Þ][\w'’]*[a-zß-ÿ][\w'’]*"
"""A word with a capital letter and a small one, such as O'Neill: no acronym."""


@dataclass(frozen=True)
class Span:
    """A private-looking string: text[start:end], and its category."""

    start: int
    end: int
    category: str
    value: str


def luhn(number: str) -> bool:
    """Whether the digits of a number end in the check digit of ISO/IEC 7812-1, as those of payment cards do."""
    digits = [int(character) for character in reversed(number) if character.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def iban(text: str) -> bool:
    """Whether a text is as long as an IBAN and its check digits are right (ISO 13616: 1 modulo 97)."""
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _n_digits(text: str) -> int:
    return sum(map(str.isdecimal, text))


def _is_card(text: str) -> bool:
    return 13 <= _n_digits(text) <= 19 and luhn(text) and len({*text} - {*" -"}) > 1


def _is_phone(text: str) -> bool:
    return 7 <= _n_digits(text) <= 15  # 15 is the most that ITU E.164 allows


def _is_date(text: str) -> bool:
    """Whether it is a day in the calendar; 3/4/2006 is read with the day first, or else with the month first."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    named = [index for index, month in enumerate(MONTHS, 1) if month[:3] in text]
    if named:
        day, year = numbers
        return _exists(year, named[0], day)
    if numbers[0] > 31:
        return _exists(*numbers)
    first, second, year = numbers
    return _exists(year, second, first) or _exists(year, first, second)


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _has_digits(text: str) -> bool:
    return _n_digits(text) >= FEWEST_DIGITS


def _always(_: str) -> bool:
    return True


MONTH = "(?:" + "|".join(f"{month[:3]}(?:{month[3:]})?" if month[3:] else month for month in MONTHS) + ")"
CHUNK = r"(?:[A-Z]{1,3}|[A-Z]{0,4}\d+[A-Z]{0,2})"
"""A part of a number or code: digits, perhaps with capital letters around them, or up to three capital letters."""
PATTERNS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("e-mail", r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}", _always),
    ("IBAN", r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){3,8}(?!\w)", iban),
    ("national id", r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])", _always),
    ("card", r"(?<!\w)\d(?:[ -]?\d){12,18}(?!\w)", _is_card),
    (
        "date",
        rf"(?<!\w)(?:\d{{1,2}}(?:st|nd|rd|th)? {MONTH}\.?,? \d{{4}}|{MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})(?!\w)",
        _is_date,
    ),
    ("date", r"(?<![\w/-])(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}([/.])\d{1,2}\1\d{4})(?![\w/-])", _is_date),
    (
        "address",
        rf"(?<!\w)\d{{1,5}}[A-Za-z]? (?:{WORD} ){{1,3}}(?:{STREETS})\b(?:, {WORD}(?: {WORD})*)*(?:,? \d{{4,6}})?",
        _always,
    ),
    ("address", rf"(?<!\w){WORD} (?:{STREETS})(?:, {WORD}(?: {WORD})*)+(?:,? \d{{4,6}})?", _always),
    (
        "phone",
        r"(?<![\w-])(?<!\d[.,])(?:\+\d{1,3}|\(\d{2,5}\)|0\d{1,4}|\d{3,4})(?:[ .-]?\(?\d{2,5}\)?){1,4}(?!\w)(?![-/]\w)",
        _is_phone,
    ),
    ("number", rf"(?<!\w)(?<!\d[.,]){CHUNK}(?:(?:, |[ /.-]){CHUNK})*(?!\w)(?!,\d)", _has_digits),
    ("name", rf"(?<!\w){WORD}(?: (?:[A-Z]\. )?{WORD}(?:-{WORD})?){{1,5}}", _always),
)
"""Category, form and check, the surest first: what one has found is not found again by a later one."""
COMPILED = [(category, re.compile(pattern), is_valid) for category, pattern, is_valid in PATTERNS]


def find_pii(text: str, surer: Sequence[Span] = (), names: Sequence[Span] | None = None) -> list[Span]:
    """The private-looking strings of a text, in their order, none overlapping another.

    Args:
        surer: found by surer means, so that no pattern finds anything else there. names: in place of those by their form.
    """
    taken = list(surer)
    for category, pattern, is_valid in COMPILED:
        if category == "name" and names is not None:
            continue
        for match in pattern.finditer(text):
            span = _named(match) if category == "name" else Span(*match.span(), category, match[0])
            if span and is_valid(span.value) and is_free(span, taken):
                taken.append(span)
    taken += [name for name in names or () if is_free(name, taken)]
    return sorted(taken, key=lambda span: span.start)


def is_free(span: Span, taken: Sequence[Span]) -> bool:
    """Whether a string overlaps none of those that are taken."""
    return not any(span.start < other.end and other.start < span.end for other in taken)


def _named(match: "re.Match[str]") -> Span | None:
    """The name in a run of capitalized words, without the words before it that begin a sentence; None if one word is left."""
    words = list(re.finditer(r"\S+", match[0]))
    while words and words[0][0] in NOT_IN_NAMES:
        words.pop(0)
    n_names = next((index for index, word in enumerate(words) if word[0] in NOT_IN_NAMES), len(words))
    if n_names < 2:
        return None
    start, end = match.start() + words[0].start(), match.start() + words[min(n_names, MOST_NAMES) - 1].end()
    return Span(start, end, "name", match.string[start:end])


SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)[.!?]['\"”]?\s+|\n+")


def sentence_before(text: str, position: int) -> str:
    """The text from the beginning of the sentence that `position` is in up to there; initials and titles end no sentence."""
    start = max((match.end() for match in SENTENCE_END.finditer(text, 0, position)), default=0)
    return text[start:position]


def masked(value: str) -> str:
    """A value of which only the first and the last character and the punctuation can be read; a short one not even these."""
    hidden = re.sub(r"\w", "•", value)
    return value[0] + hidden[1:-1] + value[-1] if len(value) > 5 else hidden


def masked_text(text: str) -> str:
    """A text in which every word with a capital letter, a digit or an @ is masked, whether it looked private or not."""
    return re.sub(r"\S*[A-ZÀ-Þ\d@]\S*", lambda match: masked(match[0]), text)


def names_in(text: str) -> Iterator[Span]:
    """The names in a text."""
    return (span for span in find_pii(text) if span.category == "name")
