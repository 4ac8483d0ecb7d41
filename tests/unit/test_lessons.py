"""Lessons as files: the bundled one is read, and a file with a mistake says where it is and what it is."""

from pathlib import Path

import pytest

from privlens.errors import BadInput
from privlens.ui.lesson.files import FOLDER, lessons, read_lesson

STEP = """
  - title: Look
    ask: Does it?
    choices: [yes, no]
    do: Press it.
    then: So.
"""
LESSON = f"title: A lesson\nminutes: 5\nabout: What for.\nsteps:{STEP}"


def read(tmp_path: Path, text: str, name: str = "own.yaml") -> object:
    path = tmp_path / name
    path.write_text(text)
    return read_lesson(path)


def test_every_bundled_lesson_is_read() -> None:
    assert [lesson.name for lesson in lessons()] == [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
    assert 6 <= len(lessons()[0].steps) <= 9
    assert all(step.until for step in lessons()[0].steps[:-1]), "each step but the last waits for an act"


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    lesson = read(tmp_path, LESSON)
    assert lesson.steps[0].choices == ("yes", "no")
    assert (lesson.name, lesson.minutes) == ("own", 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LESSON.replace("    ask: Does it?\n", ""), "own.yaml, at steps, 1, ask: Field required."),
        (LESSON.replace("minutes: 5", "minutes: soon"), "own.yaml, at minutes: "),
        (LESSON + "    colour: red\n", "own.yaml, at steps, 1, colour: Extra inputs are not permitted."),
        (LESSON + "    until: {results: check-facts, opened: erase}\n", "give exactly one of results, switched_off and opened"),
        (LESSON + "    until: {}\n", "give exactly one of results, switched_off and opened"),
        (LESSON + "    point: 'x\"], body *'\n", "own.yaml, at steps, 1, point: String should match"),
        (LESSON.replace("[yes, no]", "[yes]"), "own.yaml, at steps, 1, choices: "),
        ("title: [", "own.yaml is not YAML: "),
        ("just a sentence", "own.yaml is not a lesson: "),
        ("", "own.yaml, at title: Field required."),
        (LESSON + "    then: !!python/object/apply:os.system [exit]\n", "own.yaml"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, text)
    assert told in str(error.value)
