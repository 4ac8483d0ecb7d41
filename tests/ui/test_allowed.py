"""Who may load what: no path of the server, but below opened folders; the refusal never tells whether there is such a path."""

import shutil
from pathlib import Path

import pytest

from privlens.errors import BadInput, ModelNotFound
from privlens.lm.model import LanguageModel
from privlens.ui.allowed import REFUSED, allowed, without_folders
from privlens.ui.state import session
from privlens.ui.state.session import ModelCache, ModelName
from privlens.zoo.loading import load

BARRED = ["/etc/passwd", "/etc/nonexistent", "/", "./x", "../x", "..", ".", "~", "~root", "~/x", "a/b/c", "x/../y",
          "C:\\models\\x", "C:/x", "\\\\host\\x", "file:///etc/passwd", "file:x", "pickle:gpt2", "pickle:/etc",
          "a\0b", "", " demo", "x\n", "/x.gguf"]  # fmt: skip


@pytest.mark.parametrize("name", BARRED)
@pytest.mark.parametrize("opened", [False, True])
def test_a_path_is_refused_in_the_same_words_whether_it_is_there_or_not(name: str, opened: bool, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        allowed(["demo"], [tmp_path] if opened else []).check(name)
    assert str(refused.value) == REFUSED


@pytest.mark.parametrize("name", ["demo", "smollm2", "smollm2+planted", "gpt2", "EleutherAI/pythia-70m", "/srv/named"])
def test_bundled_models_those_of_the_start_and_hub_ids_are_let_through(name: str) -> None:
    allowed(["demo", "/srv/named"], []).check(name)


def test_below_an_opened_folder_a_path_may_be_named_but_no_link_leads_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "open", tmp_path / "open-not"
    for folder in (inside / "model", outside):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    may = allowed(["demo"], [inside])
    may.check(str(inside / "model"))
    may.check(f"pickle:{inside / 'model'}")
    may.check(str(inside / "missing"))
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    (inside / "leaks").mkdir()
    (inside / "leaks" / "tokenizer.json").symlink_to(outside / "config.json")
    for name in (outside, inside / "link", inside / "model" / ".." / ".." / "open-not", inside / "leaks", inside / "loop"):
        with pytest.raises(BadInput) as refused:
            may.check(str(name))
        assert str(refused.value) == REFUSED
    with pytest.raises(BadInput, match="which is not a folder"):
        allowed([], [tmp_path / "nowhere"])


def test_a_hub_id_is_never_read_from_a_folder_of_that_name(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert load("owner/name", "cpu").name == "owner/name", "the command line reads it"
    monkeypatch.setattr(session, "load", lambda name, *rest, **named: load(folder if name == "first" else name, *rest, **named))
    shelf = ModelCache(ModelName("first", "cpu"), allowed=allowed(["first"], []))
    said = []
    for name in ("owner/name", "owner/none"):
        with pytest.raises(ModelNotFound, match="No causal LM could be read") as refused:
            shelf.get(ModelName(name, "cpu"))
        said.append(str(refused.value).replace(name, "X").replace("--".join(name.split("/")), "X"))
    assert said[0] == said[1]
    assert str(tmp_path) not in said[0]


def test_the_shelf_itself_refuses_and_reads_nothing(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(session, "load", lambda name, *_, **__: (read.append(name), lm)[1])
    shelf = ModelCache(ModelName("demo"), allowed=allowed(["demo"], []))
    with pytest.raises(BadInput, match="No model is loaded from there"):
        shelf.get(ModelName("/etc"))
    with pytest.raises(BadInput, match="may have 500"):
        shelf.get(ModelName("x" * 900))
    assert read == ["demo"]


def test_messages_do_not_name_the_servers_folders() -> None:
    said = without_folders("x: config file at '/home/ada/.cache/hub/models--x/config.json' is broken, see https://a.b/c/d.", "x")
    assert said == "x: config file at 'config.json' is broken, see https://a.b/c/d."
    assert without_folders("'/srv/open/m' is a classifier", "/srv/open/m") == "'/srv/open/m' is a classifier"
