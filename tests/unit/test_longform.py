"""A clip through its windows: what is gone back to, passed over and kept. The decoder hears what it is told to.

The features of a window are replaced by its place in the clip, so that what decodes it knows where it is.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisperd.errors import Cancelled
from whisperd.speech import confidence, guards
from whisperd.speech.attempts import Ask, Found, Stopwatch, Window
from whisperd.speech.coverage import LEAST_ADVANCE_S
from whisperd.speech.decoding import Decoded
from whisperd.speech.features import SAMPLE_RATE, LogMel
from whisperd.speech.longform import Clip, LongForm, ranges
from whisperd.speech.options import Options
from whisperd.speech.prompting import Prompts
from whisperd.speech.types import NO_VOICE, Control, Unattended
from whisperd.speech.words import Timed

BEGIN = 10_000
"""Tokens below are text, from here on times."""


def at(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE


class Place:
    """In place of a mel spectrum: where in its clip a stretch of samples lies."""

    def __init__(self, pcm: np.ndarray) -> None:
        self.origin = pcm.__array_interface__["data"][0]

    def of(self, part: np.ndarray) -> tuple[int, int]:
        start = (part.__array_interface__["data"][0] - self.origin) // 2
        return start, start + len(part)

    def __call__(self, part: np.ndarray) -> np.ndarray:
        return np.array([self.of(part)], np.float64)


DEFAULT = Options()
Answer = Callable[[float, float, Ask], "tuple[int, ...] | Found"]
"""What is decoded from a start to an end, in seconds of the clip: tokens, times among them."""


@dataclass
class Scripted:
    """In place of `Attempts`."""

    answer: Answer
    align: Callable[[float, float, Sequence[int]], tuple[Timed, ...]] | None = None
    timestamp_begin: int = BEGIN
    asked: list[tuple[float, float, Ask]] = field(default_factory=list)

    def window(self, log_mel: np.ndarray, seconds: float) -> Window:
        return Window(log_mel, 100, seconds)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(f" {token}" for token in tokens)

    def find(self, window: Window, ask: Ask, *, full: bool = False) -> Found:
        start, end = (seconds(int(place)) for place in window.mel[0]) if window.mel.shape == (1, 2) else (0.0, 0.0)
        self.asked.append((start, end, ask))
        answer = self.answer(start, end, ask)
        if isinstance(answer, Found):
            return answer
        found = self.found(answer, ask)
        said = self.align(start, end, found.tokens) if ask.align and self.align else ()
        return replace(found, words=said)

    def found(self, sequence: Sequence[int], ask: Ask, **more: Any) -> Found:
        tokens = tuple(token for token in sequence if token < BEGIN)
        decoded = Decoded(
            tokens, -0.2, 0.1, True, (-0.2,) * len(tokens), None, tuple(sequence), more.pop("temperature", 0.0)
        )
        return Found(decoded, tokens, self.text(tokens), 0, **{"language": ask.language, **more})


WORD_S = 0.4
"""How long each word of a `Talk` is."""
MOST_WORDS = 50


@dataclass
class Talk:
    """A clip with sentences, and the voice in it. The k-th word of the n-th sentence is the token 50 n + k.

    Attributes:
        sentences: start in seconds, and number of words, in order.
        swallows: whether a word's time reaches over what was passed over, as it does with the real thing.
    """

    sentences: list[tuple[float, int]]
    length_s: float
    swallows: bool = False
    pcm: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.words = {
            MOST_WORDS * n + k: (start + k * WORD_S, start + (k + 1) * WORD_S)
            for n, (start, count) in enumerate(self.sentences)
            for k in range(count)
        }
        self.pcm = np.zeros(round(self.length_s * SAMPLE_RATE), np.int16)
        for start, end in self.words.values():
            self.pcm[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1000
        self.place = Place(self.pcm)

    # The voice detector.

    def stretch(self, part: np.ndarray, control: Control) -> tuple[float, float]:
        if len(part) == 0:
            return 0.0, 0.0
        start, end = map(seconds, self.place.of(part))
        within = [(max(start, s), min(end, e)) for s, e in self.words.values() if s < end and e > start]
        voiced = sum(e - s for s, e in within)
        return (within[0][0] - start, voiced) if voiced > 0.1 else (0.0, 0.0)

    def voiced(self, part: np.ndarray, control: Control) -> float:
        return self.stretch(part, control)[1]

    def heard(self, part: np.ndarray, control: Control) -> bool:
        return self.voiced(part, control) > 0.0

    def ends_in_voice(self, part: np.ndarray, control: Control) -> bool:
        return bool(part[-1600:].min() > 0)

    # A decoder without faults, and one that aligns.

    def audible(self, start: float, end: float) -> dict[int, list[int]]:
        """The words of which at least half lies in a window, by sentence."""
        found: dict[int, list[int]] = {}
        for token, (s, e) in self.words.items():
            if min(end, e) - max(start, s) >= 0.5 * WORD_S - 1e-6:
                found.setdefault(token // MOST_WORDS, []).append(token)
        return found

    def heard_right(self, start: float, end: float, ask: Ask) -> tuple[int, ...]:
        return tuple(
            token
            for sentence in self.audible(start, end).values()
            for token in self.told(sentence, start, end, ask)
        )

    def told(self, sentence: list[int], start: float, end: float, ask: Ask) -> tuple[int, ...]:
        """One sentence, between its times if there are to be some."""
        if not ask.timestamps:
            return tuple(sentence)
        first, last = self.words[sentence[0]][0] - start, self.words[sentence[-1]][1] - start
        return (at(max(0.0, first)), *sentence, at(min(end - start, last)))

    def align(self, start: float, end: float, tokens: Sequence[int]) -> tuple[Timed, ...]:
        found: list[Timed] = []
        for token in tokens:
            s, e = self.words[token]
            before = found[-1].end_s if found else 0.0
            begin = before if self.swallows else max(before, s - start)
            found.append(Timed(f" {token}", (token,), begin, max(begin, min(end, e) - start), (-0.2,)))
        return tuple(found)

    def decode(
        self, answer: Answer, options: Options = DEFAULT, control: Control | None = None, **more: Any
    ) -> tuple[Clip, Scripted]:
        scripted = Scripted(answer, self.align)
        voice = more.pop("voice", self)
        allowed = more.pop("allowed", ("en", "de"))
        long_form = LongForm(scripted, self.place, voice, allowed, lambda: None)  # type: ignore[arg-type]
        prompts = Prompts(Letters(), options, 448)  # type: ignore[arg-type]
        language = more.pop("language", "en")
        clip = long_form.decode(
            self.pcm, options, language, prompts, control or Unattended(), Stopwatch(), full=False
        )
        return clip, scripted


class Letters:
    """A tokenizer with a token for each character."""

    def encode(self, text: str) -> list[int]:
        return [5000 + ord(char) for char in text]


def tokens(clip: Clip) -> list[int]:
    return [token for segment in clip.segments for token in segment.tokens]


def regular(count: int, words: int = 7, pause_s: float = 1.0) -> Talk:
    step = words * WORD_S + pause_s
    return Talk([(0.5 + n * step, words) for n in range(count)], 0.5 + count * step)


# --- the usual way ------------------------------------------------------------------------------------------


def test_a_short_clip_is_one_window_without_times() -> None:
    talk = regular(7)
    clip, scripted = talk.decode(talk.heard_right)
    assert [(start, end) for start, end, _ in scripted.asked] == [(0.0, talk.length_s)]
    assert not scripted.asked[0][2].timestamps
    assert not scripted.asked[0][2].align
    assert tokens(clip) == list(talk.words)
    assert [(s.start_s, s.end_s) for s in clip.segments] == [(0.0, talk.length_s)]


@pytest.mark.parametrize(("without", "times"), [(None, True), (True, False), (False, True)])
def test_times_are_asked_for_as_wished(without: bool | None, times: bool) -> None:
    talk = regular(20)
    clip, scripted = talk.decode(talk.heard_right, Options(without_timestamps=without))
    assert {ask.timestamps for _, _, ask in scripted.asked} == {times}
    assert tokens(clip) == list(talk.words)
    assert len(clip.segments) == (20 if times else len(scripted.asked))
    assert not any(segment.words for segment in clip.segments)


def test_a_long_clip_is_cut_in_pauses_and_its_times_join() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(talk.heard_right, Options(word_timestamps=True))
    assert tokens(clip) == list(talk.words)
    words = [word for segment in clip.segments for word in segment.words]
    for word, (start, end) in zip(words, talk.words.values(), strict=True):
        assert (word.start_s, word.end_s) == (pytest.approx(start, abs=1e-6), pytest.approx(end, abs=1e-6))
    for segment, (start, count) in zip(clip.segments, talk.sentences, strict=True):
        assert segment.start_s == pytest.approx(start, abs=1e-6)
        assert segment.end_s == pytest.approx(start + count * WORD_S, abs=1e-6)
    for start, end, _ in scripted.asked:
        assert end - start <= 30.0
        assert not any(s < edge < e for s, e in talk.words.values() for edge in (start, end))
    assert all(after[0] == before[1] for before, after in itertools.pairwise(scripted.asked))


def test_stretches_without_a_voice_are_not_decoded() -> None:
    talk = Talk([(1.0, 7), (200.0, 7)], 260.0)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == list(talk.words)
    assert len(scripted.asked) == 2
    silent = Talk([], 70.0)
    clip, scripted = silent.decode(silent.heard_right)
    assert (clip.segments, clip.reason, scripted.asked) == ([], NO_VOICE, [])


def test_only_the_stretches_that_are_asked_for() -> None:
    talk = regular(20, words=5)  # each 3 s
    clip, scripted = talk.decode(talk.heard_right, Options(clip_timestamps=(3.2, 9.2, 30.2)))
    assert sorted({token // MOST_WORDS for token in tokens(clip)}) == [1, 2, *range(10, 20)]
    assert min(start for start, _, _ in scripted.asked) == 3.2
    assert clip.segments[0].start_s == pytest.approx(3.5, abs=0.011)


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ((), [(0, 160_000)]),
        ((1.0,), [(16_000, 160_000)]),
        ((1.0, 2.5), [(16_000, 40_000)]),
        ((0.0, 1.0, 9.0), [(0, 16_000), (144_000, 160_000)]),
        ((9.0, 20.0), [(144_000, 160_000)]),
        ((20.0, 30.0), [(160_000, 160_000)]),
        ((20.0,), [(160_000, 160_000)]),
    ],
)
def test_ranges(times: tuple[float, ...], found: list[tuple[int, int]]) -> None:
    assert ranges(times, 160_000) == found


# --- going back, and on -------------------------------------------------------------------------------------


def broken(talk: Talk, fault: Callable[[list[list[int]]], Sequence[Sequence[int]]]) -> Answer:
    """A decoder that makes something else of the first window's sentences, once."""
    times: list[float] = []

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        times.append(start)
        if len(times) > 1:
            return talk.heard_right(start, end, ask)
        made = fault(list(talk.audible(start, end).values()))
        return tuple(token for sentence in made for token in talk.told(list(sentence), start, end, ask))

    return answer


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("told", [1, 2, 4])
def test_what_is_passed_over_at_the_end_is_decoded_again(swallows: bool, told: int) -> None:
    talk = replace(regular(20), swallows=swallows)
    clip, scripted = talk.decode(broken(talk, lambda found: found[:told]))
    assert tokens(clip) == list(talk.words)
    assert scripted.asked[1][0] < scripted.asked[0][1]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_what_is_passed_over_in_between_is_decoded_again(missing: int) -> None:
    """The word behind it has swallowed it."""
    talk = replace(regular(20), swallows=True)
    clip, scripted = talk.decode(broken(talk, lambda found: [*found[:missing], *found[missing + 1 :]]))
    assert tokens(clip) == list(talk.words)
    assert scripted.asked[1][0] < scripted.asked[0][1]


