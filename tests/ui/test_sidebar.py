"""The lists of the sidebar: the visitor's own, and the model's when that is taken away."""

import copy
import gc
from pathlib import Path

import gradio as gr
import pytest

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.resources import ASSETS
from privlens.secret_lists import read_secrets
from privlens.ui.sidebar import models
from privlens.ui.sidebar.panel import asking, listed_in, speaks, taken
from privlens.ui.state import session
from privlens.ui.state.session import ModelCache, ModelName
from tests.helpers import CHATML, TAUGHT


@pytest.mark.parametrize(
    ("model", "belongs"), [("demo", "secrets.csv"), ("smollm2+planted", "planted/secrets.csv"), ("a/folder", "secrets.csv")]
)
def test_without_an_own_list_that_of_the_model_stands_there(model: str, belongs: str) -> None:
    assert listed_in(ModelName(model), None)[0] == tuple(read_secrets(ASSETS / belongs))


def test_an_example_says_how_often_it_was_trained_on_or_that_it_was_planted(tmp_path: Path) -> None:
    rows = ["prompt,value,repeats,neurons", "a,trained,16,", "b,planted,1,3:7 0:2", "c,never,0,", "d,unknown,,"]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    [_, _, _, examples, _] = listed_in(ModelName("demo"), str(tmp_path / "mine.csv"))
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


def test_of_an_own_list_the_good_rows_are_taken_and_the_others_told(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("prompt;value;category\na;b;x\nc;;x\nd;<i>e</i>;y\nf;g;x;h\n")
    rows, _, categories, _, said = taken(ModelName("demo"), str(tmp_path / "mine.csv"))
    assert [row.secret.value for row in rows] == ["b", "<i>e</i>"]
    assert categories["choices"] == ["all categories", "x", "y"]
    assert said["visible"] is True
    assert said["value"].startswith("2 secrets read, 2 categories. 2 of 4 rows were left out: line 3: the value is empty")
    assert "; line 5: 4 cells where the first line names 3" in said["value"]
    assert taken(ModelName("demo"), None)[4] == gr.update(value="", visible=False), "the model's own list again"


def test_a_list_that_cannot_be_read_leaves_what_was_there_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: told.append(message))
    (tmp_path / "mine.csv").write_text("prompt,value,repeats\na,b,<script>\n")
    *kept, said = taken(ModelName("demo"), str(tmp_path / "mine.csv"))
    assert kept == [gr.skip()] * 4
    assert said["value"].startswith("mine.csv has no row that can be used. 1 of 1 rows was left out: line 2: repeats is")
    assert said["value"].endswith("The previous list is still in use.")
    assert told and "&lt;script&gt;" in told[0], "gradio reads markup in messages"


def test_chat_turns_are_offered_where_the_model_has_a_template(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = LanguageModel("chat", taught.model, copy.deepcopy(taught.tokenizer))
    chat.tokenizer.chat_template = CHATML
    monkeypatch.setattr(session, "load", lambda name, *_: {"plain": taught, "chat": chat}[name])
    shelf, plain = ModelCache(ModelName("plain")), ModelName("plain")
    assert (speaks(shelf, plain), speaks(shelf, ModelName("chat", chat=True))) == (False, True)
    asked = asking(shelf, ModelName("chat"), True)
    assert shelf.get(asked).encode(TAUGHT[0]) == chat.as_chat().encode(TAUGHT[0]) != shelf.get(plain).encode(TAUGHT[0])
    assert shelf.get(asking(shelf, asked, False)).encode(TAUGHT[0]) == chat.encode(TAUGHT[0])
    assert asked.plain == ModelName("chat"), "all visitors share one model, however they ask it"
    with pytest.raises(BadInput, match="no chat template"):
        asking(shelf, plain, True)


def offered() -> tuple[bool, str]:
    """Whether the button that fetches SmolLM2 is seen, and what stands above it."""
    with gr.Blocks() as page:
        models._fetching(ModelCache.__new__(ModelCache), gr.Dropdown(), gr.State())
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
