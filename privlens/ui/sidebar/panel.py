"""The sidebar: which model, which secret, and what must stay as it is."""

import functools
import heapq
import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from privlens import validation
from privlens.errors import BadInput
from privlens.lm.chat import has_template
from privlens.resources import ASSETS, REFERENCE, SECRETS
from privlens.retained.others import same_secret
from privlens.secret_lists import ListedSecret, ListFile, paragraphs, read_list_file, read_reference, read_secrets
from privlens.types import Secret
from privlens.ui.components.form import Update
from privlens.ui.sidebar.models import model_part, own_list
from privlens.ui.state.freshness import Strips
from privlens.ui.state.jobs import QUICK, show_errors
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.text import en, wording
from privlens.ui.text.wording import OTHERS_MOST
from privlens.ui.traces.typed import UNKEPT
from privlens.ui.traces.uploads import is_gone, once

ALL = en.ALL_CATEGORIES
SHOWN_MOST, CATEGORIES_MOST, SEARCH_MOST = 200, 200, 200
"""Examples and categories that a browser is sent at most, and characters of a search."""
LISTS = [".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet"]
"""How the names of lists end."""


@dataclass(frozen=True)
class Sidebar:
    """What the tabs read.

    Attributes:
        model: the visitor's ModelName. listed: their list, tuple of ListedSecret. source: the ListFile that it is from.
        reference: tuple of paragraphs.
        prompt, value: the secret in question. secret: both, to listen to; it follows them a moment later.
        list_parts: what shows a list, in the order of what `list_shown` gives.
        loaded: the event after another model was loaded, and loads when that was. about: what the model is, as `wording.of_model`
            says it.
        strips: of all tabs.
    """

    model: gr.State
    listed: gr.State
    source: gr.State
    list_parts: list[Component]
    reference: gr.State
    prompt: gr.Textbox
    value: gr.Textbox
    secret: gr.State
    loaded: Any
    about: gr.HTML
    loads: gr.State
    strips: Strips = field(default_factory=Strips)

    @property
    def controls(self) -> dict[str, Component]:
        """The controls of `SidebarValues`, by its fields."""
        return {"model": self.model, "listed": self.listed, "prompt": self.prompt, "value": self.value}


@dataclass(frozen=True)
class SidebarValues:
    """What every form begins with: the visitor's model and list, and the secret in question as it was typed."""

    model: ModelName
    listed: tuple[ListedSecret, ...]
    prompt: str
    value: str

    @property
    def target(self) -> Secret:
        """The secret in question. Raises BadInput where it is too long."""
        return secret_of(self.listed, self.prompt, self.value)


def sidebar(shelf: ModelCache) -> Sidebar:
    """Builds the sidebar and its own listeners."""
    first = read_list_file(SECRETS)
    listed = first.secrets.rows
    with gr.Sidebar(width=360, elem_id="sidebar") as bar:
        gr.Markdown(en.QUESTION)
        model, loads, about = model_part(shelf)
        gr.Markdown(en.SECRET_HEADING)
        category = gr.Dropdown(
            [ALL, *categories_of(listed)], value=categories_of(listed)[0], label=en.EXAMPLES_OF, elem_id="category"
        )
        search = gr.Textbox("", label=en.SEARCH, elem_id="search", max_length=SEARCH_MOST, max_lines=1, **UNKEPT)
        examples = gr.Radio(
            _choices(listed, categories_of(listed)[0])[0],
            label=en.EXAMPLES,
            elem_id="examples",
        )
        prompt = gr.Textbox("", label=en.PROMPT, lines=2, elem_id="prompt", max_length=validation.MAX_PROMPT, **UNKEPT)
        value = gr.Textbox("", label=en.VALUE, elem_id="value", max_length=validation.MAX_VALUE, **UNKEPT)
        chat = gr.Checkbox(False, label=en.CHAT, elem_id="chat", visible=speaks(shelf, shelf.first))
        list_state, source = gr.State(listed), gr.State(first)
        list_parts = [list_state, source, category, examples]
        reference = gr.State(read_reference(REFERENCE))
        _own_part(model, list_parts, reference, search)
        gr.Button(en.SHOW_PAGE, variant="primary", elem_id="done").click(lambda: gr.Sidebar(open=False), None, bar, **QUICK)
    for changed in (category.change, search.input):
        changed(show_errors(_searched), [list_state, category, search], examples, trigger_mode="always_last", **QUICK)
    examples.input(_chosen, [list_state, examples], [prompt, value], **QUICK)
    # gradio restarts all listeners of an event whenever one of them was busy, without end: so each event has one listener.
    secret = gr.State(("", ""))
    gr.on([prompt.change, value.change], lambda *typed: typed, [prompt, value], secret, **QUICK)
    chat.input(show_errors(functools.partial(asking, shelf)), [model, chat], model, **QUICK)

    def anew(name: ModelName, rows: tuple[ListedSecret, ...]) -> Update:
        shown = _list_of_model(name, rows)
        update: Update = dict(zip(list_parts, shown, strict=True)) if shown else {}
        return {**update, chat: gr.update(value=name.chat, visible=speaks(shelf, name)), search: ""}

    listing = loads.change(show_errors(anew), [model, list_state], [*list_parts, chat, search], **QUICK)
    return Sidebar(model, list_state, source, list_parts, reference, prompt, value, secret, listing, about, loads)


