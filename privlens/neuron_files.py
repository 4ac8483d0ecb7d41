"""Sets of neurons as JSON files: what `localize --out` writes and `deactivate` reads, on the command line and in Python."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.process.private_files import write_private
from privlens.types import Neuron, Site

SHAPE = "write what `localize --out` writes, or a list such as [[0, 12], [3, 7]] (layer and index, both from 0)"


def save_neurons(neurons: Iterable[Neuron], path: str | Path, site: Site = "mlp") -> None:
    """Writes a set of neurons, which nobody else may read."""
    write_private(path, json.dumps({"site": site, "neurons": [list(neuron) for neuron in neurons]}) + "\n")


@dataclass(frozen=True)
class NeuronFile:
    """What a file of neurons says beside the neurons themselves; everything that it does not say is None.

    Attributes:
        scores: one for each neuron. method, seed, fingerprint: how and in which model they were localized.
        retained: keys of the other secrets that the method was given (`retained.others.key_of`).
    """

    neurons: tuple[Neuron, ...]
    site: Site
    scores: tuple[float, ...] | None = None
    method: str | None = None
    seed: int | None = None
    fingerprint: str | None = None
    retained: frozenset[str] = frozenset()


def read_neuron_file(path: str | Path) -> NeuronFile:
    """All that a file of neurons says. Raises BadInput as `read_neurons` does."""
    content = _content(path)
    neurons, site = _neurons(path, content, None)
    if not isinstance(content, dict):
        return NeuronFile(neurons, site)

    def said(name: str, kind: type) -> Any:
        value = content.get(name)
        return value if type(value) is kind else None

    by_neuron = {Neuron(*entry[:2]): entry[2] for entry in content["neurons"] if len(entry) == 3 and _is_number(entry[2])}
    scores = tuple(float(by_neuron[neuron]) for neuron in neurons) if by_neuron.keys() == set(neurons) else None
    retained = frozenset(key for key in said("retained", list) or () if isinstance(key, str))
    return NeuronFile(neurons, site, scores, said("method", str), said("seed", int), said("fingerprint", str), retained)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def read_neurons(path: str | Path, site: Site | None = None) -> tuple[tuple[Neuron, ...], Site]:
    """The neurons of a JSON file, and their site: what `localize --out` wrote, or a list of [layer, index].

    Args:
        site: what was asked for; None for the site that the file names, or mlp where it names none.

    Raises:
        BadInput: for a file that cannot be read, holds anything else, or names another site than was asked for.
    """
    return _neurons(path, _content(path), site)


def _content(path: str | Path) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as cause:
        raise BadInput(f"{path} is not JSON ({' '.join(str(cause).split())}): {SHAPE}.") from cause


def _neurons(path: str | Path, content: Any, site: Site | None) -> tuple[tuple[Neuron, ...], Site]:
    entries = content.get("neurons") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(map(_is_neuron, entries)):
        raise BadInput(f"{path} does not list neurons: {SHAPE}.")
    if not entries:
        raise BadInput(f"{path} lists no neuron: localize again with --top or --share.")
    named = content.get("site") if isinstance(content, dict) else None
    if site and named and site != named:
        raise BadInput(f"{path} lists neurons of the site {named!r}, not {site!r}: leave --site out.")
    sites: tuple[Site, ...] = get_args(Site)
    if named is not None and named not in sites:
        raise BadInput(f"{path} lists neurons of an unknown site: use {', '.join(sites)}.")
    neurons = tuple(dict.fromkeys(Neuron(entry[0], entry[1]) for entry in entries))
    return neurons, site or named or "mlp"


def _is_neuron(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) in (2, 3) and all(type(number) is int for number in entry[:2])
