"""docs/protocol.md says what is declared: the options of a clip, the error codes, the fields of an answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import FakeEngine
from whisperd import errors, protocol
from whisperd.protocol import Outcome, Request
from whisperd.speech.choice import Choice
from whisperd.speech.options import CHOICES, Options
from whisperd.speech.types import Segment, Timings, Transcription, Word
from whisperd.wire import Event

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@pytest.fixture(scope="module")
def page() -> str:
    if not DOCS.is_file():
        pytest.skip("no docs here")
    return DOCS.read_text(encoding="utf-8")


def row(choice: Choice) -> str:
    """The line of the table that tells of an option."""
    kind = TYPES[choice.kind]
    if choice.many:
        kind = f"list of at most {choice.many} {kind}s"
    if choice.low is not None and choice.high is not None:
        kind += f", {choice.low:g} to {choice.high:g}" + (f" {choice.unit}" if choice.unit else "")
    if choice.longest:
        kind += f", at most {choice.longest} characters"
    if choice.nullable:
        kind += ", or null"
    live = "yes" if choice.live else ""
    return f"| `{choice.name}` | {kind} | {default(choice.default)} | {live} | {choice.doc} |"


def default(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{item:g}' for item in value)}]`"
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def test_the_table_of_options_is_what_is_declared(page: str) -> None:
    table = "\n".join(
        ["| option | type | default | live | meaning |", "|---|---|---|---|---|", *map(row, CHOICES.values())]
    )
    assert table in page, f"in docs/protocol.md should stand:\n\n{table}\n"


def test_every_error_that_can_leave_the_daemon_is_explained(page: str) -> None:
    explained = page.partition("## Errors")[2].partition("## Limits")[0]
    codes = set(re.findall(r"^\| (`.*?) \|", explained, re.MULTILINE))
    told = {code for cell in codes for code in re.findall("`([a-z-]+)`", cell)}
    ours = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
    # What is an answer of its own, and what ends the daemon before anybody can ask.
    assert told == ours - {"cancelled", "bad-config", "no-room", "bad-bundle"}


def test_every_field_of_an_answer_is_explained(page: str) -> None:
    words = (Word(0.0, 1.0, " a", (1,), 0.5, 0.5),)
    segment = Segment(0.0, 1.0, " a", (1,), -0.1, 0.0, words=words)
    result = Transcription("a", "en", 1.0, (segment,), Timings(1, 2, 3), languages=(("en", 1.0),))
    request = Request(options=Options(word_timestamps=True))
    event = protocol.answer_to_clip(Outcome(result, 0.0, 1.0), result, request)
    sent = page.partition("## What the daemon sends")[2].partition("## States")[0]
    (found,) = event.data["segments"]
    (word,) = found["words"]
    for name in (*event.data, *found, *word):
        assert f"`{name}`" in sent, name


def test_lists_of_words_that_wyoming_has_are_explained(page: str) -> None:
    asked = page.partition("## What a client sends")[2].partition("## What the daemon sends")[0]
    for name in ("transcript_names", "transcript_terms"):
        assert f"`{name}`" in asked
        request = protocol.read_transcribe(Event("transcribe", {name: ["Zoë"]}), FakeEngine().info, extended=False)
        assert request.options.hotwords == ("Zoë",)
