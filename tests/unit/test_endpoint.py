"""Where utterances start and end in a stream by the state machine's own rules, however the stream is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from endpoints import PRE_ROLL, around, changes, utterances
from hypothesis import given, settings
from hypothesis import strategies as st
from noises import RATE
from speech import COMMITTED
from whisperd.audio.files import read_audio
from whisperd.speech.endpoint import (
    Change,
    Dropped,
    Ended,
    Endpointer,
    EndpointSettings,
    Paused,
    Resumed,
    Started,
)
from whisperd.speech.gate import EnergyDetector
from whisperd.speech.types import Float32Array, Int16Samples
from whisperd.speech.vad import FRAME, VoiceDetector


class LoudIsVoice(VoiceDetector):
    """A network that takes every sound for a voice, so that the rules can be tested to the sample."""

    def __init__(self) -> None:
        pass

    def probability(self, frame: Float32Array, state: Float32Array) -> tuple[float, Float32Array]:
        return float(np.abs(frame[-FRAME:]).max() > 0.01), state


@pytest.fixture(scope="module")
def detector(vad: Path) -> VoiceDetector:
    return VoiceDetector(vad)


def sound(frames: int) -> Int16Samples:
    return np.random.default_rng(frames).integers(-9000, 9000, frames * FRAME).astype(np.int16)


def quiet(frames: int) -> Int16Samples:
    return np.zeros(frames * FRAME, np.int16)


def rule(*parts: Int16Samples, wanted: EndpointSettings | None = None) -> list[Change]:
    return changes(np.concatenate(parts), LoudIsVoice(), wanted)


# --- the rules, to the sample -----------------------------------------------------------------------------


def test_an_utterance_with_pre_roll_pause_and_end() -> None:
    assert rule(quiet(50), sound(20), quiet(40)) == [
        Started(50 * FRAME - PRE_ROLL),
        Paused(70 * FRAME, heard=76 * FRAME, voiced=20 * FRAME),
        Ended(70 * FRAME, heard=89 * FRAME, until=76 * FRAME, voiced=20 * FRAME),
    ]


def test_a_pause_of_400_ms_does_not_end_it() -> None:
    found = rule(quiet(50), sound(20), quiet(13), sound(20), quiet(40))
    assert found == [
        Started(50 * FRAME - PRE_ROLL),
        Paused(70 * FRAME, heard=76 * FRAME, voiced=20 * FRAME),
        Resumed(83 * FRAME),
        Paused(103 * FRAME, heard=109 * FRAME, voiced=40 * FRAME),
        Ended(103 * FRAME, heard=122 * FRAME, until=109 * FRAME, voiced=40 * FRAME),
    ]


@pytest.mark.parametrize(("sensitivity", "count"), [("aggressive", 2), ("default", 1), ("relaxed", 1)])
def test_sensitivities_of_a_pause_of_400_ms(sensitivity: str, count: int) -> None:
    wanted = EndpointSettings().with_sensitivity(sensitivity)
    assert len(utterances(rule(quiet(50), sound(20), quiet(13), sound(20), quiet(60), wanted=wanted))) == count


@pytest.mark.parametrize(("sensitivity", "seconds"), [("aggressive", 0.35), ("default", 0.6), ("relaxed", 1.2)])
def test_sensitivities_in_seconds(sensitivity: str, seconds: float) -> None:
    wanted = EndpointSettings().with_sensitivity(sensitivity)
    assert wanted.end_silence_s == seconds
    ((_, ended),) = utterances(rule(quiet(50), sound(20), quiet(60), wanted=wanted))
    assert abs(ended.heard - ended.at - seconds * RATE) <= FRAME / 2


def test_the_pre_roll_never_reaches_into_the_utterance_before() -> None:
    wanted = EndpointSettings(pre_roll_s=2.0)
    found = utterances(rule(quiet(20), sound(20), quiet(25), sound(20), quiet(40), wanted=wanted))
    assert [start for start, _ in found] == [0, 46 * FRAME]
    assert found[0][1].until == 46 * FRAME


def test_short_sounds_are_none_and_short_voices_are_dropped() -> None:
    assert rule(quiet(50), sound(2), quiet(40)) == []
    wanted = EndpointSettings(min_voice_s=0.25)
    found = rule(quiet(50), sound(7), quiet(40), wanted=wanted)
    assert isinstance(found[0], Started) and found[-1] == Dropped(57 * FRAME, heard=76 * FRAME)
    assert isinstance(rule(quiet(50), sound(8), quiet(40), wanted=wanted)[-1], Ended)


def test_a_click_in_the_pause_does_not_resume() -> None:
    found = rule(quiet(50), sound(20), quiet(10), sound(1), quiet(40))
    assert [type(change) for change in found] == [Started, Paused, Ended]
    assert found[-1] == Ended(70 * FRAME, heard=89 * FRAME, until=76 * FRAME, voiced=20 * FRAME)


def test_a_voice_that_goes_on_is_cut_at_the_quietest_of_the_last_seconds() -> None:
    voice = sound(2500)
    soft = 50 + 1840
    voice[1840 * FRAME : 1841 * FRAME] //= 10
    voice[100 * FRAME : 101 * FRAME] //= 20  # quieter, but long ago
    found = utterances(rule(quiet(50), voice, quiet(40)))
    assert len(found) == 2
    (first_start, first), (second_start, second) = found
    assert first == Ended(first.at, first.heard, until=first.at, voiced=first.voiced, cut=True)
    assert first.until == second_start == soft * FRAME + FRAME // 2
    assert first.heard - first_start <= 60 * RATE < first.heard - first_start + FRAME
    assert second == Ended(2550 * FRAME, 2569 * FRAME, until=2556 * FRAME, voiced=second.voiced)
    assert first.voiced + second.voiced == 2500 * FRAME


def test_nothing_is_lost_or_twice_in_five_minutes_of_voice() -> None:
    found = utterances(rule(quiet(50), sound(10_000)))
    bounds = [(start, ended.until) for start, ended in found]
    assert all(end == start for (_, end), (start, _) in zip(bounds, bounds[1:], strict=False))
    assert all(0 < end - start <= 60 * RATE for start, end in bounds)
    assert bounds[-1][1] == 10_050 * FRAME and len(bounds) == 6
    assert sum(ended.voiced for _, ended in found) == 10_000 * FRAME


def test_at_its_longest_within_a_pause_it_just_ends() -> None:
    wanted = EndpointSettings(max_utterance_s=5.0, pre_roll_s=0.0, end_silence_s=2.0)
    found = rule(quiet(50), sound(140), quiet(70), wanted=wanted)
    assert found[-1] == Ended(190 * FRAME, heard=206 * FRAME, until=196 * FRAME, voiced=140 * FRAME)


def test_what_is_being_said_ends_with_the_stream() -> None:
    voice = sound(20)[: 19 * FRAME + 100]
    total = 50 * FRAME + len(voice)
    assert rule(quiet(50), voice)[-1] == Ended(total, heard=total, until=total, voiced=20 * FRAME)
    assert rule(quiet(50), sound(20), quiet(8))[-1] == Ended(70 * FRAME, 78 * FRAME, 76 * FRAME, 20 * FRAME)
    assert rule(quiet(0)) == [] and rule(quiet(1)[:1]) == []


@pytest.mark.parametrize("more", [1, 100, 511, 512, 513, 700])
def test_the_stream_ends_where_the_utterance_is_at_its_longest(more: int) -> None:
    wanted = EndpointSettings(max_utterance_s=5.0, pre_roll_s=0.0)
    longest = 5 * RATE // FRAME  # whole frames
    found = utterances(rule(quiet(50), sound(longest + 2)[: longest * FRAME - FRAME + more], wanted=wanted))
    assert all(start < ended.at <= ended.until <= ended.heard for start, ended in found)
    assert found[0][0] == 50 * FRAME and found[-1][1].until == (50 + longest - 1) * FRAME + more


def test_after_the_end_nothing_is_taken() -> None:
    endpointer = Endpointer(EndpointSettings(), LoudIsVoice())
    endpointer.finish()
    with pytest.raises(ValueError, match="the stream has been finished"):
        endpointer.push(quiet(1))


@pytest.mark.parametrize("wrong", [np.zeros(4, np.float32), np.zeros((2, 2), np.int16)])
def test_samples_of_another_kind(wrong: npt.NDArray[np.int16]) -> None:
    with pytest.raises(ValueError, match=r"samples must be int16\[n\], not "):
        Endpointer(EndpointSettings(), None).push(wrong)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pre_roll_s": -0.1}, "pre_roll_s must be 0.0 to 2.0 seconds, not -0.1"),
        ({"pause_s": 0.0}, "pause_s must be 0.05 to 2.0 seconds, not 0.0"),
        ({"end_silence_s": float("nan")}, "end_silence_s must be .*, not nan"),
        ({"end_silence_s": 0.1}, r"end_silence_s \(0.1\) must not be less than pause_s \(0.2\)"),
        ({"min_voice_s": True}, "min_voice_s must be .*, not True"),
        ({"max_utterance_s": 61.0}, "max_utterance_s must be 5.0 to 60.0 seconds, not 61.0"),
        ({"max_utterance_s": "60"}, "max_utterance_s must be .*, not '60'"),
    ],
)
def test_settings_out_of_bounds(values: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        EndpointSettings(**values)


def test_an_unknown_sensitivity() -> None:
    with pytest.raises(ValueError, match="unknown vad_sensitivity 'deaf'; known: relaxed, default, aggressive"):
        EndpointSettings().with_sensitivity("deaf")


# --- however the stream is cut ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conversation() -> Int16Samples:
    command = read_audio(COMMITTED[1].path, 60.0)
    stream, _, _ = around([command, command], [1.0, 1.0, 0.7], 15.0)
    return stream[:-200]


@pytest.mark.parametrize("with_network", [True, False])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_split_gives_the_same(
    detector: VoiceDetector, conversation: Int16Samples, with_network: bool, data: st.DataObject
) -> None:
    voice = detector if with_network else None
    cuts = sorted(data.draw(st.lists(st.integers(0, len(conversation)), max_size=30)))
    endpointer = Endpointer(EndpointSettings(), voice)
    found: list[Change] = []
    for start, end in zip([0, *cuts], [*cuts, len(conversation)], strict=True):
        found += endpointer.push(conversation[start:end])
    assert found + endpointer.finish() == changes(conversation, voice)
    assert len(utterances(changes(conversation, voice))) == 2


@pytest.mark.parametrize("block", [1, 320, FRAME, 1000])
def test_blocks_of_any_size_give_the_same(detector: VoiceDetector, conversation: Int16Samples, block: int) -> None:
    endpointer = Endpointer(EndpointSettings(), detector)
    found: list[Change] = []
    for start in range(0, len(conversation), block):
        now = endpointer.push(conversation[start : start + block])
        for change in now:  # told at once, and never of what has not been heard
            if isinstance(change, Paused | Ended):
                assert change.at <= change.heard <= start + block < change.heard + FRAME + block
        found += now
    assert found + endpointer.finish() == changes(conversation, detector)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20), st.sampled_from([5.0, 60.0]))
def test_changes_always_come_in_order(pairs: list[tuple[int, int]], longest: float) -> None:
    """Whatever is heard: the grammar of the changes, and utterances that neither overlap nor grow too long."""
    parts = [part for voiced, silent in pairs for part in (sound(voiced), quiet(silent))]
    found = rule(quiet(20), *parts, wanted=EndpointSettings(max_utterance_s=longest))
    state, free, start = "idle", 0, 0
    for change in found:
        match change:
            case Started(at):
                assert state == "idle" and free <= at
                state, start = "speaking", at
            case Paused(at, heard):
                assert state == "speaking" and start < at < heard
                state = "paused"
            case Resumed(at):
                assert state == "paused" and start < at
                state = "speaking"
            case Ended(at, heard, until, voiced, cut):
                assert state in ("speaking", "paused") and start < at <= until <= heard
                assert not cut or (state == "speaking" and at == until)
                assert until - start <= longest * RATE and 0 < voiced <= until - start + FRAME
                state, free = "idle", until
            case Dropped():
                state = "idle"
    assert state == "idle"


def test_loudness_knows_nothing_before_it_has_heard_the_noise() -> None:
    scorer = EnergyDetector()
    assert [scorer.score(sound(1), False) for _ in range(10)] == [[0.0]] * 10
