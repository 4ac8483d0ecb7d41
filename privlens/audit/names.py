"""Names of people in a text, by a spaCy pipeline that a person has installed: by its name, or from a folder. None is downloaded.

Honnibal et al., spaCy, https://doi.org/10.5281/zenodo.1212303.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from privlens.audit.pii import Span
from privlens.errors import BadInput

PEOPLE = ("PERSON", "PER")
"""What pipelines call a person: those trained on OntoNotes, and those trained on WikiNER."""
Names = Callable[[str], list[Span]]


def installed() -> list[str]:
    """The names of the spaCy pipelines that are installed; spaCy itself is not imported."""
    return sorted({point.name for point in entry_points(group="spacy_models")})


def names_by(pipeline: str) -> Names:
    """What finds the names of people in a text, by a pipeline: its name, or its folder.

    Raises:
        BadInput: where spaCy or the pipeline is not installed, or where the pipeline finds no names.
    """
    try:
        import spacy
    except ImportError as cause:
        raise BadInput('Names need spaCy, which is not installed: pip install "privlens[pii]".') from cause
    try:
        nlp = spacy.load(pipeline)
    except (OSError, ValueError) as cause:
        there = ", ".join(installed()) or "none"
        raise BadInput(
            f"There is no spaCy pipeline {pipeline} (installed: {there}): install one, such as by `python -m spacy download "
            "en_core_web_sm`, or give the folder of one."
        ) from cause
    if not any("doc.ents" in nlp.get_pipe_meta(name).assigns for name in nlp.pipe_names):
        raise BadInput(f"The spaCy pipeline {pipeline} finds no names: give one with a component for named entities.")

    def names(text: str) -> list[Span]:
        return [Span(ent.start_char, ent.end_char, "name", ent.text) for ent in nlp(text).ents if ent.label_ in PEOPLE]

    return names
