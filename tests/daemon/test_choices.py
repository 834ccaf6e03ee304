"""What can be chosen for a clip, over the socket with the real engine: it does what it says, or is refused."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rootfs
from daemon_process import DaemonProcess
from speech import COMMITTED, pocketsphinx, word_errors, words
from whisperd.audio.files import read_audio
from whisperd.speech.options import CHOICES, MAX_PROMPT_CHARS
from whisperd.speech.types import Int16Samples
from wire_talk import WireTalk

SAMPLE, COMMAND = (read_audio(clip.path, 60.0) for clip in COMMITTED)
GERMAN = "Guten Morgen. Ich heiße Peter und ich wohne in Berlin. Das Wetter ist heute sehr schön."


@pytest.fixture
def talk(daemon: DaemonProcess) -> Iterator[WireTalk]:
    with WireTalk(daemon) as connection:
        yield connection


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Two sentences by espeak-ng, and its skip is no small print."""
    if shutil.which("espeak-ng") is None:
        rootfs.skip(
            "tests/daemon/test_choices.py: other languages", "not installed: espeak-ng; .ci/run installs it"
        )
    path = tmp_path_factory.mktemp("german") / "german.wav"
    subprocess.run(["espeak-ng", "-v", "de", "-s", "140", "-w", path, GERMAN], check=True, timeout=60)
    return read_audio(path, 60.0)


def text_of(talk: WireTalk, pcm: np.ndarray, **chosen: Any) -> str:
    kind, data = talk.ask(pcm, **chosen)
    assert kind == "transcript", data
    return str(data["text"])


# --- languages and tasks ------------------------------------------------------------------------------------


def test_a_language_is_detected_among_all(talk: WireTalk, german: np.ndarray) -> None:
    for pcm, code in ((SAMPLE, "en"), (german, "de")):
        kind, data = talk.ask(pcm, language="auto")
        assert (kind, data["language"]) == ("transcript", code)
        assert len(data["languages"]) > 90
        assert list(data["languages"].values()) == sorted(data["languages"].values(), reverse=True)
        assert next(iter(data["languages"])) == code
        assert sum(data["languages"].values()) == pytest.approx(1.0, abs=0.05)  # rounded to three digits each


def test_or_among_those_that_are_allowed(base: Path, tmp_path: Path, german: np.ndarray) -> None:
    narrow = {"WHISPERD_MODEL_LANGUAGES": "en,fr,it", "WHISPERD_MODEL_LANGUAGE": "auto"}
    with DaemonProcess(base, tmp_path, narrow) as daemon, WireTalk(daemon) as talk:
        for pcm in (SAMPLE, german):
            # German that is taken for English is no text to be sure of: what is asked here is its language alone.
            kind, data = talk.ask(pcm, no_speech_threshold=1.0)
            assert kind == "transcript"
            assert set(data["languages"]) == {"en", "fr", "it"}
            assert data["language"] == max(data["languages"], key=data["languages"].get)
            assert sum(data["languages"].values()) == pytest.approx(1.0, abs=0.002)
        talk.send("transcribe", id="x", language="de")
        assert talk.wait("error")[1]["code"] == "unknown-language"
        assert "languages" not in talk.ask(SAMPLE, language="en")[1]


def test_translation_into_english(talk: WireTalk, german: np.ndarray) -> None:
    assert words(text_of(talk, german, language="de"))[:2] == ["guten", "morgen"]
    kind, data = talk.ask(german, language="de", task="translate")
    assert (kind, data["language"]) == ("transcript", "de")
    assert words(data["text"])[:2] == ["good", "morning"]


def test_a_region_is_no_part_of_a_language(talk: WireTalk) -> None:
    assert words(text_of(talk, COMMAND, language="en_GB")) == words(COMMITTED[1].text)


# --- what is to be expected ---------------------------------------------------------------------------------


