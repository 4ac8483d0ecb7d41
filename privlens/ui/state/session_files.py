"""A visit as one JSON file: the secret in question, the neurons found and chosen for it, the edits, and what they were made with.

Private values are in it, hidden or left out, as the visitor says. Without them a secret is found again in the list that is
loaded, by its hash, from which a short value can be found by trying all. The file is a stranger's until it has been checked.
"""

import base64
import binascii
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from privlens.errors import BadInput
from privlens.lm.edit_files import save_edit
from privlens.retained.others import key_of
from privlens.secret_lists import ListedSecret
from privlens.types import Neuron, NeuronScores, Secret, from_json, to_object
from privlens.ui.state.edits import EditEntry, EditList, Edits, named, opened
from privlens.ui.state.session import Localization, ModelCache, ModelName, NeuronChoice
from privlens.ui.text import en

Values = Literal["kept", "hidden", "left out"]


class SavedSecret(BaseModel):
    """A secret: its key always, the rest where values are kept."""

    model_config = ConfigDict(frozen=True)
    key: str
    prompt: str = ""
    value: str = ""
    category: str = ""


class SavedEdit(BaseModel):
    """An edit: its name, the file in base64, what it erased, the places of those it depends on, and whether it is active."""

    name: str
    file: str
    targets: list[SavedSecret]
    under: list[int]
    active: bool


class SavedSession(BaseModel):
    """The file. `settings` are the controls of Localize by name, `results` the JSON of what was found."""

    kind: Literal["privlens session 1"]
    values: Values
    model: str
    fingerprint: str
    secret: SavedSecret | None
    settings: dict[str, Any]
    scores: dict[str, Any] | None = None
    target: SavedSecret | None = None
    retained: list[str] = []
    neurons: list[tuple[int, int]] = []
    off: list[tuple[int, int]] = []
    edits: list[SavedEdit] = []
    results: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class Visit:
    """What a visitor has, as far as a file keeps it; settings are the controls of Localize by name, results their JSON."""

    model: ModelName
    listed: tuple[ListedSecret, ...]
    secret: Secret | None
    settings: dict[str, Any]
    localization: Localization | None
    choice: NeuronChoice
    edits: EditList


