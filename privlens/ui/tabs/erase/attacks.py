"""After an erasure: attacks, because hiding is not erasing; and the same erasure by other methods."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import gradio as gr
import pandas as pd

from privlens import results_json
from privlens.erasure import ERASURE_INFO, ERASURE_METHODS, method_settings
from privlens.erasure.attacks import AttackSetup, attacks, diagnosed, planned
from privlens.errors import BadInput
from privlens.outcomes import Attack, EraseOrHide
from privlens.retained.others import same_secret
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress, results_table, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.edits import EditEntry, EditList
from privlens.ui.state.freshness import AGAIN, Made, of_secrets, strip, told
from privlens.ui.state.jobs import Redraw, run_buttons, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.erase import view as show
from privlens.ui.tabs.erase.edit_list import kept_at
from privlens.ui.tabs.erase.form import ErasureForm
from privlens.ui.tabs.erase.run import ErasureTask, erasing, known_of, others_than, what_of
from privlens.ui.text import en

CONTROL = "emso on random weights"
FIRST = ["emso", "gradient-ascent", CONTROL]
"""Ticked at first: the method, the plainest rival and the control."""


def attacks_part(
    shelf: ModelCache,
    side: Sidebar,
    edits: gr.State,
    which: gr.Dropdown,
    form: Form[ErasureForm],
    shown_form: Form[ErasureForm],
) -> None:
    """Attacks on what one edit of the list erased. `form` and `shown_form` are both that `form.controls` gives."""
    gr.Markdown(en.ATTACKS_INTRO)
    start, cancel = run_buttons(en.ATTACK, "attack")
    bar = progress("attack-progress")
    with gr.Column(elem_classes=["results", "streams"]):
        about = strip("attack-made")
        verdict_part = verdict("attack-verdict", en.ATTACKS_EMPTY)
        table = results_table("attacks", en.ATTACKS_TABLE, show.ATTACK_WIDTHS)
        counts = results_table("attack-counts", en.ATTACK_COUNTS, show.COUNT_WIDTHS)
        shifts = facts("attack-shifts")
        picture = plot("attack-shift", en.SHIFT_EMPTY, 380)
        attacked = gr.State(None)
        exports("attack", attacked, report_of, command=False)

    def run(values: AttackForm, stop: threading.Event) -> Iterator[Update]:
        entry, listed = kept_at(values.edits, values.index), values.erasure.listed
        lm = shelf.get(values.erasure.model._replace(edits=entry.under))
        targets = entry.targets or values.erasure.task().targets
        yield {
            bar: gr.update(value={"share": 0.0, "text": en.WHICH_ARE_KNOWN}),
            verdict_part: gr.update(value={"kind": "none", "text": en.verdict_pending(entry.name)}),
            table: gr.update(visible=False),
            counts: gr.update(visible=False),
            shifts: gr.update(value=[]),
            picture: gr.update(value=""),
        }
        others = others_than(listed, targets)
        setup = AttackSetup(
            lm,
            lm.under(entry.edit),
            targets,
            reworded=tuple(rewordings(listed, target) for target in targets),
            others=known_of(lm, others, stop.is_set),
            listed=others,
            stop=stop.is_set,
        )
        names, clock = planned(setup), Clock()
        found: list[Attack] = []
        n_parts = len(names) + 1
        yield {bar: gr.update(value=clock.at(0, n_parts, en.attacking(names[0])))}
        for attack in attacks(setup):
            found.append(attack)
            text = en.attacking(names[len(found)]) if len(found) < len(names) else en.LOOKING_AT_NEURONS
            result = Attacked(entry, targets, tuple(found))
            yield {bar: gr.update(value=clock.at(len(found), n_parts, text)), **draw(result), verdict_part: gr.skip()}
        result = Attacked(entry, targets, tuple(found), *diagnosed(setup))
        yield {bar: gr.update(value=clock.at(n_parts, n_parts, en.DONE)), **draw(result), attacked: result}

    def draw(result: Attacked | None) -> Update:
        if result is None:
            return {
                verdict_part: gr.update(value={"kind": "none", "text": en.ATTACKS_EMPTY}),
                table: gr.update(visible=False),
                counts: gr.update(visible=False),
                shifts: gr.update(value=[]),
                picture: gr.update(value=""),
            }
        verdict = show.named(show.verdict_of_attacks(result.found), result.kept.name)
        counted = show.counts_table(result.found)
        return {
            verdict_part: gr.update(value=verdict),
            table: gr.update(value=show.attacks_table(result.found), visible=True),
            counts: gr.update(value=counted, visible=len(counted) > 0),
            shifts: gr.update(value=show.shift_facts(result.shifts, result.shift_note)),
            picture: show.shift_picture(result.shifts),
        }

    def tell(given: Given) -> dict[str, str]:
        values, result = shown.read(given), given[attacked]
        if result is None:
            return {"kind": "none"}
        chosen, difference = chosen_edit(values.edits, values.index), ""
        if chosen is not result.kept:
            difference = en.EDIT_GONE if chosen is None else en.other_edit_selected(chosen.name)
        elif not chosen.targets and chosen_now(values.erasure) != result.targets:
            difference = en.SECRET_CHANGED
        if not difference:
            return {"kind": "none"}
        detail = en.attacks_are_for(result.kept.name, what_of(result.targets), difference)
        return {"kind": "stale", "text": AGAIN, "detail": detail}

    attack_form = Form(AttackForm, erasure=form, edits=edits, index=which)
    shown = attack_form.reading(erasure=shown_form)
    drawn = [verdict_part, table, counts, shifts, picture]
    wire(start, cancel, bar, run, attack_form, [*drawn, attacked], redraw=Redraw(draw, [attacked], drawn))
    events = [part.change for part in (attacked, edits, which, side.secret, shown_form["which"], shown_form["rows"])]
    side.strips.watch((events, tell, {*shown.inputs, attacked}), about)


@dataclass(frozen=True)
class AttackForm:
    """Which edit of the list is attacked, and what the tab would erase now: of an opened edit it is not known what it erased."""

    erasure: ErasureForm
    edits: EditList
    index: int | None


@dataclass(frozen=True, eq=False)
class Attacked:
    """What attacks on an edit found, and whether it erased or hid; `shift_note` says why the latter is not known."""

    kept: EditEntry
    targets: tuple[Secret, ...]
    found: tuple[Attack, ...]
    shifts: tuple[EraseOrHide, ...] = ()
    shift_note: str = ""


def report_of(attacked: Attacked) -> results_json.Json:
    """What the attacks found, as `erase` prints it."""
    return {"edit": asdict(attacked.kept.edit.provenance), **results_json.attacks_on(attacked.found, attacked.shifts)}


def chosen_edit(now: EditList, index: int | None) -> EditEntry | None:
    """The edit at a place of the list, where there is one."""
    return now.now.kept[int(index)] if index is not None and 0 <= int(index) < len(now.now.kept) else None


def chosen_now(form: ErasureForm) -> tuple[Secret, ...]:
    """The secrets that the tab's settings name, where there are any."""
    try:
        return form.task().targets
    except BadInput:
        return ()


