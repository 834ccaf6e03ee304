"""A clip through its windows, as a client chose it: only voices, a language that is made sure of, silences."""

from __future__ import annotations

from itertools import pairwise

import pytest
from longform_talk import WORD_S, Letters, Scripted, Talk, at, regular, tokens
from whisperd.errors import Cancelled
from whisperd.speech.attempts import Ask, Found
from whisperd.speech.options import Options
from whisperd.speech.types import NO_VOICE, Unattended
from whisperd.speech.words import Timed

# --- only where a voice is ----------------------------------------------------------------------------------

SPARSE = [(2.0, 5), (6.0, 5), (20.0, 5), (50.0, 5)]
"""Sentences of 2 s, with pauses of 2, 12 and 28 s between them."""


def test_only_stretches_with_a_voice_are_decoded() -> None:
    talk = Talk(SPARSE, 60.0)
    clip, scripted = talk.decode(talk.heard_right, Options(vad_filter=True, vad_min_silence_duration_ms=2100))
    assert tokens(clip) == list(talk.words)
    # A frame is 32 ms, the margin 0.4 s.
    starts, ends = [1.6, 19.6, 49.6], [8.4, 22.4, 52.4]
    assert [start for start, _, _ in scripted.asked] == pytest.approx(starts, abs=0.033)
    assert [end for _, end, _ in scripted.asked] == pytest.approx(ends, abs=0.033)
    assert clip.segments[-1].end_s == pytest.approx(52.0, abs=0.03)


def test_with_other_pauses_and_margins() -> None:
    talk = Talk(SPARSE, 60.0)
    chosen = Options(vad_filter=True, vad_min_silence_duration_ms=1500, vad_speech_pad_ms=1000)
    clip, scripted = talk.decode(talk.heard_right, chosen)
    assert tokens(clip) == list(talk.words)
    assert [start for start, _, _ in scripted.asked] == pytest.approx([1.0, 5.0, 19.0, 49.0], abs=0.033)
    assert [end for _, end, _ in scripted.asked] == pytest.approx([5.0, 9.0, 23.0, 53.0], abs=0.033)


def test_short_voices_are_left_out() -> None:
    talk = Talk([(2.0, 1), (10.0, 5)], 20.0)
    for least, heard in ((300, 2), (600, 1)):
        clip, _ = talk.decode(
            talk.heard_right, Options(vad_filter=True, vad_min_speech_duration_ms=least, vad_speech_pad_ms=0)
        )
        assert len({round(segment.start_s) for segment in clip.segments}) == heard


def test_within_what_was_asked_for() -> None:
    talk = Talk(SPARSE, 60.0)
    clip, scripted = talk.decode(talk.heard_right, Options(vad_filter=True, clip_timestamps=(6.5, 7.0, 15.0)))
    assert [start for start, _, _ in scripted.asked] == pytest.approx([6.5, 19.6, 49.6], abs=0.033)
    assert [end for _, end, _ in scripted.asked] == pytest.approx([7.0, 22.4, 52.4], abs=0.033)
    assert tokens(clip)[-10:] == list(talk.words)[-10:]


def test_a_long_voice_is_cut_as_ever() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(talk.heard_right, Options(vad_filter=True))
    assert tokens(clip) == list(talk.words)
    assert all(end - start <= 30.0 for start, end, _ in scripted.asked)


def test_without_any_voice_nothing_is_decoded() -> None:
    silent = Talk([], 70.0)
    clip, scripted = silent.decode(silent.heard_right, Options(vad_filter=True))
    assert (clip.segments, clip.reason, scripted.asked) == ([], NO_VOICE, [])


def test_looking_for_voices_can_be_cancelled() -> None:
    class Impatient(Unattended):
        def step(self) -> None:
            raise Cancelled("enough")

    class Slow(Talk):
        def probabilities(self, part, control):  # type: ignore[no-untyped-def]
            control.step()
            yield 0.0

    talk = Slow(SPARSE, 60.0)
    with pytest.raises(Cancelled):
        talk.decode(talk.heard_right, Options(vad_filter=True), control=Impatient())


# --- the language -------------------------------------------------------------------------------------------

SURE, UNSURE = (("de", 0.9), ("en", 0.1)), (("en", 0.45), ("de", 0.3))


def test_windows_are_listened_to_until_one_is_sure() -> None:
    talk = regular(40)
    clip, scripted = talk.decode(
        talk.heard_right,
        Options(language_detection_segments=4),
        language="auto",
        detect=lambda start, end: SURE if start > 20 else UNSURE,
    )
    first, second = scripted.listened
    assert first[0] == 0.0 and first[1] == second[0]
    assert (clip.language, clip.languages) == ("de", SURE)
    assert {ask.language for _, _, ask in scripted.asked} == {"de"}
    assert tokens(clip) == list(talk.words)


@pytest.mark.parametrize(("count", "language"), [(2, "en"), (3, "en"), (5, "de")])
def test_where_none_is_sure_most_of_them_decide(count: int, language: str) -> None:
    talk = regular(60)
    told = iter([("en", 0.4), ("de", 0.5), ("en", 0.3), ("de", 0.4), ("de", 0.3)])
    clip, scripted = talk.decode(
        talk.heard_right,
        Options(language_detection_segments=count),
        language="auto",
        detect=lambda start, end: (next(told),),
    )
    assert len(scripted.listened) == count
    assert clip.language == language
    assert clip.languages == ((language, {"en": 0.4, "de": 0.5}[language]),)


