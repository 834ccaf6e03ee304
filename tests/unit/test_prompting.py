"""What a decoding begins with: the room that each part has, and that the context is never exceeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import COMMITTED, words
from test_decoding import TOKENS
from whisperd.audio.files import read_audio
from whisperd.speech import guards
from whisperd.speech.options import (
    MAX_BEAM,
    MAX_HOTWORD_CHARS,
    MAX_HOTWORDS,
    MAX_PROMPT_CHARS,
    Options,
)
from whisperd.speech.prompting import Prompts, room, start
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import Unattended

CONTEXT, ROOM = 448, 223


class Letters:
    """A tokenizer with a token for each character."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return [ord(char) for char in text]


def prompts(**options: Any) -> Prompts:
    return Prompts(Letters(), Options(**options), CONTEXT)  # type: ignore[arg-type]


def text(tokens: tuple[int, ...]) -> str:
    return "".join(map(chr, tokens))


# --- the beginning ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "ids", "sot"),
    [
        ({}, (41, 42, 45, 49), 0),
        ({"timestamps": True}, (41, 42, 45), 0),
        ({"prefix": (7, 8)}, (41, 42, 45, 49, 7, 8), 0),
        # A prefix with times begins at the window's own beginning.
        ({"prefix": (7, 8), "timestamps": True}, (41, 42, 45, 50, 7, 8), 0),
        ({"previous": (1, 2, 3)}, (47, 1, 2, 3, 41, 42, 45, 49), 4),
        ({"previous": (1,), "prefix": (7,), "timestamps": True}, (47, 1, 41, 42, 45, 50, 7), 2),
    ],
)
def test_the_beginning(more: dict[str, Any], ids: tuple[int, ...], sot: int) -> None:
    begin = start(TOKENS, True, "en", "transcribe", **more)
    assert (begin.ids, begin.sot) == (ids, sot)
    assert begin.ids[begin.sot] == TOKENS.sot


def test_language_and_task() -> None:
    assert start(TOKENS, True, "de", "translate").ids == (41, 43, 44, 49)
    assert start(TOKENS, False, "en", "transcribe", previous=(1,)).ids == (47, 1, 41, 49)


# --- the room -----------------------------------------------------------------------------------------------


def test_the_room_is_the_reference_s() -> None:
    assert room(CONTEXT) == ROOM


def test_nothing_is_encoded_where_there_is_no_text() -> None:
    letters = Letters()
    for empty in (Options(), Options(initial_prompt="", prefix=" \n ", hotwords=("", " "))):
        prepared = Prompts(letters, empty, CONTEXT)  # type: ignore[arg-type]
        assert (prepared.previous(), prepared.prefix) == ((), ())
    assert letters.texts == []


def test_texts_are_as_within_a_text() -> None:
    found = prompts(
        initial_prompt="  Hello\n  Ada. ", prefix="So,\tthen", hotwords=(" Ada  Lovelace", "", "Babbage ")
    )
    assert text(found.previous()) == " Ada Lovelace, Babbage Hello Ada."
    assert text(found.prefix) == " So, then"