def test_a_prompt_sets_the_style(talk: WireTalk) -> None:
    for pcm, clip in zip((SAMPLE, COMMAND), COMMITTED, strict=True):
        plain = text_of(talk, pcm)
        assert plain[0].isupper()
        assert plain[-1] in ".?"
        styled = text_of(talk, pcm, initial_prompt="hello there how are you")
        # The same words, once, and no capitals. ("Turn on" may be heard as "turning on".)
        assert styled == styled.lower()
        assert word_errors(clip.text, styled) <= 1


def card(name: str) -> Int16Samples:
    found = [clip for clip in pocketsphinx() if clip.name == name]
    if not found:
        pytest.skip("no recordings: Debian's pocketsphinx-testdata is not installed")
    return read_audio(found[0].path, 60.0)


def test_names_and_hot_words_change_the_spelling(talk: WireTalk) -> None:
    pcm = card("005")
    assert "clubs" not in words(text_of(talk, pcm))  # it hears "4 of close"
    for chosen in (
        {"hotwords": ["clubs", "four of clubs"]},
        {"transcript_terms": ["clubs", "four of clubs"]},
        {"transcript_names": ["clubs"], "transcript_terms": ["four of clubs"]},
    ):
        assert "clubs" in words(text_of(talk, pcm, **chosen)), chosen
    prompted = text_of(talk, card("002"), initial_prompt="Playing cards: ten of clubs, queen of hearts.")
    assert words(prompted)[-3:] == ["queen", "of", "clubs"]


def test_wyoming_s_terms_without_hello(daemon: DaemonProcess) -> None:
    pcm = card("005")
    with WireTalk(daemon, hello=False) as talk:
        talk.send("transcribe", transcript_terms=["clubs", "four of clubs"], hotwords=["hearts"])
        form = {"rate": 16_000, "width": 2, "channels": 1}
        talk.send("audio-start", **form)
        for start in range(0, len(pcm), 16_000):
            talk.send("audio-chunk", pcm[start : start + 16_000].tobytes(), **form)
        talk.send("audio-stop")
        assert "clubs" in words(talk.wait("transcript")[1]["text"])


def test_a_prefix_is_what_the_text_begins_with(talk: WireTalk) -> None:
    assert text_of(talk, SAMPLE, prefix="So how").startswith("So how long will it take")


# --- the search ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {"beam_size": 5},
        {"beam_size": 8, "patience": 2.0, "length_penalty": 0.5},
        {"temperature": 0.2},
        {"temperature": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "best_of": 5},
        {"temperature": 0.4, "best_of": 5},
        {"suppress_blank": False},
        {"suppress_tokens": []},
        {"suppress_tokens": None},
        {"without_timestamps": False},
        {"no_repeat_ngram_size": 3},
        {"no_speech_threshold": 0.6},
        {"compression_ratio_threshold": None, "log_prob_threshold": None},
        {"condition_on_previous_text": True, "multilingual": True, "language": "auto"},
        {"max_initial_timestamp": 0.0, "without_timestamps": False},
        {"max_new_tokens": 448, "initial_prompt": "Hello, Ada. " * (MAX_PROMPT_CHARS // 12)},
    ],
    ids=str,
)
def test_whatever_is_chosen_the_words_are_right(talk: WireTalk, chosen: dict[str, Any]) -> None:
    kind, data = talk.ask(SAMPLE, **chosen)
    assert kind == "transcript", data
    assert words(data["text"]) == words(COMMITTED[0].text)
    first = chosen.get("temperature", 0.0)
    assert data["segments"][0]["temperature"] == (first[0] if isinstance(first, list) else first)


def test_more_hypotheses_are_no_less_probable(talk: WireTalk) -> None:
    def means(**chosen: Any) -> list[float]:
        return [talk.ask(pcm, **chosen)[1]["segments"][0]["avg_logprob"] for pcm in (SAMPLE, COMMAND)]

    assert all(wide >= greedy - 0.01 for wide, greedy in zip(means(beam_size=5), means(), strict=True))


def test_suppressed_tokens_do_not_come(talk: WireTalk) -> None:
    assert " air " in text_of(talk, COMMAND)
    text = text_of(talk, COMMAND, suppress_tokens=[1988, 5774, -1])  # " air", " Air"
    assert "air" not in words(text)
    assert "conditioning" in text


