"""Loading: a folder on disk is read, and what cannot be loaded is said in words, without a network."""

import json
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import ModelInfo
from huggingface_hub.errors import HFValidationError

from privlens.errors import BadInput, Cancelled, ModelNotFound
from privlens.lm.model import LanguageModel
from privlens.zoo import catalogue, downloads, loading
from privlens.zoo.downloads import redact_tokens
from privlens.zoo.loading import Hub, ask_hub, fetch, load, pick_device, pick_dtype

IDS = torch.tensor([[5, 60, 17]])


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with HF_HUB_OFFLINE=1, which the hub's library reads when it is imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_folder(lm: LanguageModel, folder: str) -> None:
    read = load(folder, device="cpu")
    assert (read.name, read.architecture, read.dtype, read.device.type) == (folder, "GPTNeoXForCausalLM", torch.float32, "cpu")
    assert (read.n_layers, read.d_mlp, read.n_parameters) == (lm.n_layers, lm.d_mlp, lm.n_parameters)
    assert read.fingerprint == lm.fingerprint
    assert torch.equal(read.logits(IDS, torch.ones_like(IDS)), lm.logits(IDS, torch.ones_like(IDS)))
    assert not any(parameter.requires_grad for parameter in read.model.parameters())


def test_the_fingerprint_moves_with_the_weights(lm: LanguageModel, folder: str) -> None:
    read = load(folder, device="cpu")
    next(read.model.parameters()).data[0, 0] += 1e-3
    assert LanguageModel(folder, read.model, read.tokenizer).fingerprint != lm.fingerprint


def test_the_type_of_the_weights(folder: str) -> None:
    assert load(folder, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == "auto"
    with pytest.raises(BadInput, match="Type 'int3' is unknown: use auto, float32"):
        load(folder, device="cpu", dtype="int3")


NO_DEVICES = ["toaster", "cuda:99", "", "cpu:x", "cpu:5", "meta", "hpu", "privateuseone", "vulkan", "mps:7"]


@pytest.mark.parametrize("device", NO_DEVICES)
def test_a_device_that_is_not_there(folder: str, device: str) -> None:
    with pytest.raises(BadInput, match="is not available on this machine: use auto"):
        load(folder, device=device)


def test_auto_prefers_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda size, device, dtype: made.append(device) or torch.zeros(size))
    pick_device("auto")
    assert made == ["cuda"]