def test_hot_words_take_half_of_the_room_at_most() -> None:
    found = prompts(hotwords=("abc",) * 150, initial_prompt="x" * 500)
    assert len(found.previous()) == ROOM
    assert text(found.previous()[: ROOM // 2]) == (" " + "abc, " * 150)[: ROOM // 2]
    assert text(found.previous()[ROOM // 2 :]) == "x" * (ROOM - ROOM // 2)


def test_of_what_was_said_the_end_counts() -> None:
    found = prompts(initial_prompt="abc")
    assert text(found.previous()) == " abc"
    assert text(found.previous([ord("z")] * 10)) == " abc" + "z" * 10
    said = [ord("a") + n % 26 for n in range(1000)]
    assert list(found.previous(said)) == said[-ROOM:]
    assert list(prompts(initial_prompt="x" * 4000).previous()) == [ord("x")] * ROOM
    assert text(prompts(hotwords=("Ada",)).previous(said)) == " Ada" + text(tuple(said[-(ROOM - 4) :]))


def test_an_initial_prompt_that_is_carried_is_not_pushed_out() -> None:
    said = [ord("a") + n % 26 for n in range(1000)]
    found = prompts(initial_prompt="xyz", carry_initial_prompt=True)
    assert text(found.previous()) == " xyz"
    assert text(found.previous(said)) == " xyz" + text(tuple(said[-(ROOM - 4) :]))
    assert text(found.previous(said[:9])) == " xyz" + text(tuple(said[:9]))
    with_hot = prompts(initial_prompt="xyz", carry_initial_prompt=True, hotwords=("Ada",))
    assert text(with_hot.previous(said)) == " Ada xyz" + text(tuple(said[-(ROOM - 8) :]))
    # One that fills the room leaves none for what was said; its own end counts.
    full = prompts(initial_prompt="x" * 4000 + "end", carry_initial_prompt=True)
    assert text(full.previous(said)) == "x" * (ROOM - 3) + "end"


def test_of_a_prefix_the_beginning_counts_and_it_takes_the_room_of_the_rest() -> None:
    found = prompts(prefix="abcdefghij" * 400, initial_prompt="x" * 4000, hotwords=("y" * 99,) * 9)
    assert text(found.prefix) == (" " + "abcdefghij" * 400)[:ROOM]
    assert found.previous((), found.prefix) == ()
    short = prompts(prefix="a" * 99, initial_prompt="x" * 4000)
    assert len(short.previous((), short.prefix)) == ROOM - 100
    assert len(short.previous()) == ROOM  # of all windows but the first


@given(st.tuples(*[st.integers(0, 500)] * 4), st.booleans(), st.booleans(), st.booleans())
def test_half_of_the_context_is_left(
    lengths: tuple[int, int, int, int], timestamps: bool, first: bool, carry: bool
) -> None:
    initial, prefix, hot, said = lengths
    found = prompts(
        initial_prompt="i" * initial, prefix="p" * prefix, hotwords=("h" * hot,), carry_initial_prompt=carry
    )
    mine = found.prefix if first else ()
    previous = found.previous([ord("s")] * said, mine)
    begin = start(TOKENS, True, "en", "transcribe", timestamps=timestamps, previous=previous, prefix=mine)
    assert len(begin.ids) <= CONTEXT // 2 + 4
    assert begin.ids[begin.sot] == TOKENS.sot
    # What has room is not cut.
    if initial + 1 + prefix + 1 + hot + 1 + said <= ROOM // 2:
        wanted = (hot and hot + 1) + (initial and initial + 1) + said
        assert len(previous) == wanted


# --- over the real model ------------------------------------------------------------------------------------


class Hard:
    """Watches a model: no decoding may exceed its context, and what it was begun with is kept."""

    def __init__(self, engine: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
        self.longest = 0
        self.begins: list[list[int]] = []
        self.sizes: set[int] = set()
        real = engine._model.step_batch
        context = engine._model.manifest.dimensions.n_text_ctx

        def step_batch(hypothesis: Any, tokens: np.ndarray, *rest: Any) -> Any:
            if hypothesis.position == 0:
                self.begins.append(tokens[0].tolist())
            self.longest = max(self.longest, hypothesis.position + tokens.shape[1])
            self.sizes.add(len(tokens))
            assert self.longest <= context
            assert tokens.max() < engine._model.manifest.dimensions.n_vocab
            return real(hypothesis, tokens, *rest)

        monkeypatch.setattr(engine._model, "step_batch", step_batch)


@pytest.fixture(scope="module")
def engine(base: Path) -> Transcriber:
    return load(base, threads=2, language="en")


PCM = read_audio(COMMITTED[0].path, 60.0)
WIDE = "Wörter und Namen — 名前と言葉、 имена и слова. "


def everything(**more: Any) -> Options:
    """All that can be asked for at once, in letters that need many tokens."""
    long_text = (WIDE * 200)[:MAX_PROMPT_CHARS]
    told: dict[str, Any] = {
        "initial_prompt": long_text,
        "prefix": long_text,
        "hotwords": ((WIDE * 4)[:MAX_HOTWORD_CHARS],) * MAX_HOTWORDS,
        "word_timestamps": True,
        "max_new_tokens": 448,
        **more,
    }
    return Options(**told)


@pytest.mark.parametrize(
    "more",
    [
        {"beam_size": MAX_BEAM, "max_new_tokens": 60},
        {"beam_size": MAX_BEAM, "without_timestamps": False, "max_new_tokens": 40},
        {"beam_size": 1, "without_timestamps": False},
        {"temperature": (0.8,), "best_of": 8, "max_new_tokens": 60},
        {"initial_prompt": None, "hotwords": (), "beam_size": 1},
        {"prefix": None, "beam_size": 2, "without_timestamps": False},
    ],
    ids=str,
)
def test_the_context_is_never_exceeded(
    engine: Transcriber, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    hard = Hard(engine, monkeypatch)
    options = everything(**more)
    result = engine.transcribe(PCM, options, Unattended())
    assert 224 <= hard.longest <= 448
    assert len(hard.begins[0]) >= 224 if options.initial_prompt or options.prefix else True
    assert max(hard.sizes) == max(options.beam_size, options.best_of)
    for segment in result.segments:
        assert "".join(word.text for word in segment.words) == segment.text


def test_a_text_that_never_ends_fills_the_context_and_no_more(
    tiny_en: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last place: the model is asked for 448 tokens, with words' times, and cannot end."""
    engine = load(tiny_en, threads=2, language="en")
    hard = Hard(engine, monkeypatch)
    watched = engine._model.step_batch
    eot = engine._model.manifest.tokens.eot

    def endless(*arguments: Any) -> Any:
        logits = np.array(watched(*arguments))
        logits[..., eot] = -100.0
        return logits

    monkeypatch.setattr(engine._model, "step_batch", endless)
    monkeypatch.setattr(guards, "verdict", lambda *_: None)  # nobody said that
    for more in ({"beam_size": 2, "without_timestamps": False}, {"prefix": "How long will it"}):
        told: dict[str, Any] = {"max_new_tokens": 448, "word_timestamps": True, "no_repeat_ngram_size": 3, **more}
        hard.longest = 0
        result = engine.transcribe(PCM, Options(temperature=(0.0,), **told), Unattended())
        assert hard.longest == 448
        assert result.segments
        for segment in result.segments:
            assert "".join(word.text for word in segment.words) == segment.text


def test_what_was_said_before_is_read_and_a_prefix_is_text(
    engine: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = Hard(engine, monkeypatch)
    tokens = engine._model.manifest.tokens
    result = engine.transcribe(
        PCM, Options(initial_prompt="Traffic.", hotwords=("airport",), prefix="How long will it"), Unattended()
    )
    begin = hard.begins[0]
    assert begin[0] == tokens.sot_prev
    assert engine._attempts.text(begin) == " airport Traffic. How long will it"
    assert begin[begin.index(tokens.sot) :][:4] == [
        tokens.sot,
        tokens.languages["en"],
        tokens.transcribe,
        tokens.no_timestamps,
    ]
    assert words(result.text) == words(COMMITTED[0].text)


def test_a_prefix_stands_whatever_was_said(engine: Transcriber) -> None:
    text = engine.transcribe(PCM, Options(prefix="Wie lange"), Unattended()).text
    assert text.startswith("Wie lange")