def speaks(shelf: ModelCache, name: ModelName) -> bool:
    """Whether a model can be asked in chat turns."""
    return has_template(shelf.get(name.plain).tokenizer)


def asking(shelf: ModelCache, name: ModelName, chat: bool) -> ModelName:
    """The model, asked in chat turns or with plain text. Raises BadInput where it has no template."""
    asked = name._replace(chat=chat)
    shelf.get(asked)
    return asked


def bundled_paths() -> list[Path]:
    """Where the lists that come with models lie."""
    return [path for name in ("demo", "smollm2+planted") if (path := own_list(ModelName(name), ASSETS)) and path.exists()]


@functools.cache
def bundled_lists() -> tuple[tuple[ListedSecret, ...], ...]:
    """The lists that come with models, in the order of their paths."""
    return tuple(tuple(read_secrets(path)) for path in bundled_paths())


def _list_of_model(name: ModelName, rows: tuple[ListedSecret, ...]) -> tuple[Any, ...] | None:
    """The list that belongs to a model takes the place of another model's; None where the visitor's own list stays."""
    path = own_list(name, ASSETS)
    if path is None or rows not in bundled_lists():
        return None
    return list_shown(read_list_file(path))


def list_shown(source: ListFile) -> tuple[Any, ...]:
    """A list, the file it is from, and the two choosers of its examples."""
    rows = source.secrets.rows
    names = [ALL, *categories_of(rows)]
    first = names[1] if len(names) > 1 else ALL
    return rows, source, gr.update(choices=names, value=first), _searched(rows, first, "")


def listed_in(name: ModelName, path: str | None) -> tuple[Any, ...]:
    """What `list_shown` gives for the list of a file, or of the model where there is no file; and a report on the file.

    Raises:
        BadInput: for a file that no row can be read from.
    """
    try:
        source = read_list_file(path or own_list(name, ASSETS) or SECRETS)
        text = wording.of_list(source.secrets) if path else ""
        return *list_shown(source), gr.update(value=text, visible=bool(text))
    except BadInput as error:  # gradio's copy lies in a folder that means nothing to the visitor
        raise BadInput(str(error).replace(str(path), Path(str(path)).name)) from None


def taken(name: ModelName, path: str | None) -> tuple[Any, ...]:
    """As `listed_in`; where nothing can be read, the previous list stays and the report says so."""
    if is_gone(path):
        return (gr.skip(),) * 5
    try:
        return listed_in(name, path)
    except BadInput as error:
        gr.Warning(html.escape(str(error), quote=False), duration=15, title=en.ERROR)
        return *(gr.skip(),) * 4, gr.update(value=en.list_unchanged(str(error)), visible=True)


