"""More prompts for a list: templates by category, and what else is listed of the same person."""

from pathlib import Path

import pytest

from privlens.audit.prompts import TEMPLATES, read_templates, with_prompts
from privlens.cli.commands import main
from privlens.errors import BadInput
from privlens.secret_lists import ListedSecret, read_secrets
from privlens.types import Secret

PHONE = ListedSecret(Secret("Call Nora Example on", "0450-9322", "phone"), person="Nora Example")
CARD = ListedSecret(Secret("Nora pays with card", "1234 5678", "card"), person="Nora Example")
OTHER = ListedSecret(Secret("You can write to Ian Sample at", "ian@example.org", "e-mail"))


def test_a_prompt_comes_from_the_template_and_one_from_the_persons_other_data() -> None:
    phone, card, other = with_prompts([PHONE, CARD, OTHER], TEMPLATES)
    assert phone.reworded == ("The phone number of Nora Example is", "Nora pays with card 1234 5678. Call Nora Example on")
    assert card.reworded == ("The card number of Nora Example is", "Call Nora Example on 0450-9322. Nora pays with card")
    assert other.reworded == ("The e-mail address of Ian Sample is",), "named in the prompt; nothing else is listed of him"
    assert (phone.secret, phone.person) == (PHONE.secret, PHONE.person)


def test_prompts_of_the_list_stay_and_none_gives_the_value_away() -> None:
    full = ListedSecret(PHONE.secret, reworded=("a", "b"), person="Nora Example")
    assert with_prompts([full, CARD], TEMPLATES)[0].reworded == ("a", "b")
    same = ListedSecret(Secret("Old number", "0450-9322", "phone"), person="Nora Example")
    assert with_prompts([PHONE, same], {})[0].reworded == (), "a row with the same value says it"
    given = ListedSecret(Secret("Nora's 0450-9322, or", "0999-1111", "phone"), person="Nora Example")
    assert with_prompts([PHONE, given], {})[0].reworded == (), "another row's prompt holds the value"
    asked = ListedSecret(Secret("The phone number of Nora Example is", "1", "phone"), person="Nora Example")
    assert with_prompts([asked], TEMPLATES)[0].reworded == (), "its own prompt is no other one"


def test_templates_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text('phone: "Ring {person} at"\n')
    assert read_templates(tmp_path / "t.yaml") == {"phone": "Ring {person} at"}
    for wrong in ("phone: Ring at", "- phone", "phone: 3", "phone: '{person"):
        (tmp_path / "t.yaml").write_text(wrong)
        with pytest.raises(BadInput, match=r"t\.yaml"):
            read_templates(tmp_path / "t.yaml")


def test_the_command_writes_a_list_with_the_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        "prompt,value,category,repeats,person\nYou can call Nora Example on,0450-9322,phone,3,N1\nNora's card is,1234,card,,N1\n"
    )
    (tmp_path / "list.csv").write_text(rows)
    (tmp_path / "t.yaml").write_text('phone: "Ring {person} at"\n')
    options = ["--out", str(tmp_path / "more.csv"), "--templates", str(tmp_path / "t.yaml")]
    with pytest.raises(SystemExit) as ended:
        main(["prompts", str(tmp_path / "list.csv"), *options])
    assert not ended.value.code
    assert "4 prompts were added to 2 secrets; 0 have none" in " ".join(capsys.readouterr().out.split())
    phone, card = read_secrets(tmp_path / "more.csv")
    assert phone.reworded == ("Ring Nora Example at", "Nora's card is 1234. You can call Nora Example on")
    assert card.reworded[0] == "The card number of Nora Example is", "a number of a person is no name"
    assert (phone.repeats, card.repeats, card.person) == (3, None, "N1")
