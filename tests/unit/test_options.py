"""What a client may choose for a clip: each choice at its bounds and beyond; of JSON, of texts, of the wire."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from whisperd.errors import BadEvent, BadOption, UnknownModel
from whisperd.protocol import Mode, Priority, read_transcribe
from whisperd.speech.choice import Choice
from whisperd.speech.options import CHOICES, MAX_PROMPT_CHARS, Options, read, read_texts
from whisperd.speech.types import ModelInfo
from whisperd.wire import Event

ALL = sorted(CHOICES)
NUMBERS = [name for name in ALL if CHOICES[name].kind in (int, float)]
LISTS = [name for name in ALL if CHOICES[name].many]
TEXTS = [name for name in ALL if CHOICES[name].kind is str]


def value_of(choice: Choice) -> Any:
    """One item that may be chosen, and is not the default."""
    if choice.kind is bool:
        return not choice.default
    if choice.kind is str:
        return text_of(choice.name, 12) if choice.name == "grammar" else "de"
    assert choice.low is not None and choice.high is not None
    return choice.kind(choice.low if choice.high == choice.default else choice.high)


def text_of(name: str, length: int) -> str:
    """A text of so many characters that may be chosen."""
    return f'root ::= "{"x" * (length - 11)}"' if name == "grammar" else "x" * length


def refused(values: dict[str, Any], name: str, why: str | None = None, **more: Any) -> None:
    with pytest.raises(BadOption, match=why) as error:
        read(values, "transcribe", **more)
    assert error.value.text.startswith(f"transcribe: {name} ")
    assert error.value.name == name


# --- of JSON --------------------------------------------------------------------------------------------------


def test_nothing_chosen_is_the_default() -> None:
    assert read({}) == Options() == read_texts({})


def test_names_that_are_no_choice_are_ignored() -> None:
    assert read({"best_off": 3, "live": {"known": 1}, "hotword": 7}) == Options()


def test_every_choice_is_documented_and_has_what_its_check_needs() -> None:
    for choice in CHOICES.values():
        assert choice.doc
        if choice.kind in (int, float):
            assert choice.low is not None and choice.high is not None and choice.low < choice.high
        if choice.kind is str:
            assert choice.longest


@pytest.mark.parametrize("name", ALL)
def test_a_value_is_kept_in_its_own_type(name: str) -> None:
    choice = CHOICES[name]
    value = value_of(choice)
    found = getattr(read({name: [value] if choice.many else value}), name)
    assert found == ((value,) if choice.many else value)
    assert type(found[0] if choice.many else found) is choice.kind


@pytest.mark.parametrize("name", ALL)
def test_null_is_the_default_or_a_value_of_its_own(name: str) -> None:
    found = getattr(read({name: None}), name)
    assert found is None if CHOICES[name].nullable else found == CHOICES[name].default


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_at_their_bounds_and_one_step_beyond(name: str) -> None:
    choice = CHOICES[name]
    assert choice.low is not None and choice.high is not None
    whole = choice.kind is int
    below = choice.low - 1 if whole else math.nextafter(choice.low, -math.inf)
    above = choice.high + 1 if whole else math.nextafter(choice.high, math.inf)
    for good in (choice.low, choice.high):
        found = getattr(read({name: choice.kind(good)}), name)
        assert found == ((good,) if choice.many else good)
    for bad in (below, above, 10**400, -(10**400)):
        refused({name: int(bad) if whole else bad}, name, "is not in the range")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number(name: str, bad: float) -> None:
    refused({name: bad}, name)


@pytest.mark.parametrize("name", ALL)
def test_wrong_types(name: str) -> None:
    choice = CHOICES[name]
    wrong: list[Any] = [{}, {"a": 1}, [[1]], b"x", object()]
    wrong += {
        bool: [0, 1, "true", 1.0],
        int: [True, False, 1.0, "1", "x"],
        float: [True, "0.5"],
        str: [True, 1, 1.5],
    }[choice.kind]
    if not choice.many:
        wrong += [[], [value_of(choice)]]
    for value in wrong:
        refused({name: value}, name, "must be")
        if choice.many:
            refused({name: [value_of(choice), value]}, name, "must be")


def test_a_whole_number_is_a_number() -> None:
    patience = read({"patience": 2}).patience
    assert (patience, type(patience)) == (2.0, float)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_at_their_longest_and_what_no_text_holds(name: str) -> None:
    choice = CHOICES[name]
    assert read({name: text_of(name, choice.longest)}) != Options()
    refused({name: "x" * (choice.longest + 1)}, name, f"is {choice.longest + 1} characters long")
    refused({name: "a\0b"}, name, "holds a NUL")
    refused({name: "a\ud800"}, name, "half of a character")


@pytest.mark.parametrize("name", LISTS)
def test_lists_at_their_bounds_and_one_item_for_a_list(name: str) -> None:
    choice = CHOICES[name]
    if name == "clip_timestamps":  # which must rise
        items: list[Any] = [float(n) for n in range(choice.many + 1)]
    else:
        items = [value_of(choice)] * (choice.many + 1)
    assert getattr(read({name: items[:-1]}), name) == tuple(items[:-1])
    assert getattr(read({name: tuple(items[:2])}), name) == tuple(items[:2])
    refused({name: items}, name, f"must be a list of .*{choice.many}, not of {choice.many + 1}")
    assert getattr(read({name: items[0]}), name) == (items[0],)


def test_a_list_of_nothing() -> None:
    assert read({"hotwords": []}).hotwords == ()
    assert read({"clip_timestamps": []}).clip_timestamps == ()
    # For faster-whisper an empty list and none are the same: nothing is suppressed.
    assert read({"suppress_tokens": []}).suppress_tokens == ()
    refused({"temperature": []}, "temperature", "list of 1 to 8, not of 0")


def test_times_of_a_clip_rise() -> None:
    assert read({"clip_timestamps": [0, 1.5, 2]}).clip_timestamps == (0.0, 1.5, 2.0)
    refused({"clip_timestamps": [1.0, 1.0]}, "clip_timestamps", "must rise")
    refused({"clip_timestamps": [1.0, 2.0, 0.5]}, "clip_timestamps", "must rise")
    with pytest.raises(BadOption, match="^clip_timestamps must rise"):
        read_texts({"clip_timestamps": "2,1"})


@pytest.mark.parametrize(
    ("told", "language"),
    [
        ("pt_BR", "pt"),
        ("en-GB", "en"),
        ("zh-Hant-TW", "zh"),
        ("DE", "de"),
        ("auto", "auto"),
        ("haw", "haw"),
        ("", ""),
    ],
)
def test_a_language_has_no_region(told: str, language: str) -> None:
    assert read({"language": told}).language == language
    assert (read_texts({"language": told}).language or "") == language


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_for_live_speech(name: str) -> None:
    choice = CHOICES[name]
    value = value_of(choice)
    told = {name: [value] if choice.many else value}
    if choice.live:
        assert read(told, "listen", live=True) == read(told, "listen")
    else:
        refused(told, name, "cannot be chosen for live speech", live=True)
    # To say what is the case anyway is no choice.
    default = list(choice.default) if choice.many and choice.default is not None else choice.default
    assert read({name: default}, "listen", live=True) == Options()


def test_a_grammar_that_is_none() -> None:
    refused({"grammar": 'root ::= "a'}, "grammar", "cannot be read: line 1: a quotation mark is not closed")
    refused({"grammar": 'a ::= "a"'}, "grammar", "cannot be read: has no rule 'root'")
    assert read({"grammar": 'a ::= "a"', "grammar_rule": "a"}).grammar_rule == "a"
    with pytest.raises(BadOption, match="^grammar cannot be read: line 2: there is no rule 'b'"):
        read_texts({"grammar": "root ::=\n b"})
    # None at all.
    assert read({"grammar": "", "grammar_rule": "a"}).grammar == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**400)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=120),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(ALL), JSON, max_size=3), st.booleans())
def test_anything_is_either_options_or_refused_by_name(values: dict[str, Any], live: bool) -> None:
    try:
        options = read(values, "transcribe", live=live)
    except BadOption as error:
        assert error.name in (ALL if live else values)
        assert error.text.startswith(f"transcribe: {error.name} ")
        assert len(error.text) < 300
        return
    for name, choice in CHOICES.items():
        value = getattr(options, name)
        items = value if choice.many and value is not None else [value]
        for item in items:
            if item is None:
                assert choice.nullable
                continue
            assert type(item) is choice.kind
            if choice.low is not None and choice.high is not None:
                assert choice.low <= item <= choice.high
            if isinstance(item, str):
                item.encode()
                assert len(item) <= choice.longest


@given(st.dictionaries(st.sampled_from(ALL), st.text(max_size=30), max_size=3))
def test_any_texts_are_either_options_or_refused_by_name(values: dict[str, str]) -> None:
    try:
        options = read_texts(values, "form")
    except BadOption as error:
        assert error.name in values
        assert error.text.startswith(f"form: {error.name} ")
        return
    assert isinstance(options, Options)


# --- of texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0,0.2", (0.0, 0.2)),
        ("temperature", " 0 , 1 ", (0.0, 1.0)),
        ("hotwords", "Ada, Charles Babbage", ("Ada", "Charles Babbage")),
        ("hotwords", "", ()),
        ("suppress_tokens", "-1,7", (-1, 7)),
        ("suppress_tokens", "", ()),
        ("word_timestamps", "true", True),
        ("word_timestamps", "No", False),
        ("word_timestamps", "1", True),
        ("without_timestamps", "", None),
        ("beam_size", "5", 5),
        ("beam_size", "", 1),
        ("patience", "2", 2.0),
        ("log_prob_threshold", "", None),
        ("initial_prompt", "", None),
        ("initial_prompt", "a, b", "a, b"),
        ("append_punctuations", "", ""),
        ("max_new_tokens", "", None),
    ],
)
def test_texts(name: str, text: str, value: Any) -> None:
    assert getattr(read_texts({name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("beam_size", "two", "must be a whole number, not 'two'"),
        ("beam_size", "2.0", "must be a whole number, not '2.0'"),
        ("beam_size", "9", "9 is not in the range 1 to 8"),
        ("patience", "nan", "nan is not in the range 0.1 to 4"),
        ("patience", "1e400", "inf is not in the range"),
        ("temperature", "", "must be a list of 1 to 8, not of 0"),
        ("temperature", "0,,1", "must be a number, not ''"),
        ("word_timestamps", "maybe", "must be true or false, not 'maybe'"),
        ("max_initial_timestamp", "31", "31.0 is not in the range 0 to 30 s"),
        ("hotwords", "x" * 101, "is 101 characters long, 100 is the most"),
    ],
)
def test_texts_that_are_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(BadOption) as error:
        read_texts({name: text})
    assert error.value.text.startswith(f"{name} {why}")


# --- as a schema ----------------------------------------------------------------------------------------------


def json_schema(choice: Choice) -> dict[str, Any]:
    """OpenAPI's `nullable` in JSON Schema's own words."""
    schema = choice.schema()
    nullable = schema.pop("nullable", False)
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


@pytest.mark.parametrize("name", ALL)
def test_a_schema_is_one_and_takes_what_may_be_chosen(name: str) -> None:
    choice = CHOICES[name]
    schema = json_schema(choice)
    json.dumps(choice.schema(), allow_nan=False)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(choice.schema()["default"])
    value = value_of(choice)
    validator.validate([value] if choice.many else value)
    if choice.high is not None:
        for beyond in (choice.high + 1, (choice.low or 0) - 1):
            with pytest.raises(ValidationError):
                validator.validate([beyond] if choice.many else beyond)
    if choice.longest:
        with pytest.raises(ValidationError):
            validator.validate(["x" * (choice.longest + 1)] if choice.many else "x" * (choice.longest + 1))
    with pytest.raises(ValidationError):
        validator.validate({})


# --- on the wire ----------------------------------------------------------------------------------------------

MODEL = ModelInfo("base", ("en", "de"), "en", ("en", "de"), True, "int8", "", "")


def hotwords(extended: bool = True, kind: str = "transcribe", **data: Any) -> tuple[str, ...]:
    return read_transcribe(Event(kind, data), MODEL, extended=extended).options.hotwords


@pytest.mark.parametrize("extended", [False, True])
def test_wyoming_s_names_and_terms_are_hot_words(extended: bool) -> None:
    assert hotwords(extended, transcript_names=["Ada"]) == ("Ada",)
    assert hotwords(extended, transcript_terms=["kettle", "Lamp"]) == ("kettle", "Lamp")
    assert hotwords(extended, transcript_terms=["kettle"], transcript_names=["Ada", "Bob"]) == (
        "Ada",
        "Bob",
        "kettle",
    )
    assert hotwords(extended, transcript_terms=None, transcript_names=[]) == ()
    assert hotwords(extended) == ()


def test_own_hot_words_go_before_wyoming_s_and_only_after_hello() -> None:
    both = {"hotwords": ["clubs"], "transcript_names": ["Ada"]}
    assert hotwords(**both) == ("clubs", "Ada")
    assert hotwords(False, **both) == ("Ada",)
    assert hotwords(hotwords="clubs", transcript_terms=["x"]) == ("clubs", "x")
    assert hotwords(hotwords=None, transcript_terms=["x"]) == ("x",)
    assert hotwords(kind="listen", **both) == ("clubs", "Ada")


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("name", ["transcript_names", "transcript_terms"])
@pytest.mark.parametrize("wrong", ["Ada", 7, True, {}, [1], ["Ada", None], [["Ada"]]])
def test_wyoming_s_lists_are_lists_of_texts(extended: bool, name: str, wrong: Any) -> None:
    with pytest.raises(BadEvent, match=f"^transcribe: {name} must be a list of texts"):
        hotwords(extended, **{name: wrong})


def test_wyoming_s_lists_may_be_longer_than_ours() -> None:
    """Who has not said hello does not know our bounds, and its clip is not refused for a hint too many."""
    names = [f"name {n}" for n in range(300)]
    assert hotwords(False, transcript_names=names) == tuple(names[:200])
    assert hotwords(False, transcript_names=["x" * 101, "Ada"]) == ("Ada",)
    with pytest.raises(BadOption, match="hotwords must be a list of up to 200, not of 300"):
        hotwords(True, hotwords=names)
    assert hotwords(True, hotwords=["clubs"], transcript_names=names)[:2] == ("clubs", "name 0")


@pytest.mark.parametrize("wrong", [7, True, {}, [7], ["a", None]])
def test_own_hot_words_are_texts(wrong: Any) -> None:
    with pytest.raises(BadOption, match="hotwords must be a text") as error:
        hotwords(hotwords=wrong, transcript_names=["Ada"])
    assert error.value.name == "hotwords"


def test_of_an_older_client_only_wyoming_s_fields_count() -> None:
    data = {"language": "de", "beam_size": 99, "task": 7, "live": "x", "priority": "never", "id": 7}
    request = read_transcribe(Event("transcribe", data), MODEL, extended=False)
    assert request.options == Options("de")
    assert (request.id, request.live, request.priority) == (None, None, Priority.FINAL)


def test_what_is_asked_for_after_hello() -> None:
    data = {"id": "a", "language": "de-AT", "beam_size": 5, "temperature": 0.5, "priority": "file", "unknown": 1}
    request = read_transcribe(Event("transcribe", data), MODEL, extended=True)
    assert request.options == Options("de", beam_size=5, temperature=(0.5,))
    assert (request.id, request.live, request.priority) == ("a", None, Priority.FILE)
    with pytest.raises(BadOption, match="^transcribe: beam_size 9 is not in the range 1 to 8"):
        read_transcribe(Event("transcribe", {"beam_size": 9}), MODEL, extended=True)
    with pytest.raises(UnknownModel):
        read_transcribe(Event("transcribe", {"name": "large", "beam_size": 9}), MODEL, extended=True)


@pytest.mark.parametrize(
    "event", [Event("listen", {}), Event("transcribe", {"live": True, "mode": "push-to-talk"})]
)
def test_live_speech_refuses_what_is_not_for_it(event: Event) -> None:
    good = {**event.data, "initial_prompt": "x" * MAX_PROMPT_CHARS, "word_timestamps": True}
    request = read_transcribe(Event(event.type, good), MODEL, extended=True)
    assert request.live is (Mode.PUSH_TO_TALK if "mode" in event.data else Mode.HANDS_FREE)
    with pytest.raises(BadOption, match=f"^{event.type}: beam_size cannot be chosen for live speech"):
        read_transcribe(Event(event.type, {**event.data, "beam_size": 2}), MODEL, extended=True)