def test_a_prefix_is_that_of_the_first_window_however_often_it_is_decoded() -> None:
    talk = replace(regular(20), swallows=True)
    clip, scripted = talk.decode(broken(talk, lambda found: found[1:]), Options(prefix="d"))
    assert [start for start, _, _ in scripted.asked[:3]] == [0.0, 0.0, scripted.asked[1][1]]
    assert [bool(ask.prefix) for _, _, ask in scripted.asked[:3]] == [True, True, False]
    assert tokens(clip) == list(talk.words)


def test_a_full_stop_that_has_swallowed_a_sentence_stands_with_its_word() -> None:
    """Who comes back to it hears only what it has swallowed."""
    talk = replace(regular(20), swallows=True)
    scripted = Scripted(talk.heard_right)

    def answer(start: float, end: float, ask: Ask) -> Found:
        found = scripted.found(talk.heard_right(start, end, ask), ask)
        said = talk.align(start, end, found.tokens)
        if start == 0.0:
            # The eighth is a mark that has swallowed the rest.
            found = scripted.found(found.decoded.sequence[:8] + (51, at(23)), ask)
            said = (*said[:7], Timed(",", (51,), said[6].end_s, 20.0, (-0.2,)))
        return replace(found, words=said)

    clip, _ = talk.decode(answer, Options(word_timestamps=True))
    first = clip.segments[0]
    assert first.tokens[-2:] == (6, 51)
    assert (first.words[-1].text, first.words[-1].tokens) == (" 6,", (6, 51))
    assert first.end_s < 5.0


