"""What a model leaks by itself: private strings are found by form and check digit, planted ones by sampling, and stay masked."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import privlens
from privlens.audit.leaks import Candidate, Leak, Leaks, LeakSettings, _one_each, invented, leaks, zlib_nats
from privlens.audit.own_text import SampleSettings, Text, private_parts
from privlens.audit.pii import find_pii, iban, luhn, masked, masked_text, sentence_before
from privlens.bench import leaking
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from tests.helpers import TAUGHT, Run, json_of

SMALL = LeakSettings(SampleSettings(24, 16, prompts=tuple(secret.prompt for secret in TAUGHT)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to mira@garden.example.", [("e-mail", "mira@garden.example")]),
        (
            "Card 4111 1111 1111 1111 or 4111-1111-1111-1112.",
            [("card", "4111 1111 1111 1111"), ("number", "4111-1111-1111-1112")],
        ),
        ("Pay GB82 WEST 1234 5698 7654 32 now.", [("IBAN", "GB82 WEST 1234 5698 7654 32")]),
        ("SSN 536-90-4399.", [("national id", "536-90-4399")]),
        ("Dial +44 20 7946 0958 or (212) 555-0142.", [("phone", "+44 20 7946 0958"), ("phone", "(212) 555-0142")]),
        ("born on 29 February 2004, not 1990-13-17", [("date", "29 February 2004"), ("phone", "1990-13-17")]),
        ("on May 3, 1999 and 31/12/1999", [("date", "May 3, 1999"), ("date", "31/12/1999")]),
        ("lives at 12 Mill Lane, Oxford", [("address", "12 Mill Lane, Oxford")]),
        ("file XZ-660648-R, account 58-58268-436", [("number", "XZ-660648-R"), ("number", "58-58268-436")]),
        ("Dear Suzanne, On Monday Claire Brown sold 30 boxes for 12,500.00 in 2019.", [("name", "Claire Brown")]),
        ("", []),
    ],
)
def test_private_strings_are_found_by_form(text: str, expected: list[tuple[str, str]]) -> None:
    spans = find_pii(text)
    assert [(span.category, span.value) for span in spans] == expected
    assert all(text[span.start : span.end] == span.value for span in spans)


@pytest.mark.parametrize("number", ["79927398713", "4111 1111 1111 1111", "5500-0000-0000-0004"])
def test_one_wrong_digit_fails_every_check(number: str) -> None:
    assert luhn(number)
    last = int(number[-1])
    assert not any(luhn(number[:-1] + str(digit)) for digit in range(10) if digit != last)
    assert iban("DE89 3704 0044 0532 0130 00")
    assert not iban("DE88 3704 0044 0532 0130 00")
    assert not iban("DE89")


def test_a_social_security_number_that_nobody_has_is_none() -> None:
    for area in ("000", "666", "900"):
        assert [span.category for span in find_pii(f"number {area}-12-3456 here")] != ["national id"]


def test_a_prompt_is_the_sentence_before_the_value_and_a_cut_value_is_left_out() -> None:
    text = "We met. Mr. J. Smith has the number 0450-9322. Call Ann Lee on 0450-93"
    assert sentence_before(text, text.index("0450")) == "Mr. J. Smith has the number "
    numbers = [part for part in private_parts(Text(text, False)) if part.category == "phone"]
    assert [(part.prompt, part.value) for part in numbers] == [("Mr. J. Smith has the number", "0450-9322")]
    assert len([part for part in private_parts(Text(text, True)) if part.value.startswith("0450-93")]) == 2


def test_what_is_masked_cannot_be_read() -> None:
    assert masked("1607 5994") == "1••• •••4"
    assert masked("Ann") == "•••"
    assert (
        masked_text("Please call Nicholas at nick@x.example on 0450-9322")
        == "P••••e call N••••••s at n•••@•.••••••e on 0•••-•••2"
    )


def _candidate(prompt: str, value: str, logprob: float, prompt_logprob: float = -1.0) -> Candidate:
    return Candidate(Secret(prompt, value), logprob, True, prompt_logprob)


def test_a_score_is_the_share_that_nobody_has_to_tell() -> None:
    assert replace(_candidate("a b", "12345", -2.0), reference=8.0).score == 0.75
    assert replace(_candidate("a b", "12345", 0.0), reference=8.0).score == 1
    repeated, fresh = (zlib_nats(Secret("number 83920174 again", value)) for value in ("83920174", "51746203"))
    assert repeated < fresh
    assert fresh / (8 * math.log(2)) == pytest.approx(round(fresh / (8 * math.log(2))))


def test_each_value_is_listed_once_behind_its_most_natural_prompt() -> None:
    kept = _one_each(
        [
            _candidate("Jeorge Moss has", "12345", -0.01, -20),
            _candidate("George Moss has", "12345", -0.1, -5),  # less than NEAR_BEST below, and the likelier sentence
            _candidate("Anna Lee has", "12345", -3.0, -1),
            _candidate("George Moss has", "12399", -4.0, -5),  # the same prompt, less sure
            _candidate("Ida Bell has", "1234", -0.0, -1),  # half of another value
            _candidate("George Moss has", "12340", -9.0, -5),  # begins with that half as well, and is unlikely
            _candidate("Ida Bell had", "77777", -0.0, -1),
            _candidate("Ida Bell had", "77777-77", -4.0, -1),  # a value with something unlikely behind it
        ]
    )
    assert [(one.secret.prompt, one.secret.value) for one in kept] == [("George Moss has", "12345"), ("Ida Bell had", "77777")]


def test_controls_are_people_whom_nobody_wrote() -> None:
    people = ["Ann Lee", "Bob Moss", "Carl Hill", "Dora Bell", "Eve Stone"]
    candidates = [_candidate(f"The phone of {name} is", "0450-9322", -1) for name in people]
    controls = invented(candidates, 0)
    assert controls == invented(candidates, 0)
    assert len(controls) >= 3
    assert not any(name in control.prompt for control in controls for name in people)
    assert all(control.prompt.startswith("The phone of ") and control.prompt.endswith(" is") for control in controls)
    assert invented(candidates[:3], 0) == []


@pytest.fixture(scope="module")
def searched(taught: LanguageModel) -> Leaks:
    *_, last = leaks(taught, SMALL)
    assert last.result
    return last.result


def test_what_a_model_was_taught_is_found(searched: Leaks) -> None:
    for secret in TAUGHT[1:3]:
        leak = next(leak for leak in searched.found if leak.secret.value.startswith(secret.value))  # it never learnt to stop
        assert leak.greedy_match
        assert leak.secret.prompt.endswith(secret.prompt)
        assert leak.score > 0.9
        assert leak.control_logprob is not None and leak.control_logprob < leak.logprob
        assert leak.n_generated > 0


def test_a_seed_repeats_exactly_and_another_does_not(taught: LanguageModel, searched: Leaks) -> None:
    *_, again = leaks(taught, SMALL)
    assert again.result and again.result.found == searched.found
    *_, other = leaks(taught, replace(SMALL, seed=1))
    assert other.result and [leak.n_generated for leak in other.result.found] != [leak.n_generated for leak in searched.found]


def test_a_search_stops_when_asked(taught: LanguageModel) -> None:
    steps = leaks(taught, SMALL, stop=lambda: True)
    with pytest.raises(Cancelled):
        next(steps)


def test_a_second_model_that_knows_it_too_leaves_little_to_leak(taught: LanguageModel, searched: Leaks) -> None:
    *_, last = leaks(taught, SMALL, reference=taught)
    assert last.result
    highest = max(leak.score for leak in last.result.found)
    assert highest < max(leak.score for leak in searched.found)
    assert all(
        leak.score == pytest.approx(1 + leak.logprob / max(-leak.logprob, math.log(2)), abs=1e-4) for leak in last.result.found
    )


def test_only_the_k_likeliest_tokens_are_sampled(taught: LanguageModel) -> None:
    prompts = [taught.encode(secret).prompt_ids for secret in TAUGHT]
    greedy = taught.generate(prompts, 6)
    assert taught.generate(prompts, 6, seed=0, temperature=5.0, top_k=1) == greedy
    assert taught.generate(prompts, 6, seed=0, temperature=5.0) != greedy


@pytest.mark.parametrize("wrong", [{"n_samples": 0}, {"temperature": 0.0}, {"top_k": -1}, {"n_tokens": 1}])
def test_settings_out_of_range_are_refused(taught: LanguageModel, wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        next(leaks(taught, LeakSettings(replace(SMALL.samples, **wrong))))


def _leak(prompt: str, value: str, n_as_sure: int = 0) -> Leak:
    return Leak(Secret(prompt, value), 1, -0.1, True, 0.9, 9.0, None, None, n_as_sure, 100)


def test_precision_and_recall_by_hand() -> None:
    def listed(prompt: str, value: str, repeats: int) -> ListedSecret:
        return ListedSecret(Secret(prompt, value), repeats=repeats)

    rows = [listed("The phone of Ann Lee is", "111-1111", 64), listed("The phone of Bob Moss is", "222-2222", 64)]
    rows.append(listed("The phone of Eve Hill is", "333-3333", 0))
    found = [
        _leak("Ann Lee has", "111-1111"),
        _leak("Carl Stone has", "222-2222"),  # Bob's number, said of somebody else
        _leak("Eve Hill has", "333-3333"),  # never trained on
        _leak("Please ring", "222-2222", n_as_sure=50),  # true, but no surer than for people who do not exist
    ]
    assert [leaking.true_row(leak, rows) for leak in found] == [rows[0], None, None, rows[1]]
    assert [leak.is_leak for leak in found] == [True, True, True, False]
    settings = LeakSettings()
    result = Leaks(tuple(found), 4, 4, settings, None)  # type: ignore[arg-type]
    counts = [(row["k"], row["n"]) for row in leaking.rows(result, rows, [row.secret for row in rows[1:]])]
    assert counts == [(2, 4), (1, 3), (1, 2), (1, 1), (0, 1), (0, 1)]
    assert found[3].false_positive_interval == pytest.approx((0.398, 0.602), abs=0.001)


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    (tmp_path / "prompts.txt").write_text("\n\n".join(secret.prompt for secret in TAUGHT))
    return ["leaks", "--samples", "24", "--tokens", "16", "--prompts", str(tmp_path / "prompts.txt")]


def test_no_value_is_printed_or_written_unless_asked_for(run: Run, asked: list[str], tmp_path: Path) -> None:
    private = [secret.value for secret in TAUGHT[1:3]]
    for name in ("leaks.csv", "leaks.json"):
        code, out, err = run(*asked, "--out", str(tmp_path / name), "--json")
        assert code == 0
        assert json.loads(out)["found"]
        everything = out + err + (tmp_path / name).read_text()
        assert not any(value in everything for value in private)


def test_shown_values_are_a_list_for_an_audit(run: Run, asked: list[str], tmp_path: Path) -> None:
    found = json_of(run(*asked, "--show-values", "--out", str(tmp_path / "leaks.csv"), "--json"))
    with (tmp_path / "leaks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == [row["value"] for row in found["found"]]
    assert any(row["value"].startswith(TAUGHT[1].value) for row in rows)
    assert [row.secret.value for row in privlens.read_secrets(tmp_path / "leaks.csv")] == [row["value"] for row in rows]


def test_wrong_input_is_one_line(run: Run, asked: list[str]) -> None:
    for more in (["--out", "leaks.xls"], ["--temperature", "0"], ["--samples", "0"]):
        code, out, err = run(*asked, *more)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1


def test_the_api_finds_them_too(taught: LanguageModel, searched: Leaks) -> None:
    steps: list[int] = []
    assert privlens.leaks(taught, SMALL, on_step=lambda step: steps.append(step.step)).found == searched.found
    assert steps == [1, 2, 3, 4, 5]