def rewordings(listed: Sequence[ListedSecret], target: Secret) -> tuple[str, ...]:
    """Other prompts for a listed secret."""
    return next((row.reworded for row in listed if same_secret(row.secret, target)), ())


def compare_part(
    shelf: ModelCache, side: Sidebar, edits: gr.State, form: Form[ErasureForm], shown_form: Form[ErasureForm]
) -> None:
    """The chosen secrets erased by several methods; nothing of it is put in place."""
    with gr.Accordion(en.ERASE_METHODS_HEADING, open=False, elem_id="erase-methods-part"):
        gr.Markdown(en.ERASE_METHODS_INTRO)
        labelled = [(en.loss_label(name, ERASURE_INFO[name].meaning), name) for name in ERASURE_METHODS]
        methods = gr.CheckboxGroup(
            [*labelled, (en.control_label(CONTROL), CONTROL)], value=FIRST, label=en.METHODS, elem_id="erase-methods"
        )
        start, cancel = run_buttons(en.ERASE_METHODS_START, "erase-compare")
        bar = progress("erase-compare-progress")
        with gr.Column(elem_classes=["results", "streams"]):
            about = strip("erase-compare-made")
            table = results_table("erase-compared", en.ERASE_METHODS_TABLE, show.METHOD_WIDTHS)
        compared = gr.State(None)

    def run(values: MethodsForm, stop: threading.Event) -> Iterator[Update]:
        lm, task = shelf.get(values.erasure.model), values.erasure.task()
        rows: list[dict[str, str]] = []
        earlier, n = values.edits.now.targets_of(values.erasure.model.edits), len(values.methods)
        if not n:
            raise BadInput(en.NO_METHOD_TICKED)
        for index, name in enumerate(name for name in (*ERASURE_METHODS, CONTROL) if name in values.methods):
            for report in erasing(lm, by_method(task, name), earlier, stop.is_set):
                text = en.method_of(name, index, n, report.bar["text"])
                share = (index + report.bar["share"]) / n
                update: Update = {bar: gr.update(value={"share": share, "text": text})}
                if report.erased is not None:
                    rows += [show.before_row(report.erased)] if not rows else []
                    rows.append(show.methods_row(name, report.erased))
                    made = Made(lm.fingerprint, of_secrets(task.targets), len(lm.edits))
                    comparison = Compared(made, what_of(task.targets), tuple(rows))
                    update |= {table: draw(comparison)}
                    update |= {compared: comparison} if index + 1 == n else {}
                yield update

    def draw(comparison: Compared | None) -> Any:
        if comparison is None:
            return gr.update(visible=False)
        return gr.update(value=pd.DataFrame(comparison.rows), visible=True, label=f"{comparison.what}: {en.ERASE_METHODS_TABLE}")

    def tell(given: Given) -> dict[str, str]:
        values, comparison = shown_form.read(given), given[compared]
        return told(shelf, values.model, comparison.made if comparison else None, of_secrets(chosen_now(values)))

    methods_form = Form(MethodsForm, erasure=form, edits=edits, methods=methods)
    wire(start, cancel, bar, run, methods_form, [table, compared], redraw=Redraw(draw, [compared], [table]))
    events = [part.change for part in (compared, side.secret, side.model, shown_form["which"], shown_form["rows"])]
    side.strips.watch((events, tell, {*shown_form.inputs, compared}), about)


@dataclass(frozen=True)
class MethodsForm:
    """What is to be erased and how, the visitor's edits, and the methods that are compared on it."""

    erasure: ErasureForm
    edits: EditList
    methods: list[str]


@dataclass(frozen=True, eq=False)
class Compared:
    """Several methods of erasing compared: what they were run on, what was erased, and a row for each."""

    made: Made
    what: str
    rows: tuple[dict[str, str], ...]


def by_method(task: ErasureTask, name: str) -> ErasureTask:
    """The same task with another method, each with its own learning rate."""
    if name == CONTROL:
        return replace(task, settings=replace(method_settings("emso", task.settings), choice="random"))
    return replace(task, settings=method_settings(name, task.settings))
