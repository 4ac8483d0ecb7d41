"""One visitor's edits, and which of them are active. Frozen values, in the session of that visitor.

The active edits are those of `ModelName`, and every tab works with them; this list says which can be activated. An edit that was
made while others were active depends on them: it cannot be active without them.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from privlens.errors import BadInput
from privlens.lm.edit_files import load_edit
from privlens.types import Edit, Secret
from privlens.ui.state.session import History, ModelCache, ModelName


@dataclass(frozen=True, eq=False)
class EditEntry:
    """One edit of the list.

    Attributes:
        name: what it erased, how and when. edit: the change itself.
        under: the edits it depends on, in their order. targets: what it erased; empty if unknown.
        saved: whether the visitor has it as a file.
    """

    name: str
    edit: Edit
    under: tuple[Edit, ...] = ()
    targets: tuple[Secret, ...] = ()
    saved: bool = False


@dataclass(frozen=True)
class Edits:
    """All edits of the list, and the active ones in the order they are applied."""

    kept: tuple[EditEntry, ...] = ()
    on: tuple[Edit, ...] = ()

    @property
    def ticked(self) -> list[int]:
        """Indices in the list of the active edits."""
        return [index for index, entry in enumerate(self.kept) if entry.edit in self.on]

    def targets_of(self, edits: tuple[Edit, ...]) -> tuple[Secret, ...]:
        """What these edits erased, as far as it is known."""
        return tuple(target for entry in self.kept if entry.edit in edits for target in entry.targets)

    def names(self, edits: tuple[Edit, ...]) -> str:
        """The numbers of these edits in the list, joined by "and"."""
        return " and ".join(str(index + 1) for index, entry in enumerate(self.kept) if entry.edit in edits)

    def with_on(self, ticked: list[int]) -> "Edits":
        """With exactly these active, and those they depend on; edits that depend on one that was switched off go off too.

        Raises:
            BadInput: for edits that exclude each other, since each was made on top of others without the other one.
        """
        wanted = {self.kept[index].edit for index in ticked}
        dropped = set(self.on) - wanted
        remaining = [entry for entry in self.kept if entry.edit in wanted and not dropped & set(entry.under)]
        needed = {edit for entry in remaining for edit in (*entry.under, entry.edit)}
        return replace(self, on=self._in_order([entry for entry in self.kept if entry.edit in needed]))

    def _in_order(self, entries: list[EditEntry]) -> tuple[Edit, ...]:
        """The longest chain of edits that depend on each other, followed by the rest."""
        if not entries:
            return ()
        deepest = max(entries, key=lambda entry: len(entry.under))
        chain = (*deepest.under, deepest.edit)
        order = (*chain, *(entry.edit for entry in entries if entry.edit not in chain))
        for entry in entries:
            if order[: len(entry.under)] != entry.under:
                raise BadInput(
                    f"Edits {self.names((entry.edit,))} and {self.names((deepest.edit,))} do not go together: each was made on "
                    "top of other edits while the other one was off. Switch one of them off first."
                )
        return order

    def without(self, index: int) -> "Edits":
        """The list without one edit. Raises BadInput if another one depends on it."""
        removed = self.kept[index]
        dependent = tuple(entry.edit for entry in self.kept if removed.edit in entry.under)
        if dependent:
            raise BadInput(f"Edit {self.names(dependent)} was made on top of edit {index + 1}: remove that first.")
        remaining = tuple(entry for entry in self.kept if entry is not removed)
        return Edits(remaining, tuple(edit for edit in self.on if edit is not removed.edit))


@dataclass(frozen=True)
class EditList(History[Edits]):
    """The current list, the earlier ones, and those that were undone; and which edits were saved to a file."""

    now: Edits = Edits()
    saved: frozenset[Edit] = frozenset()

    @property
    def unsaved(self) -> tuple[EditEntry, ...]:
        """Edits that would be lost when the page is closed."""
        return tuple(entry for entry in self.now.kept if not entry.saved and entry.edit not in self.saved)

    def added(self, entry: EditEntry) -> "EditList":
        """With one more edit; it is active if exactly the edits it was made on are active, and in the list only otherwise."""
        active = (*self.now.on, entry.edit) if entry.under == self.now.on else self.now.on
        return self.to(Edits((*self.now.kept, entry), active))

    def following(self, cache: ModelCache, model: ModelName) -> "EditList":
        """The list after the active edits changed elsewhere, e.g. by planting or by another model; this cannot be undone."""
        if model.edits == self.now.on:
            return self
        listed = {entry.edit for entry in self.now.kept}
        new = [EditEntry(named(edit), edit, below(cache, model, edit)) for edit in model.edits if edit not in listed]
        return EditList(Edits((*self.now.kept, *new), model.edits), saved=self.saved)


def named(edit: Edit) -> str:
    """A name for an edit that was not made in this list."""
    return f"{edit.provenance.settings.get('method', 'a planted secret')}, made on {edit.provenance.model}"


def file_name(edit: Edit) -> str:
    """How an edit's file is called when it is saved; no private value is in it."""
    parts = (str(edit.provenance.settings.get("method", "plant")), edit.provenance.fingerprint)  # as a stranger's file has them
    name = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower())[:40].strip("-") for part in ("edit", *parts))
    return f"{name}.safetensors"


def below(cache: ModelCache, model: ModelName, edit: Edit) -> tuple[Edit, ...]:
    """The first n active edits, on which this one was made. Raises BadInput if it fits none of these states."""
    for n_edits in range(len(model.edits) + 1):
        edits = model.edits[:n_edits]
        if cache.get(model._replace(edits=edits)).fingerprint == edit.provenance.fingerprint:
            return edits
    cache.get(model).under(edit)  # raises BadInput with the reason
    raise AssertionError("an edit of no known state was accepted")


def opened(cache: ModelCache, model: ModelName, path: str) -> EditEntry:
    """An edit from a file.

    Raises:
        BadInput: for a file that holds no edit, or one that was made on other weights.
    """
    try:
        edit = load_edit(path)
    except BadInput as error:  # the folder of gradio's copy means nothing to the visitor
        raise BadInput(str(error).replace(path, Path(path).name)) from None
    under = below(cache, model, edit)
    cache.get(model._replace(edits=(*under, edit)))
    return EditEntry(f"{Path(path).stem}: {named(edit)}", edit, under, saved=True)
