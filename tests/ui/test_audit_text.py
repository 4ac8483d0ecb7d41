"""Names in a pasted text, by the pipelines that are installed on the machine of the page and by nothing else."""

from pathlib import Path

import pytest

from privlens.audit.names import installed
from privlens.errors import BadInput
from privlens.ui.tabs.audit.from_text import _find

PIPELINE = """
import spacy

def load(**_):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "mira"}])
    return nlp
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with a pipeline, as spaCy's own are."""
    pytest.importorskip("spacy")
    (tmp_path / "xx_people_sm").mkdir()
    (tmp_path / "xx_people_sm" / "__init__.py").write_text(PIPELINE)
    about = tmp_path / "xx_people_sm-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: xx_people_sm\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[spacy_models]\nxx_people_sm = xx_people_sm\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "xx_people_sm"


def found(text: str, names: str) -> list[str]:
    table = _find(text, names)[0]["value"]
    return list(table.value[table.category == "name"])


def test_an_installed_pipeline_is_offered_and_finds_names(package: str) -> None:
    assert installed() == [package]
    assert found("We wrote to mira and to Nora Person.", package) == ["mira"]
    assert found("We wrote to mira and to Nora Person.", "") == ["Nora Person"]


def test_nothing_but_what_is_installed_is_loaded(package: str, tmp_path: Path) -> None:
    for other in (str(tmp_path), "en_core_web_sm"):
        with pytest.raises(BadInput, match="not installed here"):
            _find("We wrote to mira.", other)
