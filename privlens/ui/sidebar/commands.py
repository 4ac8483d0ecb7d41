"""The command that makes a result of the page again, quoted for a shell.

Files that a visitor gave have no name on the server: the command names them by placeholders.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from privlens.audit.records import Plan
from privlens.erasure import ErasureSettings
from privlens.errors import BadInput
from privlens.localization import ASKED_FOR_DEPTH
from privlens.resources import ASSETS, REFERENCE
from privlens.retained.others import Keep, same_secret
from privlens.secret_lists import ListedSecret, read_reference
from privlens.types import Secret, Site
from privlens.ui.sidebar.panel import SidebarValues, bundled_lists, bundled_paths
from privlens.ui.state.edits import file_name
from privlens.ui.text import en

OWN_LIST, OWN_REFERENCE, OWN_TEXT, NEURONS, EDIT = (
    "my-list.csv",
    "my-reference.txt",
    "my-text.txt",
    "neurons.json",
    "edit.safetensors",
)
FIRST_TEXT, SECOND_TEXT = (f"{name}.txt" for name in en.COUPLING_OWN_NAMES)


def command(name: str, *options: Sequence[Any]) -> str:
    """A command with its options, which are groups of words such as ("--seed", 0)."""
    return shlex.join(["privlens", name, *(str(word) for option in options for word in option)])


def of_model(side: SidebarValues) -> tuple[Any, ...]:
    """The options that name the visitor's model, its edits and how it is asked."""
    model = side.model
    edits = [word for edit in model.edits for word in ("--edit", file_name(edit))]
    device = () if model.device == "auto" else ("--device", model.device)
    dtype = () if model.dtype == "auto" else ("--dtype", model.dtype)
    return "--model", model.name, *device, *dtype, *edits, *(("--chat",) if model.chat else ())


def list_file(listed: tuple[ListedSecret, ...]) -> str:
    """The name of a list: a bundled one as a checkout has it, or a placeholder for the visitor's own."""
    for path, rows in zip(bundled_paths(), bundled_lists(), strict=True):
        if rows == listed:
            return path.relative_to(ASSETS.parent).as_posix()
    return OWN_LIST


def found_row(listed: tuple[ListedSecret, ...], secret: Secret) -> int | None:
    """The row of a secret in the list, where it is in it."""
    return next((row for row, entry in enumerate(listed) if same_secret(entry.secret, secret)), None)


def row_of(listed: tuple[ListedSecret, ...], secret: Secret) -> int:
    """The row of a listed secret. Raises BadInput for another one."""
    row = found_row(listed, secret)
    if row is None:
        raise BadInput(en.COMMAND_NEEDS_ROW)
    return row


def of_reference(reference: tuple[str, ...]) -> tuple[str, ...]:
    """The option for a reference text of one's own."""
    return () if reference == read_reference(REFERENCE) else ("--reference", OWN_REFERENCE)


def check(side: SidebarValues, temperature: float, top_k: int) -> str:
    """`privlens check`."""
    sampling = ("--temperature", f"{temperature:g}", "--top-k", top_k)
    secret = ("--prompt", side.prompt, "--value", side.value, "--secrets", list_file(side.listed))
    return command("check", secret, sampling, ("--seed", 0), of_model(side))


@dataclass(frozen=True)
class Looking:
    """How neurons were looked for; depth, hold and rounds of exchange are of methods that are asked for a depth."""

    method: str
    keep: Keep
    site: Site
    seed: int
    depth: str = ""
    hold: float = 0.0
    rounds: int | None = None
    has_text: bool = False


def localize(side: SidebarValues, how: Looking) -> str:
    """`privlens localize`; a secret that is not in the list is named by its prompt and value."""
    target = side.target
    row = found_row(side.listed, target)
    secret: tuple[Any, ...] = ("--prompt", side.prompt, "--value", side.value)
    if row is not None:
        secret = ("--secrets", list_file(side.listed), "--row", row)
    exchange = () if how.rounds is None else ("--exchange", how.rounds)
    mask = ("--depth", how.depth, "--hold", f"{how.hold:g}", *exchange) if how.method in ASKED_FOR_DEPTH else ()
    text = ("--retain", OWN_TEXT) if how.has_text else ()
    options = ("--method", how.method, "--site", how.site, "--retained", how.keep, "--seed", how.seed, "--out", NEURONS)
    return command("localize", secret, options, mask, text, of_model(side))


def neuron(side: SidebarValues, name: str, text: str, reference: tuple[str, ...]) -> str:
    """`privlens neuron`, of the secret in question where one was typed."""
    secret: tuple[Any, ...] = ()
    if side.value:
        row = found_row(side.listed, side.target)
        listed = ("--secrets", list_file(side.listed), "--row", row)
        secret = ("--prompt", side.prompt, "--value", side.value) if row is None else listed
    return command("neuron", (name,), secret, ("--text", text) if text else (), of_reference(reference), of_model(side))


def places(side: SidebarValues, name: str, methods: Sequence[str], n: int, seed: int) -> str:
    """`privlens neuron` with the places of the neuron among the secrets of the list."""
    asked = ("--secrets", list_file(side.listed), "--places", n, "--methods", ",".join(methods), "--seed", seed)
    return command("neuron", (name,), asked, of_model(side))


