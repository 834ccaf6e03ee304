"""A clip through its windows: what is gone back to, passed over and kept. The decoder hears what it is told to.

The features of a window are replaced by its place in the clip, so that what decodes it knows where it is.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisperd.errors import Cancelled
from whisperd.speech import confidence, guards
from whisperd.speech.attempts import Ask, Found, Stopwatch, Window
from whisperd.speech.decoding import Decoded
from whisperd.speech.features import SAMPLE_RATE, LogMel
from whisperd.speech.longform import LEAST_ADVANCE_S, Clip, LongForm, ranges
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
        return answer if isinstance(answer, Found) else self.found(answer, ask)

    def found(self, sequence: Sequence[int], ask: Ask, **more: Any) -> Found:
        tokens = tuple(token for token in sequence if token < BEGIN)
        decoded = Decoded(
            tokens, -0.2, 0.1, True, (-0.2,) * len(tokens), None, tuple(sequence), more.pop("temperature", 0.0)
        )
        return Found(decoded, tokens, self.text(tokens), 0, **{"language": ask.language, **more})


@dataclass
class Talk:
    """A clip with sentences, each of which is one token, and the voice in it.

    Attributes:
        sentences: start and end in seconds, in order; the n-th is the token n.
    """

    sentences: list[tuple[float, float]]
    length_s: float
    pcm: np.ndarray = field(init=False)
    voice_asked: int = 0

    def __post_init__(self) -> None:
        self.pcm = np.zeros(round(self.length_s * SAMPLE_RATE), np.int16)
        for start, end in self.sentences:
            self.pcm[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1000
        self.place = Place(self.pcm)

    def voiced(self, part: np.ndarray, control: Control) -> float:
        self.voice_asked += 1
        start, end = map(seconds, self.place.of(part))
        return sum(max(0.0, min(end, e) - max(start, s)) for s, e in self.sentences)

    def heard(self, part: np.ndarray, control: Control) -> bool:
        return self.voiced(part, control) > 0.1

    def audible(self, start: float, end: float) -> list[tuple[int, float, float]]:
        """The sentences of which at least half lies in a window, with times from its start."""
        return [
            (n, max(0.0, s - start), min(end, e) - start)
            for n, (s, e) in enumerate(self.sentences)
            if min(end, e) - max(start, s) >= 0.5 * (e - s)
        ]

    def heard_right(self, start: float, end: float, ask: Ask) -> tuple[int, ...]:
        """What a decoder without faults finds."""
        parts = self.audible(start, end)
        if not ask.timestamps:
            return tuple(n for n, _, _ in parts)
        return tuple(token for n, s, e in parts for token in (at(s), n, at(e)))

    def decode(
        self, answer: Answer, options: Options = DEFAULT, control: Control | None = None, **more: Any
    ) -> tuple[Clip, Scripted]:
        scripted = Scripted(answer)
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


def regular(count: int, spoken_s: float = 3.0, pause_s: float = 1.0) -> Talk:
    step = spoken_s + pause_s
    return Talk([(0.5 + n * step, 0.5 + n * step + spoken_s) for n in range(count)], 0.5 + count * step)


# --- the usual way ------------------------------------------------------------------------------------------


def test_a_short_clip_is_one_window_without_times() -> None:
    talk = regular(7)
    clip, scripted = talk.decode(talk.heard_right)
    assert [(start, end) for start, end, _ in scripted.asked] == [(0.0, 28.5)]
    assert not scripted.asked[0][2].timestamps
    assert tokens(clip) == list(range(7))
    assert [(s.start_s, s.end_s) for s in clip.segments] == [(0.0, 28.5)]


@pytest.mark.parametrize(("without", "times"), [(None, True), (True, False), (False, True)])
def test_times_are_asked_for_as_wished(without: bool | None, times: bool) -> None:
    talk = regular(20)
    clip, scripted = talk.decode(talk.heard_right, Options(without_timestamps=without))
    assert {ask.timestamps for _, _, ask in scripted.asked} == {times}
    assert tokens(clip) == list(range(20))
    assert len(clip.segments) == (20 if times else len(scripted.asked))


def test_a_long_clip_is_cut_in_pauses_and_its_times_join() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == list(range(40))
    for segment, (start, end) in zip(clip.segments, talk.sentences, strict=True):
        assert (segment.start_s, segment.end_s) == (pytest.approx(start, abs=0.011), pytest.approx(end, abs=0.011))
    for start, end, _ in scripted.asked:
        assert end - start <= 30.0
        assert not any(s < edge < e for s, e in talk.sentences for edge in (start, end))
    assert all(after[0] == before[1] for before, after in itertools.pairwise(scripted.asked))


def test_stretches_without_a_voice_are_not_decoded() -> None:
    talk = Talk([(1.0, 4.0), (200.0, 203.0)], 260.0)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == [0, 1]
    assert len(scripted.asked) == 2
    silent = Talk([], 70.0)
    clip, scripted = silent.decode(silent.heard_right)
    assert (clip.segments, clip.reason, scripted.asked) == ([], NO_VOICE, [])


def test_only_the_stretches_that_are_asked_for() -> None:
    talk = regular(20)
    clip, scripted = talk.decode(talk.heard_right, Options(clip_timestamps=(4.2, 12.2, 40.2)))
    assert tokens(clip) == [1, 2, *range(10, 20)]
    assert min(start for start, _, _ in scripted.asked) == 4.2
    assert clip.segments[0].start_s == pytest.approx(4.5, abs=0.011)


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


def test_a_segment_that_is_broken_off_comes_in_the_next_window() -> None:
    talk = regular(20)

    def breaks_off(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        return found[:-1] if start == 0.0 else found  # the last one has no end

    clip, scripted = talk.decode(breaks_off)
    assert tokens(clip) == list(range(20))
    assert scripted.asked[1][0] < scripted.asked[0][1]


def test_what_is_passed_over_is_decoded_again() -> None:
    talk = regular(20)

    def stops(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        return found[:6] if start == 0.0 else found  # two sentences of six

    clip, scripted = talk.decode(stops)
    assert tokens(clip) == list(range(20))
    assert scripted.asked[1][0] == pytest.approx(talk.sentences[1][1], abs=0.011)


def test_but_not_where_nobody_speaks() -> None:
    talk = Talk([(0.5, 3.5), (40.0, 43.0)], 60.0)
    clip, scripted = talk.decode(talk.heard_right)
    assert tokens(clip) == [0, 1]
    assert len(scripted.asked) == 2


def test_a_first_sentence_that_is_very_short_does_not_cost_the_rest() -> None:
    """Nobody goes back to what lies within the first second, and yet nothing of the window is lost."""
    talk = Talk([(0.1, 0.6), (0.9, 5.0), *((6.0 + 4 * n, 9.0 + 4 * n) for n in range(8))], 42.0)

    def broken_off(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        # "Yes.", and then one segment without times between the sentences, nor one at its end.
        return (*found[:3], found[3], *(t for t in found[4:] if t < BEGIN)) if start == 0.0 else found

    def passed_over(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        return found[:3] if start == 0.0 else found

    clip, _ = talk.decode(broken_off)
    assert tokens(clip) == list(range(10))
    assert [(s.start_s, s.end_s) for s in clip.segments[:2]] == [
        (0.1, 0.6),
        (0.6, pytest.approx(clip.segments[2].start_s, abs=1.0)),
    ]
    clip, scripted = talk.decode(passed_over)
    assert tokens(clip) == list(range(10))
    assert scripted.asked[1][0] == LEAST_ADVANCE_S


def test_a_text_without_an_end_does_not_come_twice() -> None:
    talk = regular(12)

    def no_end(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        # It begins at 1 s, which is as late as a first time may be.
        return (at(1.0), *(n for n, _, _ in talk.audible(start, end)))

    clip, _ = talk.decode(no_end)
    assert tokens(clip) == list(range(12))


def test_without_a_voice_detector_times_alone_count() -> None:
    talk = regular(20)

    def breaks_off(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        return found[:-1] if len(found) > 3 else found

    clip, _ = talk.decode(breaks_off, voice=None)
    assert tokens(clip) == list(range(20))


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    sentences, now = [], draw(st.floats(0.0, 2.0))
    for _ in range(draw(st.integers(1, 25))):
        spoken = draw(st.floats(1.0, 6.0))
        sentences.append((now, now + spoken))
        now += spoken + draw(st.sampled_from([0.4, 0.5, 1.0, 3.0]))
    return Talk(sentences, max(31.0, now))


@given(talks(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_decoder_leaves_out_comes_later_and_nothing_twice(talk: Talk, data: st.DataObject) -> None:
    def faulty(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        found = talk.heard_right(start, end, ask)
        told = data.draw(st.integers(1, len(found) // 3))
        kind = data.draw(st.sampled_from(["all", "stops", "broken off", "pair", "no end"]))
        if kind == "all" or not found:
            return found
        if kind == "no end":
            return (found[0], *(token for token in found if token < BEGIN))
        if kind == "broken off" and told > 1:
            return found[: 3 * told - 1]
        if kind == "pair" and told > 1:
            return found[: 3 * told - 2]
        return found[: 3 * told]

    clip, scripted = talk.decode(faulty)
    assert tokens(clip) == list(range(len(talk.sentences)))
    assert len(scripted.asked) <= talk.length_s
    for before, after in itertools.pairwise(clip.segments):
        assert before.end_s <= after.start_s + 0.011
    assert clip.segments[-1].end_s <= talk.length_s + 1e-3


@st.composite
def anything(draw: st.DrawFn) -> tuple[int, ...]:
    """What no rules have seen."""
    return tuple(draw(st.lists(st.integers(0, 9) | st.integers(BEGIN, BEGIN + 1500), max_size=8)))


@given(st.data(), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_never_stands_still(data: st.DataObject, with_voice: bool) -> None:
    talk = Talk([(0.0, 75.0)], 75.0)
    clip, scripted = talk.decode(lambda start, end, ask: data.draw(anything()), voice=talk if with_voice else None)
    starts = [start for start, _, _ in scripted.asked]
    assert len(starts) <= 76
    for before, after in itertools.pairwise(starts):
        assert after >= before + LEAST_ADVANCE_S
    for segment in clip.segments:
        assert 0.0 <= segment.start_s <= segment.end_s <= 75.0


# --- what is kept and what is told --------------------------------------------------------------------------


def test_text_so_far_is_told_if_it_is_wished_for() -> None:
    talk = regular(40)
    _, plain = talk.decode(talk.heard_right)
    assert all(ask.previous == () for _, _, ask in plain.asked)
    _, conditioned = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    said = 0
    for start, end, ask in conditioned.asked:
        assert ask.previous == tuple(range(said))
        said += len(talk.audible(start, end))
    assert said == 40


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
    options = Options(initial_prompt="ab", hotwords=("c",), prefix="d", condition_on_previous_text=True)
    clip, scripted = talk.decode(talk.heard_right, options)
    letters = Letters().encode
    asks = [ask for _, _, ask in scripted.asked]
    assert all(ask.previous[:5] == tuple(letters(" c ab")) for ask in asks)
    assert asks[0].prefix == tuple(letters(" d"))
    assert all(ask.prefix == () for ask in asks[1:])


def test_a_prompt_does_not_grow_with_the_clip() -> None:
    talk = regular(400, spoken_s=1.0, pause_s=0.5)
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
    assert tokens(clip)[-1] == 39


def test_a_given_language_is_not_detected() -> None:
    talk = regular(20)
    clip, scripted = talk.decode(detects(talk, {999: "de"}), language="en")
    assert {ask.language for _, _, ask in scripted.asked} == {"en"}
    assert clip.languages == ()


def test_refused_windows_have_no_text_and_the_rest_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = regular(20)
    monkeypatch.setattr(guards, "verdict", lambda decoded, text, *_: "doubtful" if " 3" in text else None)
    clip, scripted = talk.decode(talk.heard_right, Options(condition_on_previous_text=True))
    first = len(talk.audible(*scripted.asked[0][:2]))
    assert tokens(clip) == list(range(first, 20))
    assert scripted.asked[1][2].previous == ()
    assert clip.segments[0].start_s == pytest.approx(talk.sentences[first][0], abs=0.011)


def test_the_confidence_is_that_of_the_text_that_is_kept() -> None:
    talk = regular(20)
    clip, _ = talk.decode(lambda *a: talk.heard_right(*a)[:-1] or (1,))
    assert len(clip.logprobs) == len(tokens(clip))
    assert clip.confidence == confidence.of_text([-0.2] * len(tokens(clip)))


def test_words_have_the_clip_s_times() -> None:
    talk = regular(20)
    scripted = Scripted(talk.heard_right)

    def with_words(start: float, end: float, ask: Ask) -> Found:
        said = tuple(Timed(f" {n}", (n,), s, e, (-0.1,)) for n, s, e in talk.audible(start, end))
        return scripted.found(talk.heard_right(start, end, ask), ask, words=said)

    clip, _ = talk.decode(with_words, Options(word_timestamps=True))
    found = [word for segment in clip.segments for word in segment.words]
    assert [word.tokens for word in found] == [(n,) for n in range(20)]
    for word, (start, end) in zip(found, talk.sentences, strict=True):
        assert word.end_s == pytest.approx(end, abs=0.011)
        assert start - 0.011 <= word.start_s <= word.end_s


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
