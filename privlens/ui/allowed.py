"""Which models a visitor may have loaded: bundled ones, those named at the start, hub ids, and those in folders opened to them.

A refusal is one sentence, the same whether there is such a path on the server or not. Whoever uses the command line of
`python -m privlens` owns the machine and is not asked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from privlens import validation
from privlens.errors import BadInput
from privlens.zoo.catalogue import known_models
from privlens.zoo.loading import PICKLE

NAME_MOST = 500
"""Characters of a model's name."""
HUB_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?(?:/[A-Za-z0-9](?:[\w.-]*\w)?)?", re.ASCII)
REFUSED = (
    "No model is loaded from there: name a bundled model, one that the page was started with, or a hub id such as "
    "EleutherAI/pythia-70m. Paths on the server can be named only below a folder that whoever started the page opened with "
    "--allow-paths."
)
INSIDE = ("*", "refs/*", "additional_chat_templates/*", "snapshots/*", "snapshots/*/*", "snapshots/*/additional_chat_templates/*")
"""What is read of a model's folder, or of one of the hub's cache."""
ABSOLUTE = re.compile(r"(?<![\w.:/~-])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"`,;:()<>]+)+[/\\]")
"""The folders of an absolute path, up to its last name."""


@dataclass(frozen=True)
class Allowed:
    """What visitors may name: `named` at the start, by the very name; paths below `folders`, which are resolved."""

    named: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def ready(self) -> list[str]:
        """The names that every visitor is shown."""
        return list(dict.fromkeys([*(one.name for one in known_models() if one.state == "ready"), *self.named]))

    def is_hub_id(self, name: str) -> bool:
        """Whether a name stands for a repository of the hub, even where a folder of the server is called the same."""
        known = {*self.named, *(one.name for one in known_models())}
        return name not in known and bool(HUB_ID.fullmatch(name)) and ".." not in name and "--" not in name

    def check(self, name: str) -> None:
        """Raises BadInput for what a visitor may not have loaded."""
        validation.text(name, "model's name", NAME_MOST)
        if name in self.named or name in {one.name for one in known_models()} or self.is_hub_id(name):
            return
        try:
            path = Path(name.removeprefix(PICKLE).strip()).expanduser().resolve()
            links = (part for pattern in INSIDE for part in path.glob(pattern) if part.is_symlink())
            if all(self._is_below(part) for part in (path, *(link.resolve() for link in links))):
                return
        except (OSError, RuntimeError, ValueError):  # what no path can be called, loops of links, unknown homes
            pass
        raise BadInput(REFUSED)

    def _is_below(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.folders)


def allowed(named: Iterable[str], folders: Iterable[str | Path]) -> Allowed:
    """What visitors may load. Raises BadInput for a folder that is none."""
    opened = tuple(Path(folder).expanduser().resolve() for folder in folders)
    for folder in opened:
        if not folder.is_dir():
            raise BadInput(f"--allow-paths names {folder}, which is no folder: name one that models lie in.")
    return Allowed(tuple(dict.fromkeys(named)), opened)


def without_folders(message: str, name: str) -> str:
    """A message without the server's folders, but for those that the visitor named."""
    own = name.removeprefix(PICKLE)

    def last(match: re.Match[str]) -> str:
        return match[0] if (own and match[0].startswith(own)) or own.startswith(match[0]) else ""

    return ABSOLUTE.sub(last, message)
