"""A visitor's own edits: which there are, and which are in place. Frozen values, in the session of one visitor.

The edits in place are those of `ModelName`, and every tab works under them; this list says what can be put there. An edit that
was made while others were in place stands on them: it cannot be in place without them.
"""

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
        under: the edits it stands on, in their order. targets: what it erased; empty where the list cannot know.
        saved: whether it is in a file of the visitor's.
    """

    name: str
    edit: Edit
    under: tuple[Edit, ...] = ()
    targets: tuple[Secret, ...] = ()
    saved: bool = False


@dataclass(frozen=True)
class Edits:
    """All edits of the list, and those in place in the order they are applied."""

    kept: tuple[EditEntry, ...] = ()
    on: tuple[Edit, ...] = ()

    @property
    def ticked(self) -> list[int]:
        """Places in the list of those in place."""
        return [at for at, one in enumerate(self.kept) if one.edit in self.on]

    def targets_of(self, edits: tuple[Edit, ...]) -> tuple[Secret, ...]:
        """What these edits erased, as far as the list knows."""
        return tuple(target for one in self.kept if one.edit in edits for target in one.targets)

    def names(self, edits: tuple[Edit, ...]) -> str:
        """How the list calls these edits, by their numbers."""
        return " and ".join(str(at + 1) for at, one in enumerate(self.kept) if one.edit in edits)

    def with_on(self, ticked: list[int]) -> "Edits":
        """Exactly these are in place, and what they stand on; what stands on one that was switched off goes with it.

        Raises:
            BadInput: for edits that were made apart from each other, each on top of others.
        """
        wanted = {self.kept[at].edit for at in ticked}
        dropped = set(self.on) - wanted
        stay = [one for one in self.kept if one.edit in wanted and not dropped & set(one.under)]
        needed = {edit for one in stay for edit in (*one.under, one.edit)}
        return replace(self, on=self._in_order([one for one in self.kept if one.edit in needed]))

    def _in_order(self, wanted: list[EditEntry]) -> tuple[Edit, ...]:
        """The longest chain of edits that stand on each other first, the rest behind it."""
        if not wanted:
            return ()
        deepest = max(wanted, key=lambda one: len(one.under))
        chain = (*deepest.under, deepest.edit)
        order = (*chain, *(one.edit for one in wanted if one.edit not in chain))
        for one in wanted:
            if order[: len(one.under)] != one.under:
                raise BadInput(
                    f"Edits {self.names((one.edit,))} and {self.names((deepest.edit,))} do not go together: each was made on top "
                    "of others while the other was off. Switch one of them off first."
                )
        return order

    def without(self, at: int) -> "Edits":
        """The list without one edit. Raises BadInput where another one stands on it."""
        gone = self.kept[at]
        above = tuple(one.edit for one in self.kept if gone.edit in one.under)
        if above:
            raise BadInput(f"Edit {self.names(above)} was made on top of edit {at + 1}: remove that first.")
        rest = tuple(one for one in self.kept if one is not gone)
        return Edits(rest, tuple(edit for edit in self.on if edit is not gone.edit))


@dataclass(frozen=True)
class EditList(History[Edits]):
    """The list as it stands, as it stood before, and what was taken back."""

    now: Edits = Edits()
    saved: frozenset[Edit] = frozenset()

    @property
    def unsaved(self) -> tuple[EditEntry, ...]:
        """What would be lost with the page."""
        return tuple(one for one in self.now.kept if not one.saved and one.edit not in self.saved)

    def added(self, one: EditEntry) -> "EditList":
        """With one more edit, in place where what it was made on is in place just so; else in the list only."""
        on = (*self.now.on, one.edit) if one.under == self.now.on else self.now.on
        return self.to(Edits((*self.now.kept, one), on))

    def following(self, shelf: ModelCache, model: ModelName) -> "EditList":
        """The list after the edits in place were changed elsewhere, as by a plant or another model; that is nothing to undo."""
        if model.edits == self.now.on:
            return self
        known = {one.edit for one in self.now.kept}
        new = [EditEntry(named(edit), edit, below(shelf, model, edit)) for edit in model.edits if edit not in known]
        return EditList(Edits((*self.now.kept, *new), model.edits), saved=self.saved)


def named(edit: Edit) -> str:
    """What can be said of an edit that was not made in this list."""
    return f"{edit.provenance.settings.get('method', 'a planted secret')}, made on {edit.provenance.model}"


def below(shelf: ModelCache, model: ModelName, edit: Edit) -> tuple[Edit, ...]:
    """Which of the edits in place, the first so many, this one was made on. Raises BadInput where it was on no such state."""
    for n in range(len(model.edits) + 1):
        part = model.edits[:n]
        if shelf.get(model._replace(edits=part)).fingerprint == edit.provenance.fingerprint:
            return part
    shelf.get(model).under(edit)  # says in words why it does not fit
    raise AssertionError("an edit of no known state was accepted")


def opened(shelf: ModelCache, model: ModelName, path: str) -> EditEntry:
    """An edit from a file.

    Raises:
        BadInput: for a file that holds no edit, or one that was made on other weights.
    """
    try:
        edit = load_edit(path)
    except BadInput as error:  # gradio's copy lies in a folder that means nothing to the visitor
        raise BadInput(str(error).replace(path, Path(path).name)) from None
    under = below(shelf, model, edit)
    shelf.get(model._replace(edits=(*under, edit)))
    return EditEntry(f"{Path(path).stem}: {named(edit)}", edit, under, saved=True)
