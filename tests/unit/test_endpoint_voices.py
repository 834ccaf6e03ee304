"""Where real voices start and end in a stream, what is no utterance, and how well it goes without the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from endpoints import MS, PRE_ROLL, around, changes, utterances
from noises import NOISES, RATE, noise
from speech import COMMITTED, Clip, pocketsphinx, shared
from whisperd.audio.files import read_audio
from whisperd.speech.endpoint import Ended, Endpointer, EndpointSettings
from whisperd.speech.gate import GatedDetector
from whisperd.speech.types import Int16Samples
from whisperd.speech.vad import FRAME, VoiceDetector

CLIPS = [*COMMITTED, *shared(), *pocketsphinx()]


@pytest.fixture(scope="module")
def detector(vad: Path) -> VoiceDetector:
    return VoiceDetector(vad)


def speech_bounds(clean: npt.NDArray[np.float64]) -> tuple[int, int]:
    """First and last sample with the level of speech: within 18 dB of the loudest 10 ms."""
    rows = clean[: len(clean) // 160 * 160].reshape(-1, 160)
    level = np.square(rows).mean(1)
    loud = np.flatnonzero(level > level.max() * 10**-1.8)
    return int(loud[0]) * 160, int(loud[-1] + 1) * 160


# --- voices -----------------------------------------------------------------------------------------------


def spoken(clip: Clip) -> Int16Samples:
    """A clip's samples; the president's without the first sound of the sentence after, which it ends in."""
    pcm = read_audio(clip.path, 60.0)
    return pcm[: round(10.5 * RATE)] if clip.name == "jfk" else pcm


def outside(found: list[tuple[int, Ended]], clean: npt.NDArray[np.float64]) -> float:
    """The share of the blocks of 10 ms with the level of speech that are in no utterance."""
    level = np.square(clean[: len(clean) // 160 * 160].reshape(-1, 160)).mean(1)
    loud = np.flatnonzero(level > level.max() * 10**-1.8) * 160
    return float(np.mean([not any(start <= block < ended.until for start, ended in found) for block in loud]))


@pytest.mark.parametrize("decibel", [0, -20, -40])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_start_and_end_are_found_at_any_level(detector: VoiceDetector, clip: Clip, decibel: int) -> None:
    stream, _, clean = around([spoken(clip)], [2.0, 1.0], 20.0)
    first, last = speech_bounds(clean)
    found = utterances(changes((stream * 10 ** (decibel / 20)).astype(np.int16), detector))
    # The president pauses for a second three times.
    assert len(found) == (4 if clip.name == "jfk" else 1)
    assert first - 100 * MS <= found[0][0] + PRE_ROLL <= first + 100 * MS
    # The words' soft endings lie under 18 dB below the loudest: later than `last` is no error, earlier is.
    ended = found[-1][1]
    assert last - 100 * MS <= ended.at <= last + 300 * MS
    assert ended.until >= last
    assert outside(found, clean) == 0


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_where_a_voice_stops_short_its_end_is_found_within_100_ms(detector: VoiceDetector, clip: Clip) -> None:
    """Cut in the loudest 10 ms of its second half, so that there is no doubt where it ends."""
    pcm = spoken(clip)
    half = sum(speech_bounds(pcm.astype(np.float64))) // 320
    level = np.square(pcm[: len(pcm) // 160 * 160].reshape(-1, 160), dtype=np.float64).mean(1)
    cut = int(level[half:].argmax() + half + 1) * 160
    stream, (begin,), _ = around([pcm[:cut]], [2.0, 1.0], 20.0)
    assert abs(utterances(changes(stream, detector))[-1][1].at - (begin + cut)) <= 100 * MS


@pytest.mark.parametrize("name", ["hiss", "fan", "road"])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_voices_are_found_in_noise_of_10_db(detector: VoiceDetector, clip: Clip, name: str) -> None:
    stream, _, clean = around([spoken(clip)], [2.0, 1.0], 10.0, name)
    first, last = speech_bounds(clean)
    found = utterances(changes(stream, detector))
    assert found[0][0] + PRE_ROLL <= first + 100 * MS
    assert last - 100 * MS <= found[-1][1].at
    assert outside(found, clean) == 0


def test_two_utterances_in_one_stream(detector: VoiceDetector) -> None:
    command, sample = (read_audio(clip.path, 60.0) for clip in reversed(COMMITTED))
    stream, begins, _ = around([command, sample], [1.5, 1.2, 1.0], 20.0)
    found = utterances(changes(stream, detector))
    assert len(found) == 2
    (first, first_end), (second, second_end) = found
    assert first < begins[0] + len(command) - FRAME < first_end.until <= second
    assert second < begins[1] + 200 * MS and begins[1] + len(sample) - 200 * MS < second_end.until


def test_a_pause_of_400_ms_in_the_middle_stays_one_utterance(detector: VoiceDetector) -> None:
    sample = read_audio(COMMITTED[0].path, 60.0)
    rows = np.square(sample[: len(sample) // 160 * 160].reshape(-1, 160), dtype=np.float64).mean(1)
    middle = int(rows[len(rows) // 3 : len(rows) * 2 // 3].argmin() + len(rows) // 3) * 160
    stream, _, _ = around([sample[:middle], sample[middle:]], [1.5, 0.4, 1.0], 20.0)
    assert len(utterances(changes(stream, detector))) == 1
    aggressive = EndpointSettings().with_sensitivity("aggressive")
    assert len(utterances(changes(stream, detector, aggressive))) == 2


def test_speech_of_a_minute_and_more_is_cut(detector: VoiceDetector) -> None:
    sample = read_audio(COMMITTED[0].path, 60.0)
    first, last = speech_bounds(sample.astype(np.float64))
    stream, _, _ = around([np.tile(sample[first:last], 25)], [1.5, 1.0], 20.0)
    found = utterances(changes(stream, detector))
    assert len(found) == -(-len(stream) // (60 * RATE)) and all(ended.cut for _, ended in found[:-1])
    for (start, ended), (following, _) in zip(found, found[1:], strict=False):
        assert ended.until == following and 57 * RATE < following - start <= 60 * RATE


@pytest.mark.parametrize("decibel", [0, -20])
@pytest.mark.parametrize("name", NOISES)
def test_noises_are_no_utterances(detector: VoiceDetector, name: str, decibel: int) -> None:
    assert changes((noise(name, 30.0) * 10 ** (decibel / 20)).astype(np.int16), detector) == []


@pytest.mark.parametrize("name", ["silence", "hiss", "fan", "road", "tone", "hum", "door"])
def test_in_steady_noise_the_network_rests(detector: VoiceDetector, name: str) -> None:
    endpointer = Endpointer(EndpointSettings(), detector)
    pcm = noise(name, 60.0)
    endpointer.push(pcm[: 2 * RATE])
    learnt = endpointer.network_runs
    endpointer.push(pcm[2 * RATE :])
    assert endpointer.network_runs - learnt < 0.05 * (len(pcm) / FRAME)


@pytest.mark.parametrize("name", ["hiss", "fan", "road"])
def test_the_gate_never_swallows_a_voice_6_db_above_the_noise(detector: VoiceDetector, name: str) -> None:
    """Every such frame is given to the network, at once or in its warm-up."""
    swallowed = total = 0
    for clip in CLIPS:
        stream, _, clean = around([read_audio(clip.path, 60.0)], [3.0, 1.0], 10.0, name)
        power = np.square(clean[: len(clean) // FRAME * FRAME].reshape(-1, FRAME)).mean(1)
        # Noise of 10 dB less than the whole clip's speech.
        loud = power > 4 * 0.1 * np.square(clean[3 * RATE : -RATE]).mean()
        gate = GatedDetector(detector)
        given = np.zeros(len(loud), bool)
        for number, frame in enumerate(stream[: len(loud) * FRAME].reshape(-1, FRAME)):
            before = gate.runs
            gate.score(frame, speaking=False)
            given[max(0, number + 1 - (gate.runs - before)) : number + 1] = True
        total += int(loud.sum())
        swallowed += int((loud & ~given).sum())
    assert total > 50 and swallowed == 0


# --- without the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hiss", "fan", "road"])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_loudness_alone_finds_a_voice_in_noise_of_15_db(clip: Clip, name: str) -> None:
    stream, _, clean = around([spoken(clip)], [2.0, 1.0], 15.0, name)
    first, last = speech_bounds(clean)
    found = utterances(changes(stream, None))
    assert found and found[0][0] + PRE_ROLL <= first + 100 * MS
    assert last - 100 * MS <= found[-1][1].until


@pytest.mark.parametrize("decibel", [0, -20, -40])
@pytest.mark.parametrize("name", sorted(set(NOISES) - {"music"}))
def test_loudness_alone_takes_no_steady_noise_for_a_voice(name: str, decibel: int) -> None:
    assert changes((noise(name, 30.0) * 10 ** (decibel / 20)).astype(np.int16), None) == []


def test_loudness_alone_gets_used_to_a_noise_that_stays() -> None:
    stream = np.concatenate([noise("fan", 5.0) // 30, noise("fan", 40.0)])
    found = utterances(changes(stream, None))
    assert all(ended.until < 20 * RATE for _, ended in found)