def test_a_hub_that_cannot_be_reached_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library tries again for minutes when it downloads."""
    asked: list[object] = []

    def lookup(host: object, *rest: object, **named: object) -> object:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(ModelNotFound, match="while the hub can be reached"):
        load("no/such-model")
    assert 1 <= len(asked) <= 2  # transformers asks once more, about the tokenizer


@pytest.mark.parametrize("name", ["no/such-model", "nothing-of-that-name", "/nowhere/at/all", "../nowhere", "has spaces?"])
def test_a_name_that_leads_nowhere(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"No causal LM could be read from .* Use demo, smollm2, a folder"):
        load(name, device="cpu")


def test_no_name() -> None:
    with pytest.raises(BadInput, match="No model was named"):
        load(" ", device="cpu")


def test_folders_and_files_that_hold_no_model(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nonsense")
    (tmp_path / "config.json").write_text("{not json")
    for path in (tmp_path, broken, tmp_path / "missing.gguf"):
        with pytest.raises(ModelNotFound, match="No causal LM could be read"):
            load(str(path), device="cpu")


@pytest.mark.parametrize("part", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_folder_with_a_broken_part(folder: str, tmp_path: Path, part: str) -> None:
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / part).write_bytes((copied / part).read_bytes()[:100])
    with pytest.raises(ModelNotFound, match="No causal LM could be read"):
        load(str(copied), device="cpu")


def test_pickled_weights_are_read_only_when_asked_for(folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / "model.safetensors").unlink()
    torch.save(lm.model.state_dict(), copied / "pytorch_model.bin")
    with pytest.raises(ModelNotFound, match=r"are pickled \(\.bin\), which can run code on this machine.* load pickle:/"):
        load(str(copied), device="cpu")
    assert load(f"pickle:{copied}", device="cpu").fingerprint == lm.fingerprint


def test_code_that_a_folder_brings_is_never_run(folder: str, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "model")
    ran = tmp_path / "ran"
    (copied / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Own: pass\nclass OwnConfig: pass\n")
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (copied / "config.json").write_text(json.dumps(config))
    for name in (str(copied), f"pickle:{copied}"):
        with pytest.raises(ModelNotFound):
            load(name, device="cpu")
    assert not ran.exists()


SECRET_TOKEN = "hf_" + "Qx7" * 12


def test_a_hub_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a token without the usual beginning")
    said = f"403 for url: https://u:{SECRET_TOKEN}@hub (Bearer {SECRET_TOKEN}x); a token without the usual beginning"
    assert redact_tokens(said) == "403 for url: https://u:***@hub (Bearer ***); ***"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(f"Authorization: Bearer {SECRET_TOKEN}")

    monkeypatch.setattr("privlens.zoo.loading.snapshot_download", refuse)
    with pytest.raises(ModelNotFound) as raised:
        load("someone/private", device="cpu")
    assert SECRET_TOKEN not in str(raised.value) and "***" in str(raised.value)


def test_an_unfinished_download_is_never_taken_for_the_model(folder: str, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="No causal LM could be read"):
        load(str(copied), device="cpu")


SLOWLY = """
import pathlib, time
for n in range(4):
    pathlib.Path({place!r}, str(n)).write_bytes(b"x" * 250)
    time.sleep(0.3)
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub that answers: a repository of 1,000 bytes of weights and config, and 9,000 that are not needed."""
    files = {"config.json": 200, "model.safetensors": 800, "pytorch_model.bin": 5000, "original/consolidated.pth": 4000}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files.items()]
    monkeypatch.setattr(downloads, "model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--some--model"
    place.mkdir()
    monkeypatch.setattr(downloads, "FETCH", SLOWLY.format(place=str(place)))
    return place


def test_a_hub_id_is_downloaded_with_progress(hub: Path) -> None:
    steps = list(fetch("some/model"))
    assert {step.n_bytes for step in steps} == {1000}
    done = [step.done for step in steps]
    assert done == sorted(done) and done[0] < 500 < done[-1] <= 1000


def test_a_download_that_is_cancelled_ends(hub: Path) -> None:
    with pytest.raises(Cancelled):
        list(fetch("some/model", lambda: bool(list(hub.iterdir()))))
    time.sleep(0.7)
    assert len(list(hub.iterdir())) < 4


def test_a_download_that_fails_says_why_and_no_token(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "FETCH", f"raise SystemExit('401 Bearer {SECRET_TOKEN}')")
    with pytest.raises(ModelNotFound, match=r"some/model could not be downloaded: 401 Bearer \*\*\* Check"):
        list(fetch("some/model"))


def test_a_hub_id_in_the_hubs_cache_is_read_without_the_hub(
    folder: str, lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--acme--tiny"
    shutil.copytree(folder, cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    read = load("acme/tiny", device="cpu")
    assert (read.name, read.fingerprint) == ("acme/tiny", lm.fingerprint)
    assert catalogue.last_used()[0].name == "acme/tiny"
    next(cached.glob("snapshots/*/config.json")).write_text('{"model_type": "t5"}')
    with pytest.raises(ModelNotFound, match=r"No causal LM could be read from 'acme/tiny': it is an encoder-decoder \(t5\)"):
        load("acme/tiny", device="cpu")


def test_what_lies_here_is_not_asked_for(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    for name in ("demo", folder, "/somewhere/model.gguf"):
        assert list(fetch(name)) == []


def test_the_hub_answers_refuses_or_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    info = ModelInfo(id="a/b")
    for answer, expected in (
        (info, Hub(True, info)),
        (HFValidationError("no such name"), Hub(True)),
        (ConnectionError("no network"), Hub(False)),
    ):
        monkeypatch.setattr(loading, "model_info", Mock(side_effect=[answer]))
        assert ask_hub("a/b") == expected