def lens(side: SidebarValues, with_off: bool) -> str:
    """`privlens lens`, with the neurons that Localize saves where any are off."""
    off = ("--off", NEURONS) if with_off else ()
    return command("lens", ("--prompt", side.prompt, "--value", side.value), off, of_model(side))


def coupled(side: SidebarValues, first: str, second: str, reference: tuple[str, ...]) -> str:
    """`privlens coupled`."""
    names = ("--first", first, "--second", second, "--secrets", list_file(side.listed))
    return command("coupled", names, of_reference(reference), of_model(side))


def coupled_texts(side: SidebarValues, reference: tuple[str, ...]) -> str:
    """`privlens coupled` of two texts of one's own."""
    return command("coupled", ("--first", FIRST_TEXT, "--second", SECOND_TEXT), of_reference(reference), of_model(side))


def entropy_law(side: SidebarValues) -> str:
    """`privlens entropy-law`."""
    return command("entropy-law", ("--secrets", list_file(side.listed)), of_model(side))


@dataclass(frozen=True)
class Probing:
    """What probes read, by which kind, and from which layer it is erased; None for none."""

    target: str
    kind: str
    with_off: bool
    kram: int | None
    seed: int


def probe(side: SidebarValues, how: Probing) -> str:
    """`privlens probe`, with the neurons that Localize saves where any are off."""
    off = ("--neurons", NEURONS) if how.with_off else ()
    kram = () if how.kram is None else ("--kram", how.kram)
    asked = ("--secrets", list_file(side.listed), "--target", how.target, "--kind", how.kind)
    return command("probe", asked, off, kram, ("--seed", how.seed), of_model(side))


def universal(side: SidebarValues, other: str, with_chosen: bool, seed: int, reference: tuple[str, ...]) -> str:
    """`privlens universal`, with the neurons that Localize saves where any are chosen. Raises BadInput under edits.

    It has no option for chat turns, for it reads ordinary text alone, which has none.
    """
    if side.model.edits:
        raise BadInput(en.COMMAND_WITHOUT_EDITS)
    chosen = ("--neurons", NEURONS) if with_chosen else ()
    asked = ("--other", other, "--seed", seed)
    plain = replace(side, model=side.model._replace(chat=False))
    return command("universal", asked, chosen, of_reference(reference), of_model(plain))


def deactivate(side: SidebarValues, site: Site, reference: tuple[str, ...]) -> str:
    """`privlens deactivate`, of the neurons that Localize saves."""
    secret = ("--secrets", list_file(side.listed), "--row", row_of(side.listed, side.target))
    return command("deactivate", secret, ("--neurons", NEURONS, "--site", site), of_reference(reference), of_model(side))


def compare(side: SidebarValues, methods: Sequence[str], how: Looking, extent: str, reference: tuple[str, ...]) -> str:
    """`privlens compare`. Raises BadInput for what that command has no option for."""
    if side.model.edits or how.keep != "half":
        raise BadInput(en.COMMAND_COMPARES_PLAINLY)
    secret = ("--secrets", list_file(side.listed), "--row", row_of(side.listed, side.target))
    options = ("--methods", ",".join(methods), "--site", how.site, "--measured", extent, "--seed", how.seed)
    return command("compare", secret, options, of_reference(reference), of_model(side))


def erase(
    side: SidebarValues,
    targets: Sequence[Secret],
    settings: ErasureSettings,
    keep: Keep,
    seed: int,
    has_text: bool,
    reference: tuple[str, ...],
) -> str:
    """`privlens erase`, without the attacks, which are a step of their own on the page."""
    rows = ",".join(str(row_of(side.listed, target)) for target in targets)
    share = () if settings.share is None else ("--share", f"{settings.share:g}")
    options = (
        ("--secrets", list_file(side.listed), "--rows", rows, "--out", EDIT, "--method", settings.method),
        share,
        ("--scope", settings.scope, "--choice", settings.choice, "--spread", settings.spread, "--depth", settings.depth),
        ("--steps", settings.steps, "--rate", f"{settings.learning_rate:g}", "--keep", f"{settings.keep:g}"),
        ("--decay", f"{settings.decay:g}", "--guard", f"{settings.guard:g}", "--retained", keep, "--no-attacks", "--seed", seed),
        ("--retain", OWN_TEXT) if has_text else (),
    )
    return command("erase", *options, of_reference(reference), of_model(side))


def audit(side: SidebarValues, plan: Plan, reference: tuple[str, ...]) -> str:
    """`privlens audit`, with the rest of its options as they stand by default."""
    options = (
        ("--methods", ",".join(plan.methods)) if plan.methods else (),
        ("--erase", plan.erasure) if plan.erasure else (),
        ("--attacks",) if plan.attacks else (),
        ("--at-most", plan.at_most, "--temperature", f"{plan.temperature:g}", "--top-k", plan.top_k, "--seed", plan.seed),
    )
    return command("audit", (list_file(side.listed), "--out", "audit"), *options, of_reference(reference), of_model(side))