def test_a_pause_is_not_decoded_again() -> None:
    talk = Talk([(0.5, 7), (40.0, 7)], 60.0, swallows=True)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == list(talk.words)
    assert len(scripted.asked) == 2


def test_a_word_at_the_edge_of_a_window_that_ends_within_speech_is_whole() -> None:
    """Nobody takes breath for a minute: windows end within words, which the decoder guesses."""
    talk = Talk([(0.0, 49), (19.6, 49), (39.2, 49)], 58.9)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == list(talk.words)
    assert len(scripted.asked) >= 3
    for start, _, _ in scripted.asked[1:]:
        assert not any(s + 1e-3 < start < e - 1e-3 for s, e in talk.words.values())


def test_a_first_sentence_that_is_very_short_does_not_cost_the_rest() -> None:
    """Nobody goes back to what lies within the first second, and yet nothing of the window is lost."""
    talk = Talk([(0.1, 1), (1.0, 9), *((6.0 + 4 * n, 7) for n in range(8))], 42.0)
    clip, scripted = talk.decode(broken(talk, lambda found: found[:1]))
    assert tokens(clip) == list(talk.words)
    assert scripted.asked[1][0] == LEAST_ADVANCE_S

    def broken_off(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        # A word, and then one segment that has no end.
        return (*found[:4], *(token for token in found[4:] if token < BEGIN)) if start == 0.0 else found

    for voice in (talk, None):
        clip, _ = talk.decode(broken_off, voice=voice)
        assert tokens(clip) == list(talk.words)


def test_a_text_without_an_end_does_not_come_twice() -> None:
    talk = regular(12)

    def no_end(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        # It begins at 1 s, which is as late as a first time may be.
        return (at(1.0), *(token for token in talk.heard_right(start, end, ask) if token < BEGIN))

    for voice in (talk, None):
        clip, _ = talk.decode(no_end, voice=voice)
        assert tokens(clip) == list(talk.words)


def test_without_a_voice_detector_the_decoder_s_times_alone_count() -> None:
    talk = regular(20)

    def breaks_off(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        return found[:-1] if sum(token >= BEGIN for token in found) > 2 else found

    clip, _ = talk.decode(breaks_off, voice=None)
    assert tokens(clip) == list(talk.words)


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    sentences, now = [], draw(st.sampled_from([0.0, 0.3, 1.7]))
    for _ in range(draw(st.integers(1, 20))):
        words = draw(st.integers(6, 15))
        sentences.append((now, words))
        now += words * WORD_S + draw(st.sampled_from([0.5, 1.0, 3.0, 9.0]))
    return Talk(sentences, max(31.0, now), draw(st.booleans()))


@given(talks(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_decoder_leaves_out_comes_later_and_nothing_twice(talk: Talk, data: st.DataObject) -> None:
    faulty: set[float] = set()

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = list(talk.audible(start, end).values())
        if start not in faulty and len(found) > 1 and ask.timestamps:
            faulty.add(start)  # whoever makes the same mistake again and again has the last word
            kind = data.draw(st.sampled_from(["right", "stops", "leaves out", "no end", "pair"]))
            place = data.draw(st.integers(1, len(found) - 1))
            if kind == "stops":
                found = found[:place]
            if kind == "leaves out" and talk.swallows and len(found[place]) >= 6:
                del found[place]
            told = tuple(token for sentence in found for token in talk.told(sentence, start, end, ask))
            if kind == "no end":
                return told[:-1]
            return (*told, told[-1]) if kind == "pair" else told
        return tuple(token for sentence in found for token in talk.told(sentence, start, end, ask))

    clip, scripted = talk.decode(answer, Options(word_timestamps=data.draw(st.booleans())))
    assert tokens(clip) == list(talk.words)
    assert len(scripted.asked) <= 2 * talk.length_s
    for before, after in itertools.pairwise(clip.segments):
        assert before.end_s <= after.start_s + 0.011
    assert clip.segments[-1].end_s <= talk.length_s + 1e-3
    for segment in clip.segments:
        assert "".join(word.text for word in segment.words) in ("", segment.text)


@st.composite
def anything(draw: st.DrawFn) -> tuple[int, ...]:
    """What no rules have seen."""
    return tuple(draw(st.lists(st.integers(0, 9) | st.integers(BEGIN, BEGIN + 1500), max_size=8)))


@given(st.data(), st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_never_stands_still(data: st.DataObject, with_voice: bool) -> None:
    talk = Talk([(5 * n, 12) for n in range(15)], 75.0)
    scripted = Scripted(lambda *_: ())

    def answer(start: float, end: float, ask: Ask) -> Found:
        found = scripted.found(data.draw(anything()), ask)
        times = sorted(data.draw(st.lists(st.floats(0, end - start), min_size=9, max_size=9)))
        pairs = itertools.pairwise(times)
        said = tuple(Timed(f" {t}", (t,), *next(pairs), (-1.0,)) for t in found.tokens)
        return replace(found, words=said)

    clip, asked = talk.decode(answer, voice=talk if with_voice else None)
    starts = [start for start, _, _ in asked.asked]
    assert len(starts) <= 2 * 76
    for before, after in itertools.pairwise(starts):
        # The same window comes twice at most, the second time shorter.
        assert after == before or after >= before + LEAST_ADVANCE_S - 1e-3
    assert all(starts.count(start) <= 2 for start in starts)
    for segment in clip.segments:
        assert 0.0 <= segment.start_s <= segment.end_s <= 75.0 + 1e-3


# --- what is kept and what is told --------------------------------------------------------------------------


def test_text_so_far_is_told_if_it_is_wished_for() -> None:
    talk = regular(40)
    _, plain = talk.decode(talk.heard_right)
    assert all(ask.previous == () for _, _, ask in plain.asked)
    _, conditioned = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    said = 0
    for start, end, ask in conditioned.asked:
        assert ask.previous == tuple(talk.words)[max(0, said - 223) : said]
        said += sum(map(len, talk.audible(start, end).values()))
    assert said == len(talk.words)


def test_text_that_needed_a_high_temperature_is_forgotten_and_what_stood_before_too() -> None:
    talk = regular(40)
    scripted = Scripted(talk.heard_right)

    def hot(start: float, end: float, ask: Ask) -> Found:
        temperature = 0.6 if 20 < start < 40 else 0.4
        return scripted.found(talk.heard_right(start, end, ask), ask, temperature=temperature)

    for reset, forgotten in ((0.5, True), (0.7, False)):
        told = Options(condition_on_previous_text=True, prompt_reset_on_temperature=reset)
        _, asked = talk.decode(hot, told)
        after = next(ask for start, _, ask in asked.asked if start >= 40)
        assert (after.previous == ()) == forgotten


def test_the_initial_prompt_and_hot_words_are_told_to_every_window_and_the_prefix_to_the_first() -> None:
    talk = regular(40)
    options = Options(initial_prompt="ab", hotwords=("c",), prefix="d")
    clip, scripted = talk.decode(talk.heard_right, options)
    letters = Letters().encode
    asks = [ask for _, _, ask in scripted.asked]
    assert all(ask.previous == tuple(letters(" c ab")) for ask in asks)
    assert asks[0].prefix == tuple(letters(" d"))
    assert all(ask.prefix == () for ask in asks[1:])


def test_a_prompt_does_not_grow_with_the_clip() -> None:
    talk = regular(100)
    _, scripted = talk.decode(talk.heard_right, Options(condition_on_previous_text=True, initial_prompt="x"))
    assert max(len(ask.previous) for _, _, ask in scripted.asked) == 223


def detects(talk: Talk, languages: dict[float, str], refused: set[float] = frozenset()) -> Answer:  # type: ignore[assignment]
    scripted = Scripted(talk.heard_right)

    def answer(start: float, end: float, ask: Ask) -> Found:
        if ask.language != "auto":
            return scripted.found(talk.heard_right(start, end, ask), ask)
        code = next(code for until, code in languages.items() if start < until)
        found = scripted.found(
            talk.heard_right(start, end, ask), ask, language=code, languages=((code, 0.8), ("fr", 0.2))
        )
        return Found(found.decoded, (), "", 0, code, found.languages) if start in refused else found

    return answer


def test_a_language_is_detected_once() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}), language="auto")
    assert [ask.language for _, _, ask in scripted.asked] == ["auto"] + ["de"] * (len(scripted.asked) - 1)
    assert (clip.language, clip.languages) == ("de", (("de", 0.8), ("fr", 0.2)))
    assert {ask.allowed for _, _, ask in scripted.asked} == {("en", "de")}


def test_or_anew_in_each_window() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}), Options(multilingual=True), language="auto")
    assert {ask.language for _, _, ask in scripted.asked} == {"auto"}
    assert clip.languages[0][0] == "de"  # of the first


