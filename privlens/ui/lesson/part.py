"""The lesson on the page: a button that opens it, and the panel in which it is told."""

import html
from typing import Any

import gradio as gr

from privlens.ui.components.parts import part
from privlens.ui.lesson.files import lessons
from privlens.ui.state.example import example_of
from privlens.ui.state.session import ModelCache
from privlens.ui.text import en


def lesson_part(shelf: ModelCache) -> gr.HTML:
    """Builds it. Raises BadInput where a lesson's file has a mistake: better at the start than before a class."""
    return part("lesson", template(), value=value_of(shelf), elem_id="lesson", elem_classes="lesson-part")


def value_of(shelf: ModelCache) -> dict[str, Any]:
    """The lessons, and the secret of the recorded example where it is one of the model that the page was started with."""
    example = example_of(shelf, shelf.first)
    secret = {"prompt": example.secret.prompt, "value": example.secret.value} if example else None
    return {"lessons": [lesson.model_dump() for lesson in lessons()], "example": secret, "words": words()}


def template() -> str:
    """The fixed words; everything else is set by the script."""
    word = {name: html.escape(text) for name, text in en.LESSON_WORDS.items()}
    return f"""
<button type="button" class="lesson-open" data-part="open">{word["open"]}</button>
<section class="lesson" popover="manual" aria-label="{word["open"]}" hidden>
  <header class="lesson-head">
    <span data-part="where"></span>
    <button type="button" data-part="restart">{word["restart"]}</button>
    <button type="button" data-part="close" aria-label="{word["close"]}">&#10005;</button>
  </header>
  <div class="lesson-body" data-part="body" tabindex="0" role="region" aria-label="{word["step"]}"></div>
  <footer class="lesson-foot">
    <button type="button" data-part="back">{word["back"]}</button>
    <button type="button" data-part="skip">{word["skip"]}</button>
    <button type="button" data-part="next" class="lesson-main">{word["next"]}</button>
  </footer>
</section>"""


def words() -> dict[str, Any]:
    """The words that the script sets."""
    return {**en.LESSON_WORDS, "columns": en.LESSON_COLUMNS, "csvColumns": en.LESSON_CSV_COLUMNS}
