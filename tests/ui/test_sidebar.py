"""The lists of the sidebar: the visitor's own, and the model's when that is taken away."""

from pathlib import Path

import pytest

from privlens.errors import BadInput
from privlens.secrets import read_secrets
from privlens.ui.session import ModelName
from privlens.ui.sidebar import ASSETS, listed_in


@pytest.mark.parametrize(
    ("model", "belongs"), [("demo", "secrets.csv"), ("smollm2+planted", "planted/secrets.csv"), ("a/folder", "secrets.csv")]
)
def test_without_an_own_list_that_of_the_model_stands_there(model: str, belongs: str) -> None:
    assert listed_in(ModelName(model), None)[0] == tuple(read_secrets(ASSETS / belongs))


def test_an_own_list_is_named_as_the_visitor_knows_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbfprompt,value\r\na,b\r\n")
    [row] = listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))[0]
    assert (row.secret.prompt, row.secret.value) == ("a", "b")
    (tmp_path / "mine.csv").write_text("")
    with pytest.raises(BadInput, match=r"^mine\.csv is empty"):
        listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))
