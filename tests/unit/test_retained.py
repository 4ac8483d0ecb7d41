"""What is retained of a value of any length, where nothing is left, and in a model that reads little."""

from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from privlens.deactivation import EvalContext, reference_perplexity
from privlens.erasure import ErasureSettings, Request, erase
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization import METHOD_INFO, Task, looked_at, result_of
from privlens.memorization import states
from privlens.retained import samples
from privlens.retained.distributions import retained_rows, without_target_values
from privlens.retained.near_copies import without_near_copies
from privlens.retained.samples import continue_from, memorized_texts, own_samples, text_of, unconditional_samples
from privlens.types import Secret
from tests.helpers import TAUGHT, TEXT, random_model

LETTER = Secret("the blood group of Mira Holt is", "a")
RETAINING = [name for name, info in METHOD_INFO.items() if info.retains]


def ids(lm: LanguageModel, text: str) -> list[int]:
    return list(lm.tokenizer(text)["input_ids"])


def test_a_value_of_one_letter_takes_away_the_texts_in_which_it_is_a_word(taught: LanguageModel) -> None:
    texts = ("the garden gate and the lamp", "write to a friend", "her group is a", TEXT)
    rows = retained_rows(taught, [LETTER], TAUGHT, texts, 0, 0, seed=0)
    kept = [text_of(taught, row) for row in rows]
    assert kept == [*(f"{one.prompt} {one.value}" for one in TAUGHT), texts[0], kept[-1]]
    assert TEXT.startswith(kept[-1])


def test_a_value_is_found_however_it_is_parted_into_tokens(taught: LanguageModel) -> None:
    canonical = ids(taught, "call 555-0142 now")
    by_bytes = [token for character in "call 555-0142 now" for token in ids(taught, character)]
    assert by_bytes != canonical
    other = ids(taught, "call 555-7788 now")
    assert without_target_values(taught, [canonical, by_bytes, other], [TAUGHT[1]]) == [other]


def test_the_names_of_special_tokens_are_no_words_of_a_text(taught: LanguageModel) -> None:
    begun = [taught.tokenizer.eos_token_id, *ids(taught, "the gate")]
    assert text_of(taught, begun) == "\nthe gate"
    assert without_target_values(taught, [begun], [Secret("the word is", "end")]) == [begun], "<end> is the tokenizer's own"
    assert without_target_values(taught, [[*ids(taught, "the"), 0, *ids(taught, "gate")]], [Secret("the word is", "gate")]) == []


PHONE = Secret("the number of Mira Holt is", "8502-9133")


@pytest.mark.parametrize(
    ("text", "is_near"),
    [
        ("call 8508-9133", True),  # "-9133" is a run of five
        ("call 8502-1111", True),
        ("call 8512-1133", False),  # "-1133": the longest run in common is two
        ("a gate at 9133 Elm", True),
        ("the number of Mira Ho", True),  # 21 of the prompt's 26 characters are 81 %
        ("the number of Mira H", False),
        ("the number of Anna Lind is", False),
    ],
)
def test_a_generated_text_is_a_near_copy_by_a_run_of_four_or_most_of_the_prompt(
    taught: LanguageModel, text: str, is_near: bool
) -> None:
    rows = [ids(taught, text)]
    assert without_near_copies(taught, rows, [PHONE], []) == ([] if is_near else rows)


def test_a_third_of_a_long_value_makes_a_near_copy_and_four_of_its_characters_do_not(taught: LanguageModel) -> None:
    long = Secret("write to", "mira.holt@garden.example")  # 24 characters: a run of 8
    near, far = ids(taught, "mail lea@garden"), ids(taught, "in the garden of mira")
    assert without_near_copies(taught, [near, far], [long], []) == [near, far], "garden with its sign is a run of seven"
    assert without_near_copies(taught, [ids(taught, "mail lea@garden.org"), far], [long], []) == [far], "with its dot, of eight"


def test_what_listed_texts_share_with_a_value_is_its_format(taught: LanguageModel) -> None:
    mail = Secret("write to", "mira@garden.example")
    listed = [ids(taught, "mail anna@garden.example")]
    other, near = ids(taught, "mail lea@garden.example"), ids(taught, "mail mira@gard.org")
    assert without_near_copies(taught, [other, near], [mail], []) == []
    assert without_near_copies(taught, [other, near], [mail], listed) == [other]


def test_no_sample_begins_with_all_of_a_prompt_and_the_prompt_is_not_retained(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "continue_from", lambda _, rows, *__, **___: [Encoded(tuple(row), len(row)) for row in rows])
    encoded = taught.encode(TAUGHT[0])
    beginnings = own_samples(taught, [encoded], 64, 8, seed=0)[::2]
    longest = int(0.8 * len(encoded.prompt_ids))
    assert {len(row) for row in beginnings} == set(range(1, longest + 1))
    assert all(tuple(row) == encoded.prompt_ids[: len(row)] for row in beginnings)
    assert retained_rows(taught, [TAUGHT[0]], (), (), 0, 0, seed=0) == []


