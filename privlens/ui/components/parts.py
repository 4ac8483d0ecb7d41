"""The page's own parts, each a gr.HTML whose script sets text as text: numbers with their meaning, verdicts, progress.

No template holds a value, because gradio would run `${...}` and `{{...}}` in it; values travel as properties. Fixed words of our
own are in the template: a part on a tab that was not opened yet loses its other properties when it is given a value.
"""

import html
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from privlens import validation
from privlens.ui.state.jobs import QUICK
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

PAGE = Path(__file__).parent
"""Scripts and style of the page."""
HEAD = ("listeners", "keys", "take", "mask", "terms")
"""Scripts for the page's head: what gradio need not do with listeners, keys that do what clicks do, what leaves the page as a
file, values that are hidden, and words that are explained. All others are those of a part."""
GIVEN = "element, trigger, props, watch"
"""What gradio gives the script of a part."""
RECENT = 8
"""Steps whose pace is used to estimate how long a run still takes."""


def part(name: str, template: str, events: Sequence[str] = (), **properties: Any) -> gr.HTML:
    """A part with a fixed template and the script of its name.

    Args:
        events: what the script triggers; gradio admits listeners of those that stand in quotes.
    """
    quoted = "".join(f" // '{event}'" for event in events)
    return gr.HTML(html_template=template, js_on_load=f"privlensParts.{name}({GIVEN});{quoted}", **properties)


def scripts() -> str:
    """The scripts of all parts for the page's head: in the parts themselves, gradio would send each as often as it is used."""
    paths = [path for path in sorted(PAGE.glob("*.js")) if path.stem not in HEAD]
    functions = [f"{path.stem}({GIVEN}) {{\n{path.read_text('utf-8')}\n}}" for path in paths]
    return f"<script>window.privlensParts = {{{', '.join(functions)}}};</script>"


def facts(elem_id: str, empty: str = "") -> gr.HTML:
    """Numbers with unit and meaning; the value is what `privlens.ui.text.wording` makes."""
    more = (
        f'<details class="facts-more" hidden><summary>{html.escape(en.MORE_NUMBERS)}</summary><dl class="facts"></dl></details>'
    )
    lists = f'<dl class="facts"></dl>{more}<dl class="facts-origin"></dl>'
    template = f'<div class="facts-empty">{html.escape(empty)}</div>{lists}'
    return part("facts", template, value=[], elem_id=elem_id)


def marked_text(elem_id: str, heading: str) -> gr.HTML:
    """A text with some pieces marked; the value is what `privlens.plots.marked` makes of one text.

    gradio's own HighlightedText puts gaps around the pieces, which inside a number read as spaces.
    """
    template = f'<div class="marked-label">{html.escape(heading)}</div><div class="marked"></div>'
    return part("marked", template, value=[], elem_id=elem_id)


def token_chips(elem_id: str, heading: str) -> gr.HTML:
    """The tokens of a value, coloured by their probability; the value is what `privlens.ui.text.wording.of_tokens` makes."""
    line = f'<div class="tokens" data-title="{html.escape(en.TOKEN_TITLE)}"></div>'
    template = f'<div class="tokens-part" hidden><div class="marked-label">{html.escape(heading)}</div>{line}</div>'
    return part("tokens", template, value=[], elem_id=elem_id)


def verdict(elem_id: str, text: str) -> gr.HTML:
    """One sentence that stands out; the value is {kind, text, detail, busy, whose}, kind one of none, known, unknown, note.

    `busy` says what is still being worked out, beside something that turns; `whose` that it is another person's data.
    """
    template = '<div class="verdict" role="status"><strong></strong><b hidden></b><span></span><em hidden></em></div>'
    return part("verdict", template, value={"kind": "none", "text": text}, elem_id=elem_id)


def progress(elem_id: str) -> gr.HTML:
    """A bar for a long run; the value is what `Clock.at` makes, or None when nothing runs."""
    template = '<div class="run" role="status" hidden><progress max="1"></progress><span></span></div>'
    return part("progress", template, value=None, elem_id=elem_id, elem_classes="run-part")


def press_when_seen(elem_id: str) -> str:
    """Script of a listener that presses a button once it can be seen: gradio makes what a tab holds when it is first opened."""
    return f"""() => {{
    const press = tries => {{
        const button = document.querySelector('#{elem_id}');
        if (button?.offsetParent && !button.disabled) button.click();
        else if (tries) setTimeout(() => press(tries - 1), 50);
    }};
    setTimeout(() => press(100), 300);
}}"""


def results_table(elem_id: str, label: str | None = None, widths: Sequence[str] = ()) -> gr.Dataframe:
    """A table of results, hidden until there are any, with a button that saves it as CSV; long cells are wrapped.

    gradio's own button copies a cell such as =1+1, which a stranger wrote, as it is, and a spreadsheet takes it for a formula.

    Args:
        widths: of its columns, so that no heading is broken; where they are wider than the page, the table scrolls.
    """
    with gr.Column(elem_classes="table-part"):
        table = gr.Dataframe(
            label=label,
            interactive=False,
            visible=False,
            elem_id=elem_id,
            elem_classes="results-table",
            wrap=True,
            column_widths=list(widths),
            buttons=["fullscreen"],
        )
        save = gr.Button(en.EXPORT_CSV, elem_id=f"{elem_id}-csv", elem_classes="take-csv", size="sm", min_width=80, scale=0)
    script = f"table => privlens.saveTable({elem_id!r}, table)"
    save.click(None, table, None, js=script, **QUICK)
    return table


def optional_number(label: str, elem_id: str, **more: Any) -> gr.Textbox:
    """A box for a whole number that may be left out: gradio's own box for numbers shows and sends 0 where it was given none."""
    return gr.Textbox("", label=label, elem_id=elem_id, max_lines=1, max_length=validation.MAX_DIGITS, **UNKEPT, **more)


def stands_at(sent: Any, largest: int, default: int) -> int:
    """Where a slider from 1 stands by what the browser sent of it, unchecked; the default where that is beyond its ends."""
    return int(sent) if isinstance(sent, int | float) and 1 <= sent <= largest else default


def with_box(ticked: Iterable[int], event: gr.SelectData) -> frozenset[int]:
    """What is ticked after a click on one box, whatever else was clicked in the browser meanwhile."""
    clicked = {int(event.value)}
    return frozenset(ticked) | clicked if event.selected else frozenset(ticked) - clicked


class Clock:
    """Estimates how long a run still takes from the usual pace of its last steps.

    The last, because what comes first in a run may be much quicker; the median, because one step may do the work of many.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.grown = (0.0, 0.0)  # seconds and share when the share last grew
        self.paces: deque[float] = deque(maxlen=RECENT)  # seconds that the whole run would take at the pace of each last step

    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def at(self, step: int, n_steps: int, stage: str) -> dict[str, Any]:
        """The value of a progress part."""
        share, spent = step / max(1, n_steps), self.spent()
        since, done = self.grown
        if share > done:
            self.paces.append((spent - since) / (share - done))
            self.grown = spent, share
        left = max(1, round(statistics.median(self.paces) * (1 - share))) if self.paces and share < 1 else None
        return {"share": share, "text": en.step(stage, step, n_steps, spent, left), "stage": stage}
