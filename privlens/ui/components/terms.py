"""The words of the glossary for `terms.js`, which explains them where the page uses them."""

import json

from privlens.ui.manual import glossary

ORDINARY = frozenset({"by heart", "rate", "view", "distance", "hidden", "visible", "bin", "family"})
"""Words that sentences also use in their everyday meaning: they are explained only as the name of a number or a column."""


def glossary_script() -> str:
    """The glossary as a value of the page. No text in it can end the script that it stands in."""
    entries = [
        {"words": entry.words, "meaning": entry.meaning, "ordinary": bool(ORDINARY & set(entry.words))} for entry in glossary()
    ]
    text = json.dumps(entries, ensure_ascii=False).replace("<", "\\u003c")
    return f"<script>window.privlens = window.privlens || {{}}; privlens.glossary = {text};</script>"
