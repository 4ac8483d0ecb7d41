"""After an erasure: attacks, because hiding is not erasing; and the same erasure by other methods."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd
from gradio.components import Component

from privlens.erasure import ERASURE_INFO, LOSSES, settings_of
from privlens.erasure.attacks import Siege, attacks, planned
from privlens.errors import BadInput
from privlens.outcomes import Attack
from privlens.records import Secret
from privlens.secrets import ListedSecret
from privlens.ui import erase_view as show
from privlens.ui.edit_list import kept_at
from privlens.ui.edits import EditList
from privlens.ui.erase_run import Asked, erasing, known_of, others_than, what_of
from privlens.ui.erase_settings import asked
from privlens.ui.parts import Clock, progress, verdict
from privlens.ui.runs import run_buttons, wire
from privlens.ui.session import ModelName, Shelf
from privlens.ui.sidebar import Sidebar

CONTROL = "emso on random weights"
FIRST = ["emso", "gradient-ascent", CONTROL]
"""Ticked at first: the method, the plainest rival and the control."""
NO_ATTACKS = "Not attacked yet. Choose an edit above, then see whether what it erased can be had back."


def attacks_part(shelf: Shelf, side: Sidebar, edits: gr.State, which: gr.Dropdown, inputs: Sequence[Component]) -> None:
    """Attacks on what one edit of the list erased."""
    gr.Markdown(
        "### Attacks\nA value that is not written any more may still be there. The edit chosen above is attacked by reworded "
        "prompts, sampling, the logit lens, relearning and a linear probe, each before and after the erasure."
    )
    start, cancel = run_buttons("Attack", "attack")
    bar = progress("attack-progress")
    said = verdict("attack-verdict", NO_ATTACKS)
    table = gr.Dataframe(label=show.ATTACKS, interactive=False, visible=False, elem_id="attacks", wrap=True,
                         column_widths=show.ATTACK_WIDTHS)  # fmt: skip

    def run(model: ModelName, now: EditList, at: int | None, listed: Any, *rest: Any) -> Iterator[tuple[Any, ...]]:
        *settings, stop = rest
        kept = kept_at(now, at)
        before = shelf.get(model._replace(edits=kept.under))
        targets = kept.targets or asked(listed, *settings).targets
        yield (
            gr.update(value={"share": 0.0, "text": "which other secrets does the model know?"}),
            gr.update(value={"kind": "none", "text": f"{kept.name}: the verdict comes after the last attack."}),
            gr.update(visible=False),
        )
        rest = others_than(listed, targets)
        others = known_of(before, rest, stop.is_set)
        reworded = tuple(rewordings(listed, target) for target in targets)
        siege = Siege(before, before.under(kept.edit), targets, reworded, others, rest, stop=stop.is_set)
        names, clock, found = planned(siege), Clock(), list[Attack]()
        n = len(names)
        yield gr.update(value=clock.at(0, n, f"attacking: {names[0]}")), gr.skip(), gr.skip()
        for one in attacks(siege):
            found.append(one)
            shown = gr.update(value=show.attacks_table(found), visible=True)
            said = gr.update(value=show.named(show.verdict_of_attacks(found), kept.name)) if len(found) == n else gr.skip()
            text = f"attacking: {names[len(found)]}" if len(found) < n else "done"
            yield gr.update(value=clock.at(len(found), n, text)), said, shown

    wire(start, cancel, bar, run, [side.model, edits, which, *inputs], [said, table])


def rewordings(listed: Sequence[ListedSecret], target: Secret) -> tuple[str, ...]:
    """Other prompts for a listed secret."""
    same = (row.reworded for row in listed if (row.secret.prompt, row.secret.value) == (target.prompt, target.value))
    return next(same, ())


def compare_part(shelf: Shelf, side: Sidebar, edits: gr.State, inputs: Sequence[Component]) -> None:
    """The chosen secrets erased by several methods; nothing of it is put in place."""
    with gr.Accordion("Compare methods of erasing", open=False, elem_id="erase-methods-part"):
        gr.Markdown(
            "The secrets chosen above, erased by each ticked method with the settings above, from the model as it stands: untick "
            "an edit that erased them already. Nothing is put in place. Unseen secrets are what a good method leaves alone."
        )
        named = [(f"{name}: {ERASURE_INFO[name].meaning}", name) for name in LOSSES]
        methods = gr.CheckboxGroup(
            [*named, (f"{CONTROL}: the control", CONTROL)], value=FIRST, label="Methods", elem_id="erase-methods"
        )
        start, cancel = run_buttons("Compare", "erase-compare")
        bar = progress("erase-compare-progress")
        table = gr.Dataframe(label=show.METHODS, interactive=False, visible=False, elem_id="erase-compared", wrap=True,
                             column_widths=show.METHOD_WIDTHS)  # fmt: skip

    def run(model: ModelName, now: EditList, methods: list[str], *rest: Any) -> Iterator[tuple[Any, ...]]:
        *settings, stop = rest
        lm, question, rows = shelf.get(model), asked(*settings), list[dict[str, str]]()
        earlier = now.now.targets_of(model.edits)
        if not methods:
            raise BadInput("No method is ticked: tick at least one; two or more can be compared.")
        for at, name in enumerate(one for one in (*LOSSES, CONTROL) if one in methods):
            for step in erasing(lm, by_method(question, name), earlier, stop.is_set):
                shown = gr.skip()
                if step.erased is not None:
                    rows += [show.before_row(step.erased)] if not rows else []
                    rows.append(show.methods_row(name, step.erased))
                    shown = gr.update(value=pd.DataFrame(rows), visible=True, label=f"{what_of(question)}: {show.METHODS}")
                share = (at + step.bar["share"]) / len(methods)
                text = f"{name} ({at + 1} of {len(methods)}), {step.bar['text']}"
                yield gr.update(value={"share": share, "text": text}), shown

    wire(start, cancel, bar, run, [side.model, edits, methods, *inputs], [table])


def by_method(question: Asked, name: str) -> Asked:
    """The same question with another method, each with its own learning rate."""
    if name == CONTROL:
        return replace(question, settings=replace(settings_of("emso", question.settings), choice="random"))
    return replace(question, settings=settings_of(name, question.settings))