def hidden(value: str) -> str:
    """A value of which at most the first and last two letters or digits are left, as `mask.js` shows it."""
    places = [place for place, sign in enumerate(value) if sign.isalnum()]
    keep = min(2, len(places) // 4)
    covered = set(places[keep : len(places) - keep])
    return "".join("\u2022" if place in covered else sign for place, sign in enumerate(value))


def saved_secret(secret: Secret, values: Values) -> SavedSecret:
    """A secret as the file holds it."""
    if values == "kept":
        return SavedSecret(key=key_of(secret), prompt=secret.prompt, value=secret.value, category=secret.category)
    shown = hidden(secret.value) if values == "hidden" else ""
    return SavedSecret(key=key_of(secret), value=shown, category=secret.category)


def to_file(visit: Visit, plain_fingerprint: str, values: Values, report: Callable[[Localization], Any]) -> str:
    """The file's text. `plain_fingerprint` is that of the model without edits; `report` makes the JSON of a localization."""
    found = visit.localization
    results = {} if found is None else {"localize": report(found)}
    if results and values != "kept":
        results["localize"]["target"] = saved_secret(found.target, values).model_dump(exclude={"key"}) if found else {}
    session = SavedSession(
        kind="privlens session 1",
        values=values,
        model=visit.model.name,
        fingerprint=plain_fingerprint,
        secret=None if visit.secret is None else saved_secret(visit.secret, values),
        settings=visit.settings,
        scores=None if found is None else to_object(found.scores),
        target=None if found is None else saved_secret(found.target, values),
        retained=[] if found is None else sorted(map(key_of, found.retained)),
        neurons=[(neuron.layer, neuron.index) for neuron in visit.choice.neurons],
        off=sorted((neuron.layer, neuron.index) for neuron in visit.choice.off),
        edits=[_saved_edit(entry, visit.edits.now, values) for entry in visit.edits.now.kept],
        results=results,
    )
    return session.model_dump_json(indent=1) + "\n"


def _saved_edit(entry: EditEntry, edits: Edits, values: Values) -> SavedEdit:
    name = entry.name if values == "kept" else named(entry.edit)  # a name says what was erased
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edit.safetensors"
        save_edit(entry.edit, path)
        file = base64.b64encode(path.read_bytes()).decode()
    return SavedEdit(
        name=name,
        file=file,
        targets=[saved_secret(target, values) for target in entry.targets],
        under=[index for index, other in enumerate(edits.kept) if other.edit in entry.under],
        active=entry.edit in edits.on,
    )


def from_file(text: str, shelf: ModelCache, model: ModelName, listed: Sequence[ListedSecret]) -> Visit:
    """What a session file holds, on the visitor's model.

    Raises:
        BadInput: for a file that is no session, one of another model, or one whose secret is neither in it nor in the list.
    """
    try:
        session = SavedSession.model_validate_json(text)
    except ValidationError as cause:
        raise BadInput(en.SESSION_BROKEN) from cause
    plain = model._replace(edits=())
    if shelf.get(plain).fingerprint != session.fingerprint:
        raise BadInput(en.session_of_other_model(session.model))
    by_key = {key_of(row.secret): row.secret for row in listed}

    def secret_of(saved: SavedSecret | None) -> Secret | None:
        if saved is None:
            return None
        if session.values == "kept":
            return Secret(saved.prompt, saved.value, saved.category)
        if saved.key not in by_key:
            raise BadInput(en.SESSION_NEEDS_LIST)
        return by_key[saved.key]

    edits = _edits(session, shelf, plain, by_key)
    name = plain._replace(edits=edits.now.on)
    localization, choice = None, NeuronChoice()
    target = secret_of(session.target)
    if session.scores is not None and target is not None:
        scores = _scores(session, shelf, plain)
        retained = frozenset(by_key[key] for key in session.retained if key in by_key)
        localization = Localization(target, retained, scores, asked=(("from", "a session file"),))
        off = frozenset(Neuron(*pair) for pair in session.off)
        choice = NeuronChoice(tuple(Neuron(*pair) for pair in session.neurons), off)
        try:
            shelf.get(plain).off((*choice.neurons, *off), scores.site)
        except BadInput as cause:
            raise BadInput(en.SESSION_BROKEN) from cause
    return Visit(name, tuple(listed), secret_of(session.secret), session.settings, localization, choice, edits)


def _scores(session: SavedSession, shelf: ModelCache, plain: ModelName) -> NeuronScores:
    try:
        scores = from_json(NeuronScores, json.dumps(session.scores))
    except (ValidationError, ValueError, TypeError) as cause:
        raise BadInput(en.SESSION_BROKEN) from cause
    widths = shelf.get(plain).widths(scores.site)
    if scores.scores.shape != (len(widths), max(widths)):
        raise BadInput(en.SESSION_BROKEN)
    return scores


def _edits(session: SavedSession, shelf: ModelCache, plain: ModelName, by_key: Mapping[str, Secret]) -> EditList:
    """The list of edits, each checked as one that is opened from a file; what an edit erased is known where it is in the list."""
    kept: list[EditEntry] = []
    for saved in session.edits:
        if not all(0 <= index < len(kept) for index in saved.under):
            raise BadInput(en.SESSION_BROKEN)
        under = tuple(kept[index].edit for index in saved.under)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "edit.safetensors"
            try:
                path.write_bytes(base64.b64decode(saved.file, validate=True))
            except (binascii.Error, ValueError) as cause:
                raise BadInput(en.SESSION_BROKEN) from cause
            entry = opened(shelf, plain._replace(edits=under), str(path))
        targets = tuple(by_key[target.key] for target in saved.targets if target.key in by_key)
        kept.append(EditEntry(saved.name, entry.edit, entry.under, targets, saved=True))
    return EditList(Edits(tuple(kept)).with_on([index for index, saved in enumerate(session.edits) if saved.active]))
