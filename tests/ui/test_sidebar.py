"""The lists of the sidebar: the visitor's own, and the model's when that is taken away."""

import gc
from pathlib import Path

import gradio as gr
import pytest

from privlens.errors import BadInput
from privlens.secrets import read_secrets
from privlens.ui import models
from privlens.ui.session import ModelName
from privlens.ui.sidebar import ASSETS, listed_in


@pytest.mark.parametrize(
    ("model", "belongs"), [("demo", "secrets.csv"), ("smollm2+planted", "planted/secrets.csv"), ("a/folder", "secrets.csv")]
)
def test_without_an_own_list_that_of_the_model_stands_there(model: str, belongs: str) -> None:
    assert listed_in(ModelName(model), None)[0] == tuple(read_secrets(ASSETS / belongs))


def test_an_example_says_how_often_it_was_trained_on_or_that_it_was_planted(tmp_path: Path) -> None:
    rows = ["prompt,value,repeats,neurons", "a,trained,16,", "b,planted,1,3:7 0:2", "c,never,0,", "d,unknown,,"]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    [_, _, examples] = listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))
    assert examples["choices"] == [
        ("trained (16x)", 0), ("planted (planted)", 1), ("never (control, 0x)", 2), ("unknown", 3)
    ]  # fmt: skip


def test_an_own_list_is_named_as_the_visitor_knows_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbfprompt,value\r\na,b\r\n")
    [row] = listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))[0]
    assert (row.secret.prompt, row.secret.value) == ("a", "b")
    (tmp_path / "mine.csv").write_text("")
    with pytest.raises(BadInput, match=r"^mine\.csv is empty"):
        listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))


def offered() -> tuple[bool, str]:
    """Whether the button that fetches SmolLM2 is seen, and what stands above it."""
    with gr.Blocks() as page:
        models._fetching(gr.Dropdown())
    parts = {part.elem_id: part for part in page.blocks.values()}
    around, seen = parts["smollm2-start"].parent, True
    while around is not None:
        around, seen = around.parent, seen and bool(around.visible)
    return seen, parts["smollm2-note"].value


@pytest.mark.parametrize("here", [False, True])
def test_smollm2_is_offered_only_where_it_was_not_fetched_already(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    monkeypatch.setattr(models, "is_ready", lambda _: here)
    seen, note = offered()
    gc.collect()  # gradio leaves event loops open, which is forgiven while a test runs
    assert seen is not here
    assert ("is on this machine" in note) is here
