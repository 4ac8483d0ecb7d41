"""After an erasure: attacks, because hiding is not erasing; and the same erasure by other methods."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import pandas as pd

from privlens.erasure import ERASURE_INFO, LOSSES, settings_of
from privlens.erasure.attacks import AttackSetup, attacks, planned
from privlens.errors import BadInput
from privlens.outcomes import Attack
from privlens.retained.others import same_secret
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.ui.components.parts import Clock, progress, results_table, verdict
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.edits import EditEntry, EditList
from privlens.ui.state.freshness import AGAIN, Made, of_secrets, strip, told, watch
from privlens.ui.state.jobs import run_buttons, wire
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.tabs.erase import view as show
from privlens.ui.tabs.erase.edit_list import kept_at
from privlens.ui.tabs.erase.form import asked
from privlens.ui.tabs.erase.run import Asked, erasing, known_of, others_than, what_of

CONTROL = "emso on random weights"
FIRST = ["emso", "gradient-ascent", CONTROL]
"""Ticked at first: the method, the plainest rival and the control."""
NO_ATTACKS = "Not attacked yet. Choose an edit above, then see whether what it erased can be recovered."


def attacks_part(
    shelf: ModelCache, side: Sidebar, edits: gr.State, which: gr.Dropdown, inputs: Sequence[Any], known: Sequence[Any]
) -> None:
    """Attacks on what one edit of the list erased. `inputs` and `known` are both that `erase_settings.controls` gives."""
    gr.Markdown(
        "### Attacks\nA value that is not written any more may still be there. The edit chosen above is attacked by reworded "
        "prompts, sampling, the logit lens, relearning and a linear probe, each before and after the erasure."
    )
    start, cancel = run_buttons("Attack", "attack")
    bar = progress("attack-progress")
    with gr.Column(elem_classes=["results", "streams"]):
        about = strip("attack-made")
        said = verdict("attack-verdict", NO_ATTACKS)
        table = results_table("attacks", show.ATTACKS, show.ATTACK_WIDTHS)
    attacked = gr.State(None)

    def run(model: ModelName, now: EditList, at: int | None, listed: Any, *rest: Any) -> Iterator[tuple[Any, ...]]:
        *settings, stop = rest
        kept = kept_at(now, at)
        before = shelf.get(model._replace(edits=kept.under))
        targets = kept.targets or asked(listed, *settings).targets
        yield (
            gr.update(value={"share": 0.0, "text": "which other secrets does the model know?"}),
            gr.update(value={"kind": "none", "text": f"{kept.name}: the verdict comes after the last attack."}),
            gr.update(visible=False),
            gr.skip(),
        )
        rest = others_than(listed, targets)
        others = known_of(before, rest, stop.is_set)
        reworded = tuple(rewordings(listed, target) for target in targets)
        siege = AttackSetup(before, before.under(kept.edit), targets, reworded, others, tuple(rest), stop=stop.is_set)
        names, clock, found = planned(siege), Clock(), list[Attack]()
        n = len(names)
        yield gr.update(value=clock.at(0, n, f"attacking: {names[0]}")), gr.skip(), gr.skip(), gr.skip()
        for one in attacks(siege):
            found.append(one)
            done, attacked = gr.skip(), Attacked(kept, targets, tuple(found))
            said, shown = draw(attacked)
            if len(found) == n:
                done = attacked
            else:
                said = gr.skip()
            text = f"attacking: {names[len(found)]}" if len(found) < n else "done"
            yield gr.update(value=clock.at(len(found), n, text)), said, shown, done

    def draw(attacked: Attacked | None) -> tuple[Any, ...]:
        if attacked is None:
            return gr.update(value={"kind": "none", "text": NO_ATTACKS}), gr.update(visible=False)
        said = show.named(show.verdict_of_attacks(attacked.found), attacked.kept.name)
        return gr.update(value=said), gr.update(value=show.attacks_table(attacked.found), visible=True)

    def tell(now: EditList, at: int | None, attacked: Attacked | None, *settings: Any) -> dict[str, str]:
        if attacked is None:
            return {"kind": "none"}
        chosen, other = chosen_edit(now, at), ""
        if chosen is not attacked.kept:
            other = "it is no longer in the list" if chosen is None else f"now edit {chosen.name} is chosen"
        elif not chosen.targets and chosen_now(*settings) != attacked.targets:
            other = "the secret is another now"
        what = f"the edit {attacked.kept.name}, {what_of(attacked.targets)}"
        return {"kind": "stale", "text": AGAIN, "detail": f"They are for {what}; {other}."} if other else {"kind": "none"}

    outputs = [said, table, attacked]
    wire(start, cancel, bar, run, [side.model, edits, which, *inputs], outputs, redraw=(draw, [attacked], [said, table]))
    events = [one.change for one in (attacked, edits, which, side.secret, *known[4:6])]
    watch((events, tell, [edits, which, attacked, *known]), [about])


@dataclass(frozen=True, eq=False)
class Attacked:
    """What attacks on an edit found."""

    kept: EditEntry
    targets: tuple[Secret, ...]
    found: tuple[Attack, ...]


def chosen_edit(now: EditList, at: int | None) -> EditEntry | None:
    """The edit at a place of the list, where there is one."""
    return now.now.kept[int(at)] if at is not None and 0 <= int(at) < len(now.now.kept) else None


def chosen_now(*settings: Any) -> tuple[Secret, ...]:
    """The secrets that the tab's settings name, where there are any."""
    try:
        return asked(*settings).targets
    except BadInput:
        return ()


