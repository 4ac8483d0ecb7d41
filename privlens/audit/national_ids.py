"""National ids with check digits, by presidio's own recognizers (https://github.com/microsoft/presidio): no model and no network.

They are called one by one, because presidio's analyzer asks for a language model. Only what check digits confirm counts. One
number in ten has the right one by chance: digits alone need a word that names the id before them, in their sentence.
"""

import importlib.util
import re
from functools import cache
from typing import Any

from privlens.audit.pii import Span, is_free, sentence_before

RECOGNIZERS = (
    "AuMedicareRecognizer",
    "AuTfnRecognizer",
    "CaSinRecognizer",
    "DeHealthInsuranceRecognizer",
    "DeIdCardRecognizer",
    "DeSocialSecurityRecognizer",
    "DeTaxIdRecognizer",
    "EsNieRecognizer",
    "EsNifRecognizer",
    "FiPersonalIdentityCodeRecognizer",
    "InAadhaarRecognizer",
    "ItFiscalCodeRecognizer",
    "KrFrnRecognizer",
    "KrRrnRecognizer",
    "NgNinRecognizer",
    "NhsRecognizer",
    "PlPeselRecognizer",
    "SePersonnummerRecognizer",
    "ThTninRecognizer",
    "TrNationalIdRecognizer",
    "ZaIdNumberRecognizer",
)
"""Those of a person's number whose check digits presidio computes; of companies, places and cars there are others."""
CONFIRMED = 1.0
"""The score that presidio gives to what its check digits confirm."""
PACKAGE = "presidio_analyzer"


def are_looked_for() -> bool:
    """Whether presidio-analyzer is installed; nothing is imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def national_ids(text: str) -> list[Span]:
    """The national ids of a text, none overlapping another; none where presidio-analyzer is not installed."""
    found: list[Span] = []
    for recognizer in _recognizers() if are_looked_for() else ():
        for result in recognizer.analyze(text, recognizer.supported_entities):
            span = Span(result.start, result.end, "national id", text[result.start : result.end])
            if result.score >= CONFIRMED and is_free(span, found) and _is_meant(text, span, recognizer.context or ()):
                found.append(span)
    return sorted(found, key=lambda span: span.start)


@cache
def _recognizers() -> tuple[Any, ...]:
    from presidio_analyzer import predefined_recognizers

    return tuple(getattr(predefined_recognizers, name)() for name in RECOGNIZERS)


def _is_meant(text: str, span: Span, words: tuple[str, ...]) -> bool:
    """Whether it has a letter, or stands behind a word that names it."""
    if re.search(r"[^\W\d_]", span.value):
        return True
    before = sentence_before(text, span.start).casefold()
    return any(re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", before) for word in words)
