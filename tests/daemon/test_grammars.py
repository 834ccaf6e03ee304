"""Grammars over the socket with the real engine: what is said is understood in them, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, pocketsphinx, words
from test_choices import card
from whisperd.audio.files import read_audio
from wire_talk import WireTalk

SAMPLE, COMMAND = (read_audio(clip.path, 60.0) for clip in COMMITTED)

ORDERS = """
root   ::= "Turn on the " device "." | "How long will it take to " ("drive" | "walk") " to the " place "?"
device ::= "air conditioning" | "radio" | "light"
place  ::= "air" ("port" | "field") (" in this " [a-z]+)?
"""
CARDS = """
root ::= card (", " card)* "."?
card ::= rank " of " suit
rank ::= "ace" | "two" | "three" | "four" | "five" | "six" | "seven" | "eight" | "nine" | "ten"
       | "jack" | "queen" | "king"
suit ::= "clubs" | "diamonds" | "hearts" | "spades"
"""


@pytest.fixture
def talk(daemon: DaemonProcess) -> Iterator[WireTalk]:
    with WireTalk(daemon) as connection:
        yield connection


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"beam_size": 5},
        {"without_timestamps": False},
        {"word_timestamps": True},
        {"grammar_penalty": 5.0},
        {"temperature": 0.4, "best_of": 3},
        {"prefix": "Turn"},
    ],
    ids=str,
)
def test_what_is_in_the_grammar_is_understood(talk: WireTalk, chosen: dict[str, Any]) -> None:
    kind, data = talk.ask(COMMAND, grammar=ORDERS, **chosen)
    assert (kind, data.get("text")) == ("transcript", "Turn on the air conditioning."), data
    assert data["confidence"] > 0.8
    if "prefix" not in chosen:
        assert words(talk.ask(SAMPLE, grammar=ORDERS, **chosen)[1]["text"]) == words(COMMITTED[0].text)


def test_a_grammar_chooses_between_what_sounds_alike(talk: WireTalk) -> None:
    said = {clip.name: clip.text for clip in pocketsphinx()}
    for name in ("001", "003", "005"):
        kind, data = talk.ask(card(name), grammar=CARDS)
        assert kind == "transcript", data
        assert words(data["text"]) == words(said[name])
    # Without it, digits, and "clubs" is "close".
    assert words(talk.ask(card("003"))[1]["text"]) != words(said["003"])


def test_what_is_in_no_grammar_is_not_understood_or_improbable(talk: WireTalk) -> None:
    for grammar in (CARDS, 'root ::= "Yes." | "No."'):
        kind, data = talk.ask(SAMPLE, grammar=grammar)
        assert kind == "no-speech" or data["confidence"] < 0.2, data


def test_a_small_penalty_lets_the_rest_through(talk: WireTalk) -> None:
    kind, data = talk.ask(COMMAND, grammar='root ::= "Yes." | "No."', grammar_penalty=0.0)
    assert (kind, data["text"]) == ("transcript", talk.ask(COMMAND)[1]["text"])


def test_what_cannot_be_followed_is_an_error_and_the_daemon_goes_on(talk: WireTalk) -> None:
    kind, data = talk.ask(COMMAND, grammar=ORDERS, prefix="Stop")
    assert (kind, data["code"]) == ("error", "bad-option")
    assert "grammar has no text that begins with the prefix" in data["text"]
    kind, data = talk.ask(COMMAND, grammar="root ::= " + "[a-z]?" * 1_200)
    assert (kind, data["code"]) == ("error", "bad-option")
    assert "too many ways" in data["text"]
    talk.send("transcribe", id="none", grammar='root ::= root "a"')
    data = talk.wait("error", when=lambda data: data.get("id") == "none")[1]
    assert data["code"] == "bad-option"
    assert data["text"] == "transcribe: grammar cannot be read: the rule 'root' begins with itself"
    assert talk.ask(COMMAND, grammar=ORDERS)[1]["text"] == "Turn on the air conditioning."