def test_what_was_chosen_already_becomes_less_probable(talk: WireTalk) -> None:
    assert words(text_of(talk, SAMPLE)).count("to") == 2
    assert words(text_of(talk, SAMPLE, repetition_penalty=2.0)).count("to") == 1


def test_a_cap_is_a_wish(talk: WireTalk) -> None:
    kind, data = talk.ask(SAMPLE, max_new_tokens=4)
    assert (kind, data["text"], data["fallbacks"]) == ("transcript", "How long will it", 0)


def test_times_within_a_short_clip(talk: WireTalk) -> None:
    (whole,) = talk.ask(COMMAND)[1]["segments"]
    (told,) = talk.ask(COMMAND, without_timestamps=False)[1]["segments"]
    assert (whole["start"], whole["end"]) == (0.0, pytest.approx(len(COMMAND) / 16_000, abs=1e-3))
    assert 0.0 <= told["start"] < told["end"] < whole["end"] - 0.1


# --- what is refused ----------------------------------------------------------------------------------------


def beyond(name: str) -> Any:
    """A value that cannot be chosen."""
    choice = CHOICES[name]
    if choice.kind is str:
        return 7
    if choice.kind is bool:
        return "maybe"
    assert choice.high is not None
    return choice.high + 1


def test_a_bad_choice_is_refused_by_name_and_the_connection_goes_on(talk: WireTalk) -> None:
    bad = {name: beyond(name) for name in CHOICES} | {"temperature": [], "hotwords": ["x"] * 201}
    for count, (name, value) in enumerate(bad.items(), 1):
        talk.send("transcribe", id=name, **{name: value})
        data = talk.wait("error", count=count)[1]
        assert (data["code"], data["id"], data["retry"]) == ("bad-option", name, False), data
        assert data["text"].startswith(f"transcribe: {name} ")
    assert words(text_of(talk, COMMAND)) == words(COMMITTED[1].text)


@pytest.mark.parametrize(
    ("chosen", "code", "why"),
    [
        ({"suppress_tokens": [60_000]}, "bad-option", "base has 51865 tokens, none is 60000"),
        ({"clip_timestamps": [2, 1]}, "bad-option", "must rise"),
        (
            {"grammar": 'root ::= "a'},
            "bad-option",
            "grammar cannot be read: line 1: a quotation mark is not closed",
        ),
        ({"beam_size": 10**40}, "bad-option", "not in the range 1 to 8"),
        ({"language": "xx"}, "unknown-language", "'xx'"),
        ({"task": "sing"}, "unknown-task", "'sing'"),
        ({"transcript_names": "Ada"}, "bad-event", "transcript_names must be a list of texts"),
    ],
    ids=str,
)
def test_what_the_model_cannot(talk: WireTalk, chosen: dict[str, Any], code: str, why: str) -> None:
    talk.send("transcribe", id="x", **chosen)
    data = talk.wait("error")[1]
    assert (data["code"], data["id"]) == (code, "x"), data
    assert why in data["text"]
    assert words(text_of(talk, COMMAND)) == words(COMMITTED[1].text)


@pytest.mark.parametrize("name", sorted(name for name, choice in CHOICES.items() if not choice.live))
def test_live_speech_refuses_what_is_not_for_it(talk: WireTalk, name: str) -> None:
    choice = CHOICES[name]
    value: Any = not choice.default if choice.kind is bool else choice.high if choice.kind is not str else "x"
    if name.startswith("grammar"):
        value = {"grammar": 'root ::= "x"', "grammar_rule": "x", "grammar_penalty": 1}[name]
    for event, more in (("transcribe", {"live": True}), ("listen", {})):
        talk.send(event, id=event, **more, **{name: [value] if choice.many else value})
        data = talk.wait("error", when=lambda data: data.get("id") == event)[1]  # noqa: B023
        assert data["code"] == "bad-option"
        assert data["text"] == f"{event}: {name} cannot be chosen for live speech"
    assert words(text_of(talk, COMMAND)) == words(COMMITTED[1].text)
