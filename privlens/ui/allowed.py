"""Which models a visitor may load: bundled ones, those named at the start, hub ids, and those in folders opened to them.

The refusal is always the same, whether or not the path exists on the server. The command line `python -m privlens` is not
restricted, since its user owns the machine.
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
"""Characters that a model's name may have: room for any hub id and most paths, and a bound on what is checked."""
HUB_ID = re.compile(r"[A-Za-z0-9](?:[\w.-]*\w)?(?:/[A-Za-z0-9](?:[\w.-]*\w)?)?", re.ASCII)
REFUSED = (
    "No model is loaded from there: name a bundled model, one that the page was started with, or a hub id such as "
    "EleutherAI/pythia-70m. Paths on the server are allowed only below folders that were opened with --allow-paths when the page "
    "was started."
)
INSIDE = ("*", "refs/*", "additional_chat_templates/*", "snapshots/*", "snapshots/*/*", "snapshots/*/additional_chat_templates/*")
"""The files that are read from a model's folder, or from a folder of the hub's cache."""
ABSOLUTE = re.compile(r"(?<![\w.:/~-])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"`,;:()<>]+)+[/\\]")
"""The folders of an absolute path, without its last component."""


@dataclass(frozen=True)
class Allowed:
    """What visitors may load: models `named` at the start, by exactly that name; paths below `folders`, which are resolved."""

    named: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def ready(self) -> list[str]:
        """The names that every visitor is shown."""
        return list(dict.fromkeys([*(model.name for model in known_models() if model.state == "ready"), *self.named]))

    def is_hub_id(self, name: str) -> bool:
        """Whether a name is a repository of the hub, even if a folder of the server has the same name."""
        local_names = {*self.named, *(model.name for model in known_models())}
        return name not in local_names and bool(HUB_ID.fullmatch(name)) and ".." not in name and "--" not in name

    def check(self, name: str) -> None:
        """Raises BadInput for a model that visitors may not load."""
        validation.text(name, "model's name", NAME_MOST)
        if name in self.named or name in {model.name for model in known_models()} or self.is_hub_id(name):
            return
        try:
            path = Path(name.removeprefix(PICKLE).strip()).expanduser().resolve()
            links = (part for pattern in INSIDE for part in path.glob(pattern) if part.is_symlink())
            if all(self._is_below(part) for part in (path, *(link.resolve() for link in links))):
                return
        except (OSError, RuntimeError, ValueError):  # invalid paths, loops of links, unknown home directories
            pass
        raise BadInput(REFUSED)

    def _is_below(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.folders)


def allowed(named: Iterable[str], folders: Iterable[str | Path]) -> Allowed:
    """What visitors may load. Raises BadInput for a path that is not a folder."""
    opened = tuple(Path(folder).expanduser().resolve() for folder in folders)
    for folder in opened:
        if not folder.is_dir():
            raise BadInput(f"--allow-paths names {folder}, which is not a folder: name a folder that contains models.")
    return Allowed(tuple(dict.fromkeys(named)), opened)


def without_folders(message: str, name: str) -> str:
    """A message without the server's folders, except for those that the visitor named."""
    typed_path = name.removeprefix(PICKLE)

    def keep_if_typed(match: re.Match[str]) -> str:
        is_typed = (bool(typed_path) and match[0].startswith(typed_path)) or typed_path.startswith(match[0])
        return match[0] if is_typed else ""

    return ABSOLUTE.sub(keep_if_typed, message)
