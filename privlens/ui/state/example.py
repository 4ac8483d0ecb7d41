"""The recorded example, where it is one of the visitor's model."""

from privlens.recorded import RecordedExample, read_example
from privlens.resources import RECORDED
from privlens.ui.state.session import ModelCache, ModelName


def example_of(shelf: ModelCache, model: ModelName) -> RecordedExample | None:
    """The recorded example, if it was recorded on exactly these weights, asked the same way."""
    if model.chat or not RECORDED.exists():
        return None
    example = read_example(RECORDED)
    return example if example.scores.provenance.fingerprint == shelf.get(model).fingerprint else None