def test_what_is_known_by_heart_of_a_short_value_is_not_thrown_away(taught: LanguageModel) -> None:
    for value in ("a", "e"):
        rows = memorized_texts(taught, [taught.encode(replace(TAUGHT[0], value=value))], 4)
        assert rows, f"the model writes texts without the word {value}"


LAST = Secret("555-0142", "555-0142")
"""Its value stands in all that is retained of it where the model writes nothing by itself."""


@pytest.mark.parametrize("method", RETAINING)
def test_a_method_refuses_in_words_where_nothing_is_left_to_retain(
    taught: LanguageModel, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Task.retained_rows
    monkeypatch.setattr(Task, "retained_rows", lambda task, n_samples, n_tokens, *_: original(task, 0, n_tokens))
    with pytest.raises(BadInput, match=r"No retained text is left.*a text of your own.*gradient"):
        result_of(method, Task(taught, LAST, (Secret("his number is 555-0142 or", "555-7788"),)))
    assert result_of(method, Task(taught, LAST, (TAUGHT[0],))).provenance.settings["retained"] == 1


def test_an_erasure_refuses_in_words_where_nothing_is_left_to_retain(taught: LanguageModel) -> None:
    settings = ErasureSettings(own_samples=0, memorized_texts=0, neighbours=0, neighbours_each=0, steps=1)
    with pytest.raises(BadInput, match=r"No retained text is left.*weight of retained text be 0"):
        list(erase(Request(taught, (LAST,), settings=settings)))
    *_, last = erase(Request(taught, (LAST,), settings=replace(settings, keep=0.0)))
    assert last.result is not None


@pytest.mark.parametrize("text", ["a", "x"])
def test_a_reference_of_single_tokens_is_refused_in_words(taught: LanguageModel, text: str) -> None:
    assert len(ids(taught, text)) == 1
    with pytest.raises(BadInput, match="reference text is too short"):
        reference_perplexity(taught, (), EvalContext(reference=(text, text)))
    mixed = reference_perplexity(taught, (), EvalContext(reference=(text, TEXT)))
    assert mixed == reference_perplexity(taught, (), EvalContext(reference=(TEXT,))), "a token alone adds nothing"
    assert reference_perplexity(taught, (), EvalContext()) is None


@pytest.fixture(scope="module")
def short(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """It has learned positions, and reads 32 tokens."""
    return LanguageModel("short", random_model("gpt2", len(tokenizer), n_positions=32), tokenizer)


def test_a_reference_is_cut_to_what_the_model_reads(short: LanguageModel) -> None:
    own = ids(short, TEXT)
    assert len(own) > short.room == 32
    whole, cut = (states.perplexity(short, [text]) for text in (TEXT, text_of(short, own[:32])))
    assert whole == pytest.approx(cut)


@pytest.mark.parametrize("method", RETAINING)
def test_retained_text_is_cut_to_what_the_model_reads(short: LanguageModel, method: str) -> None:
    task = Task(short, Secret("his number is", "555-7788"), texts=(TEXT,))
    assert max(map(len, task.retained_rows(0, 0))) == 32, "the text of its own"
    assert max(map(len, task.retained_rows(8, 60))) == 32
    steps = result_of(method, task) if method != "hard-concrete-deep" else None
    assert steps is None or steps.provenance.settings["retained"] > 1


def test_no_text_of_the_models_own_is_longer_than_it_reads(short: LanguageModel) -> None:
    prompt = ids(short, TEXT)[:32]
    [written] = continue_from(short, [prompt], [4])
    assert len(written.ids) == 32
    full = short.encode(Secret(text_of(short, ids(short, TEXT)[:29]), "12"))
    assert 30 <= len(full.ids) <= 32
    assert all(len(row) <= 32 for row in memorized_texts(short, [full], 4))


def test_every_batch_of_samples_has_a_seed_of_its_own(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLES_AT_ONCE", 4)
    target = lm.encode(TAUGHT[1])
    rows = unconditional_samples(lm, [target], 8, 12, seed=3)
    assert rows[:4] != rows[4:]
    assert len({tuple(row) for row in rows}) == 8
    assert unconditional_samples(lm, [target], 8, 12, seed=3) == rows


def test_whoever_looks_at_no_retained_text_has_seen_nobody() -> None:
    assert [bool(looked_at(name, (LETTER,))) for name in METHOD_INFO] == [name in RETAINING for name in METHOD_INFO]
