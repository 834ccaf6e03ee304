"""A clip through its windows: what is gone back to and passed over."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from longform_talk import (
    BEGIN,
    MOST_WORDS,
    WORD_S,
    Scripted,
    Talk,
    at,
    broken,
    regular,
    tokens,
)
from whisperd.speech.attempts import Ask, Found
from whisperd.speech.coverage import LEAST_ADVANCE_S
from whisperd.speech.longform import ranges
from whisperd.speech.options import Options
from whisperd.speech.types import NO_VOICE
from whisperd.speech.words import Timed

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
