"""What is kept of a profile on the disk: numbers alone, of this model and this text, and nothing that is damaged."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import privlens
from privlens.lm.model import LanguageModel
from privlens.neurons import store
from privlens.neurons.profile import _tensors, profile
from privlens.neurons.profile_records import ModelProfile
from privlens.neurons.store import clear_profiles, profile_folder
from tests.helpers import TEXT, Maker, edit_of

TEXTS = (TEXT, "A second paragraph, of the lamp and the garden gate.")


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path))


def steps_of(lm: LanguageModel, texts: tuple[str, ...] = TEXTS) -> tuple[list[str], ModelProfile]:
    """The stages of all steps but the last, and the profile."""
    *steps, last = profile(lm, texts)
    assert last.result and last.step == last.n_steps == len(steps) + 1
    return [step.stage for step in steps], last.result


def files() -> list[Path]:
    return sorted(profile_folder().iterdir())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_what_was_computed_comes_back_from_the_disk(tiny: Maker, architecture: str) -> None:
    stages, computed = steps_of(tiny(architecture))
    assert stages == [*(f"weights of layer {layer}" for layer in range(3)), "activations, 1 of 1 batches of text"]
    stages, read = steps_of(tiny(architecture))
    assert stages == []
    before, after = _tensors(computed), _tensors(read)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
        assert after[name].dtype == array.dtype
    assert computed.weights.input_names == read.weights.input_names
    for field in fields(ModelProfile)[:4]:
        assert getattr(read, field.name) == getattr(computed, field.name)


def test_another_text_needs_its_activations_and_an_edit_everything(tiny: Maker) -> None:
    lm = tiny("gpt2")
    steps_of(lm)
    for texts in (TEXTS[:1], TEXTS[::-1]):
        stages, other = steps_of(lm, texts)
        assert stages == ["activations, 1 of 1 batches of text"]
    view = lm.under(edit_of(lm, 0))
    stages, edited = steps_of(view)
    assert len(stages) == 4
    assert edited.fingerprint == view.fingerprint != other.fingerprint
    assert not np.array_equal(edited.weights.output_norm, other.weights.output_norm)
    assert steps_of(lm)[0] == steps_of(view)[0] == []


def test_only_the_owner_can_read_it_and_no_text_is_in_it(tiny: Maker) -> None:
    lm = tiny("gpt2")
    steps_of(lm)
    assert profile_folder().stat().st_mode & 0o077 == 0
    words = {word.encode() for text in TEXTS for word in re.findall(r"\w{4,}", text)}
    assert len(files()) == 2
    for file in files():
        assert file.stat().st_mode & 0o077 == 0
        content = file.read_bytes()
        assert not any(word in content for word in words)
        assert not any(name.encode() in content for name, _ in lm.model.named_parameters())


def test_what_is_damaged_or_cut_off_is_computed_anew(tiny: Maker) -> None:
    lm = tiny("gpt2")
    _, computed = steps_of(lm)
    for file in files():
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    stages, again = steps_of(lm)
    assert len(stages) == 4
    np.testing.assert_array_equal(again.weights.output_norm, computed.weights.output_norm)
    for file in files():
        file.write_bytes(file.read_bytes()[:-5])
    assert len(steps_of(lm)[0]) == 4
    for file in files():
        file.write_bytes(b"")
    assert len(steps_of(lm)[0]) == 4
    assert steps_of(lm)[0] == []


def test_a_file_of_another_model_is_not_used_under_this_ones_name(tiny: Maker) -> None:
    """Renamed it says itself of which model it is; written under this name it has another shape."""
    lm = tiny("gpt2")
    steps_of(tiny("gpt_neo"))
    for file in files():
        kind = file.name.partition("-")[2]
        file.rename(file.with_name(f"{lm.fingerprint}-{kind}"))
    assert len(steps_of(lm)[0]) == 4
    weights = store.load(f"{lm.fingerprint}-weights")
    assert weights
    store.save(f"{lm.fingerprint}-weights", {name: array[:2] for name, array in weights.items()})
    assert len(steps_of(lm)[0]) == 3


def test_a_cache_that_cannot_be_written_is_no_error(tiny: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path / "file"))
    assert len(steps_of(tiny("gpt2"))[0]) == 4


def test_old_profiles_make_room_and_all_can_be_removed(tiny: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    steps_of(tiny("gpt2"))
    first = files()
    monkeypatch.setattr(store, "MAX_BYTES", sum(file.stat().st_size for file in first))
    steps_of(tiny("gpt_neo"))
    assert not set(first) & set(files())
    n_bytes = sum(file.stat().st_size for file in files())
    assert 0 < n_bytes <= store.MAX_BYTES
    assert privlens.clear_profiles() == n_bytes
    assert files() == []
    assert clear_profiles() == 0
