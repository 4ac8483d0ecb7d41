"""Input from the command line, read and checked before any long work. Every error says what to do next."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from privlens import validation
from privlens.cli.progress import report_progress
from privlens.erasure import ALL, ERASURE_METHODS, LOSSES
from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.lm.edit_files import load_edit
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS
from privlens.localization.choice import Choice, check_skipped
from privlens.process.private_files import write_private
from privlens.retained.others import key_of, other_secrets
from privlens.secret_lists import ListedSecret, read_list
from privlens.types import Secret, Site


@dataclass(frozen=True)
class Chosen:
    """The target secret of a command, and the other secrets of its list."""

    target: Secret
    others: tuple[Secret, ...] = ()


def row_of(path: Path, row: int) -> Chosen:
    """One row of a list of secrets, from 0, and all other secrets. Raises BadInput for a missing or broken row."""
    [target], others = _read_rows(path, [row])
    return Chosen(target.secret, others)


def rows_of(path: Path, rows: str) -> tuple[list[ListedSecret], tuple[Secret, ...]]:
    """Some rows of a list of secrets, given as `3,5,9` and counted from 0, and all other secrets of the list.

    Raises:
        BadInput: for a row that is missing, broken or named twice, or for anything but whole numbers.
    """
    return _read_rows(path, numbers(rows, "--rows"))


def _read_rows(path: Path, rows: Sequence[int]) -> tuple[list[ListedSecret], tuple[Secret, ...]]:
    """Rows by their numbers, and all other usable secrets; rows that are left out are reported."""
    secret_list = read_list(path)
    chosen = [secret_list.at(row, path) for row in rows]
    for message in filter(None, (secret_list.left_out, secret_list.doubt)):
        report_progress(f"{path}: {message}")
    usable = (entry.secret for entry in secret_list.entries if isinstance(entry, ListedSecret))
    return chosen, other_secrets(usable, (row.secret for row in chosen))


def numbers(text: str, option: str) -> list[int]:
    """Different whole numbers from a list such as `1,8,32`. Raises BadInput for anything else, or none."""
    try:
        values = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as cause:
        raise BadInput(f"{option} {text!r} is not a list of whole numbers: write for example 1,8,32.") from cause
    if not values or len(set(values)) < len(values):
        raise BadInput(f"{option} {text!r} must name at least one number, and none twice.")
    return values


def is_fair(planting: str) -> bool:
    """Whether `fair` was asked for and not `published`. Raises BadInput for another word."""
    if planting not in ("fair", "published"):
        raise BadInput(f"There is no planting {planting!r}: use fair or published.")
    return planting == "fair"


def check_proportion(value: float, option: str) -> None:
    """Raises BadInput for a share of all neurons that is none of them, or all."""
    if not 0 < value < 1:
        raise BadInput(f"{option} is {value}, but must be above 0 and below 1; 0.001 is one neuron in a thousand.")


def one_of(text: str, literal: Any, option: str) -> Any:
    """One of the values of a Literal type. Raises BadInput for any other."""
    if text not in get_args(literal):
        raise BadInput(f"{option} is {text!r}, but must be one of {', '.join(get_args(literal))}.")
    return text


def under(lm: LanguageModel, edits: Sequence[Path] | None, chat: bool = False) -> LanguageModel:
    """The model under edits from files, in their order, and prompted in chat turns or not.

    Raises:
        BadInput: for a broken file, an edit of another model, or a model without a chat template.
    """
    view = lm.as_chat() if chat else lm
    return view.under(*map(load_edit, edits)) if edits else view


def erasure_methods(text: str) -> list[str]:
    """A list of erasure methods such as `emso,npo:all`, or `all`. Raises BadInput for one that does not exist."""
    names = list(ERASURE_METHODS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ERASURE_METHODS and name.removesuffix(ALL) not in LOSSES:
            raise BadInput(
                f"There is no erasure method {name!r}: use all, or {', '.join(ERASURE_METHODS)}; {ALL} after those that train."
            )
    return names


def choose(prompt: str | None, value: str | None, secrets: Path | None, row: int | None) -> Chosen:
    """The secret given either as prompt and value or as a row of a list (default: row 0)."""
    typed = prompt is not None or value is not None
    if typed and (secrets is not None or row is not None):
        raise BadInput("Two secrets were given: use either --prompt and --value, or --secrets and --row.")
    if secrets is not None:
        return row_of(secrets, row or 0)
    if prompt is None or value is None:
        raise BadInput("No secret was given: use --prompt and --value together, or --secrets with a CSV file.")
    validation.secret(prompt, value)
    return Chosen(Secret(prompt, value))


def retained_in(path: Path, others: Sequence[Secret]) -> tuple[Secret, ...] | None:
    """Of the other secrets, those that were retained when the neurons of this file were localized.

    `read_neurons` has read the file before. None where it does not say, as in a bare list of neurons.
    """
    content = json.loads(read_text(path))
    keys = content.get("retained") if isinstance(content, dict) else None
    return tuple(secret for secret in others if key_of(secret) in keys) if isinstance(keys, list) else None


def check_count(share: float | None, top: int | None) -> None:
    """Raises BadInput for an invalid share or number of neurons."""
    if share is not None and top is not None:
        raise BadInput("Both --share and --top were given: use one of them.")
    if share is not None and not 0 < share <= 1:
        raise BadInput(f"--share is {share}, but must be above 0 and at most 1; 0.01 is one neuron in a hundred.")
    if top is not None and top < 1:
        raise BadInput(f"--top is {top}, but must be at least 1.")


def check_top(top: int | None, lm: LanguageModel, site: Site) -> None:
    """Raises BadInput for more neurons than the model has at a site."""
    n_neurons = sum(lm.widths(site))
    if top is not None and top > n_neurons:
        raise BadInput(f"--top is {top}, but this model has {n_neurons} neurons.")


def check_layer(layer: int, n_layers: int) -> None:
    """Raises BadInput for a layer of residual states that does not exist; 0 is the embeddings."""
    if layer > n_layers:
        raise BadInput(f"There is no layer {layer}: this model has 0 (the embeddings) to {n_layers}.")


def choice(per_layer: bool, skip_layers: int, lm: LanguageModel) -> Choice:
    """In which order neurons are chosen. Raises BadInput if no layer would be left."""
    check_skipped(skip_layers, lm.n_layers)
    return Choice(per_layer, skip_layers)


def check_writable(path: Path) -> None:
    """Raises BadInput where no file can be written, so that this is known before the work and not after it."""
    try:
        is_writable = not path.is_dir() and path.parent.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:  # no file can have such a name
        is_writable = False
    if not is_writable:
        raise BadInput(f"{path} cannot be written: give the name of a file in a folder that exists.")


def write(path: Path, text: str, option: str = "--out") -> None:
    """Writes a result to a file that only its owner can read. Raises BadInput where that fails; `option` named the file."""
    try:
        write_private(path, text + "\n")
    except OSError as cause:
        raise BadInput(f"{path} cannot be written ({cause.strerror}): give another file to {option}.") from cause


def methods(text: str) -> list[str]:
    """A list of methods such as `gradient,random`, or `all`. Raises BadInput for one that does not exist."""
    names = list(METHODS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in METHODS:
            raise BadInput(f"There is no method {name!r}: use all, or {', '.join(METHODS)}.")
    return names


def shares(text: str) -> tuple[float, ...]:
    """A list of shares such as `0.005,0.01`; empty for none. Raises BadInput for anything else."""
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as cause:
        raise BadInput(f"--share {text!r} is not a list of numbers: write for example 0.005,0.01.") from cause
    for value in values:
        check_count(value, None)
    return values