def _own_part(
    model: gr.State,
    list_parts: Sequence[Component],
    reference: gr.State,
    search: gr.Textbox,
) -> None:
    """Own list of secrets, which list_parts then show, own reference text; without them, those of the model are used again."""
    with gr.Accordion(en.OWN_LIST_HEADING, open=False):
        file = gr.File(label=en.OWN_LIST_FILE, file_types=LISTS, height=110, elem_id="own-list")
        report = gr.Textbox(
            "", label=en.OWN_LIST, interactive=False, visible=False, max_lines=12, elem_id="own-list-said", **UNKEPT
        )
        text = gr.Textbox(
            "",
            label=en.OWN_REFERENCE,
            lines=3,
            elem_id="own-reference",
            **UNKEPT,
        )

    def own_text(text: str) -> tuple[str, ...]:
        return paragraphs(text) or read_reference(REFERENCE)

    read = file.change(show_errors(once(taken)), [model, file], [*list_parts, report], **QUICK)
    read.success(lambda: "", None, search, **QUICK)
    text.change(show_errors(own_text), text, reference, **QUICK)


def categories_of(rows: Sequence[ListedSecret]) -> list[str]:
    """The categories of a list, in its order; of more than CATEGORIES_MOST the first."""
    return list(dict.fromkeys(row.secret.category for row in rows if row.secret.category))[:CATEGORIES_MOST]


def _choices(rows: Sequence[ListedSecret], category: str, wanted: str = "") -> tuple[list[tuple[str, int]], int]:
    """Label and row of the secrets of a category that hold what is searched for, the most repeated first; and how many do.

    No more than SHOWN_MOST are shown: a browser is never sent a whole list.
    """
    matching_rows = matching(rows, wanted)
    in_category = [row for row in matching_rows if category in (ALL, rows[row].secret.category)]
    first = heapq.nsmallest(SHOWN_MOST, in_category, key=lambda row: (-(rows[row].repeats or 0), row))
    return [(wording.listed(rows[row]), row) for row in first], len(in_category)


def matching(rows: Sequence[ListedSecret], wanted: str) -> Sequence[int]:
    """The rows whose prompt or value holds a text, in upper or lower case."""
    text = validation.text(wanted or "", "search", SEARCH_MOST).strip().casefold()
    if not text:
        return range(len(rows))
    return [
        row
        for row, listed_secret in enumerate(rows)
        if text in listed_secret.secret.prompt.casefold() or text in listed_secret.secret.value.casefold()
    ]


def of_shown(n_shown: int, n: int) -> str:
    """That not all are shown; nothing where all are."""
    return "" if n_shown == n else en.showing(n_shown, n)


def _searched(rows: Sequence[ListedSecret], category: str, wanted: str) -> Any:
    """The examples of a category that hold what is searched for."""
    choices, n = _choices(rows, category, wanted)
    return gr.update(choices=choices, value=None, info=of_shown(len(choices), n) or (None if choices else en.NOTHING_FOUND))


def _chosen(rows: tuple[ListedSecret, ...], row: int | None) -> tuple[Any, Any]:
    return (gr.skip(), gr.skip()) if row is None else (rows[row].secret.prompt, rows[row].secret.value)


def secret_of(listed: tuple[ListedSecret, ...], prompt: str, value: str) -> Secret:
    """The secret in the sidebar, with its category where it is a listed one. Raises BadInput where it is too long."""
    validation.text(prompt, "prompt", validation.MAX_PROMPT)
    typed = Secret(prompt, validation.text(value, "private value", validation.MAX_VALUE))
    return replace(typed, category=next((row.secret.category for row in listed if same_secret(row.secret, typed)), ""))


def all_of(listed: tuple[ListedSecret, ...]) -> tuple[Secret, ...]:
    """The listed secrets, with those that nobody trained on; at most OWNERS_MOST."""
    return tuple(row.secret for row in listed[: wording.OWNERS_MOST])


def others_of(listed: tuple[ListedSecret, ...]) -> tuple[Secret, ...]:
    """The listed secrets that may be known: all but those that the list says were never trained on.

    At most OTHERS_MOST of them, evenly spaced; the page says so where a list is read (`wording.of_list`).
    """
    known = [row.secret for row in listed if row.repeats != 0]
    n = min(len(known), OTHERS_MOST)
    return tuple(known[index * len(known) // n] for index in range(n))