def rewordings(listed: Sequence[ListedSecret], target: Secret) -> tuple[str, ...]:
    """Other prompts for a listed secret."""
    return next((row.reworded for row in listed if same_secret(row.secret, target)), ())


def compare_part(shelf: ModelCache, side: Sidebar, edits: gr.State, inputs: Sequence[Any], known: Sequence[Any]) -> None:
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
        with gr.Column(elem_classes=["results", "streams"]):
            about = strip("erase-compare-made")
            table = results_table("erase-compared", show.METHODS, show.METHOD_WIDTHS)
        compared = gr.State(None)

    def run(model: ModelName, now: EditList, methods: list[str], *rest: Any) -> Iterator[tuple[Any, ...]]:
        *settings, stop = rest
        lm, question, rows = shelf.get(model), asked(*settings), list[dict[str, str]]()
        earlier = now.now.targets_of(model.edits)
        if not methods:
            raise BadInput("No method is ticked: tick at least one; two or more can be compared.")
        for at, name in enumerate(one for one in (*LOSSES, CONTROL) if one in methods):
            for step in erasing(lm, by_method(question, name), earlier, stop.is_set):
                shown, done = gr.skip(), gr.skip()
                if step.erased is not None:
                    rows += [show.before_row(step.erased)] if not rows else []
                    rows.append(show.methods_row(name, step.erased))
                    made = Made(lm.fingerprint, of_secrets(question.targets), len(lm.edits))
                    found = Compared(made, what_of(question.targets), tuple(rows))
                    shown, done = draw(found), found if at + 1 == len(methods) else gr.skip()
                share = (at + step.bar["share"]) / len(methods)
                text = f"{name} ({at + 1} of {len(methods)}), {step.bar['text']}"
                yield gr.update(value={"share": share, "text": text}), shown, done

    def draw(found: Compared | None) -> Any:
        if found is None:
            return gr.update(visible=False)
        return gr.update(value=pd.DataFrame(found.rows), visible=True, label=f"{found.what}: {show.METHODS}")

    def tell(model: ModelName, found: Compared | None, *settings: Any) -> dict[str, str]:
        return told(shelf, model, found.made if found else None, of_secrets(chosen_now(*settings)))

    wire(start, cancel, bar, run, [side.model, edits, methods, *inputs], [table, compared], redraw=(draw, [compared], [table]))
    events = [one.change for one in (compared, side.secret, side.model, *known[4:6])]
    watch((events, tell, [side.model, compared, *known]), [about])


@dataclass(frozen=True, eq=False)
class Compared:
    """Methods of erasing, held against each other: of what that was made, what was erased, a row for each."""

    made: Made
    what: str
    rows: tuple[dict[str, str], ...]


def by_method(question: Asked, name: str) -> Asked:
    """The same question with another method, each with its own learning rate."""
    if name == CONTROL:
        return replace(question, settings=replace(settings_of("emso", question.settings), choice="random"))
    return replace(question, settings=settings_of(name, question.settings))