def test_a_threshold_that_is_met_is_not_exceeded() -> None:
    talk = regular(40)
    for threshold, heard in ((0.9, 2), (0.89, 1)):
        _, scripted = talk.decode(
            talk.heard_right,
            Options(language_detection_segments=2, language_detection_threshold=threshold),
            language="auto",
            detect=lambda start, end: SURE,
        )
        assert len(scripted.listened) == heard


def test_windows_without_a_voice_are_not_listened_to() -> None:
    talk = Talk([(100.0, 7)], 130.0)
    clip, scripted = talk.decode(
        talk.heard_right, Options(language_detection_segments=3), language="auto", detect=lambda start, end: SURE
    )
    ((start, end),) = scripted.listened
    assert start <= 100.0 < end
    assert clip.language == "de"


@pytest.mark.parametrize(
    ("chosen", "language"),
    [
        (Options(language_detection_segments=3), "en"),
        (Options(language_detection_segments=3, multilingual=True), "auto"),
        (Options(), "auto"),
    ],
    ids=["given", "anew in each window", "one window, as ever"],
)
def test_nobody_listens_beforehand_without_need(chosen: Options, language: str) -> None:
    talk = regular(20)
    scripted = Scripted(talk.heard_right)

    def answer(start: float, end: float, ask: Ask) -> Found:
        return scripted.found(talk.heard_right(start, end, ask), ask, language="en")

    _, asked = talk.decode(answer, chosen, language=language)  # `detect` is missing, and would be missed
    assert asked.listened == []


# --- silences ------------------------------------------------------------------------------------------------


def ghost(talk: Talk, start_s: float, end_s: float, *, until: float) -> Scripted:
    """A decoder that hears two more words, 7 and 8, in a silence, as long as its window begins before `until`."""
    scripted = Scripted(talk.heard_right)

    def answer(start: float, end: float, ask: Ask) -> Found:
        if not (start < until and end > end_s):
            found = scripted.found(talk.heard_right(start, end, ask), ask)
            return Found(**{**vars(found), "words": talk.align(start, end, found.tokens)})
        audible = talk.audible(start, end)
        before = [s for s in audible.values() if talk.words[s[0]][0] < start_s]
        behind = [s for s in audible.values() if talk.words[s[0]][0] > start_s]
        told = [token for sentence in before for token in talk.told(sentence, start, end, ask)]
        told += [at(start_s - start), 7, 8, at(end_s - start)]
        told += [token for sentence in behind for token in talk.told(sentence, start, end, ask)]
        found = scripted.found(told, ask)
        said = [
            *talk.align(start, end, [token for sentence in before for token in sentence]),
            Timed(" 7", (7,), start_s - start, end_s - start - 0.01, (-3.0,)),
            Timed(" 8", (8,), end_s - start - 0.01, end_s - start, (-3.0,)),
            *talk.align(start, end, [token for sentence in behind for token in sentence]),
        ]
        return Found(**{**vars(found), "words": tuple(said)})

    scripted.answer = answer
    return scripted


def test_what_was_made_up_in_a_silence_is_passed_over_and_what_follows_is_not() -> None:
    talk = Talk([(1.0, 5), (18.0, 5), (32.0, 5)], 40.0)
    made_up = ghost(talk, 8.0, 10.5, until=5.0)
    clip, _ = talk.decode(made_up.answer, Options(without_timestamps=False))
    assert tokens(clip) == [*list(talk.words)[:5], 7, 8, *list(talk.words)[5:]]

    watched = Options(hallucination_silence_threshold=2.0, word_timestamps=True, without_timestamps=False)
    clip, scripted = talk.decode(made_up.answer, watched)
    assert tokens(clip) == list(talk.words)
    assert 8.0 <= scripted.asked[1][0] <= 10.5  # where it was heard; its long word has given the pause back
    assert clip.tokens == len(talk.words)
    starts = [word.start_s for segment in clip.segments for word in segment.words]
    assert all(after - before >= WORD_S - 0.02 for before, after in pairwise(starts))


def test_words_are_aligned_for_it_though_nobody_wants_to_see_them() -> None:
    talk = regular(3)
    clip, scripted = talk.decode(talk.heard_right, Options(hallucination_silence_threshold=2.0))
    assert all(ask.align for _, _, ask in scripted.asked)
    assert tokens(clip) == list(talk.words)
    assert not any(segment.words for segment in clip.segments)


def test_one_that_is_heard_whenever_one_listens_has_an_end() -> None:
    talk = Talk([(1.0, 5)], 29.0)
    made_up = ghost(talk, 12.0, 14.5, until=99.0)
    clip, scripted = talk.decode(
        made_up.answer, Options(hallucination_silence_threshold=2.0, without_timestamps=False)
    )
    assert tokens(clip)[:5] == list(talk.words)
    starts = [start for start, _, _ in scripted.asked]
    assert all(after - before >= 1.0 for before, after in pairwise(starts)) and len(starts) < 30


def test_the_initial_prompt_is_carried() -> None:
    talk = regular(100)
    letters = Letters().encode
    chosen = Options(condition_on_previous_text=True, initial_prompt="ab", carry_initial_prompt=True)
    _, scripted = talk.decode(talk.heard_right, chosen)
    initial = tuple(letters(" ab"))
    assert all(ask.previous[:3] == initial for _, _, ask in scripted.asked)
    assert max(len(ask.previous) for _, _, ask in scripted.asked) == 223
    last = scripted.asked[-1]
    said = [token for token, (_, end) in talk.words.items() if end <= last[0] + 0.01]
    assert last[2].previous[3:] == tuple(said[-220:])