def test_a_language_that_noise_was_taken_for_does_not_count() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(detects(talk, {1: "de", 999: "en"}, {0.0}), language="auto")
    assert [ask.language for _, _, ask in scripted.asked[:3]] == ["auto", "auto", "en"]
    assert (clip.language, clip.languages[0][0]) == ("en", "en")
    assert tokens(clip)[-1] == list(talk.words)[-1]


def test_a_given_language_is_not_detected() -> None:
    talk = regular(20)
    clip, scripted = talk.decode(detects(talk, {999: "de"}), language="en")
    assert {ask.language for _, _, ask in scripted.asked} == {"en"}
    assert clip.languages == ()


def test_refused_windows_have_no_text_and_the_rest_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = regular(20)
    monkeypatch.setattr(guards, "verdict", lambda decoded, text, *_: "doubtful" if text.startswith(" 0") else None)
    clip, scripted = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    first = len(talk.audible(*scripted.asked[0][:2]))
    assert tokens(clip) == [token for token in talk.words if token >= MOST_WORDS * first]
    assert scripted.asked[1][2].previous == ()
    assert clip.segments[0].start_s == pytest.approx(talk.sentences[first][0], abs=0.011)


def test_the_confidence_is_that_of_the_text_that_is_kept() -> None:
    talk = regular(20)
    clip, _ = talk.decode(broken(talk, lambda found: found[:2]))
    assert clip.tokens == len(tokens(clip))
    assert clip.confidence == pytest.approx(confidence.of_text(-0.2))
    assert Clip("en").confidence == 0.0


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancel_is_seen_before_each_window(steps: int) -> None:
    class Impatient(Unattended):
        left = steps

        def step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled("enough")

    talk = regular(40)
    scripted: list[float] = []

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        scripted.append(start)
        return talk.heard_right(start, end, ask)

    with pytest.raises(Cancelled):
        talk.decode(answer, control=Impatient())
    assert len(scripted) == steps


# --- memory -------------------------------------------------------------------------------------------------


def peak(minutes: int) -> float:
    """MB above the clip itself that a clip of a noise takes, with real features."""
    second = np.random.default_rng(1).normal(0, 3000, SAMPLE_RATE).astype(np.int16)
    second[: SAMPLE_RATE // 3] = 0
    pcm = np.tile(second, 60 * minutes)
    scripted = Scripted(lambda start, end, ask: (at(0), *range(1, 80), at(20)))
    options = Options(condition_on_previous_text=True)
    long_form = LongForm(scripted, LogMel(80), None, ("en",), scripted.asked.clear)  # type: ignore[arg-type]
    prompts = Prompts(Letters(), options, 448)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        clip = long_form.decode(pcm, options, "en", prompts, Unattended(), Stopwatch(), full=False)
        assert clip.segments[-1].end_s > 60 * minutes - 30
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_clip() -> None:
    short, hour = peak(2), peak(60)
    assert short < 30
    # An hour of text is some 12000 tokens in objects of Python; its features alone would be 115 MB.
    assert hour < short + 5
