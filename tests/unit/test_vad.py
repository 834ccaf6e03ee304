"""Silero VAD as the gate before Whisper: voices pass, everything else does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from noises import NOISES, RATE, noise
from speech import COMMITTED, Clip, pocketsphinx, shared
from whisperd.audio.files import read_audio
from whisperd.errors import BundleError, Cancelled
from whisperd.speech.types import Unattended
from whisperd.speech.vad import CONTEXT, FRAME, VoiceDetector

CLIPS = [*COMMITTED, *shared(), *pocketsphinx()]
ATTENDED = Unattended()


@pytest.fixture(scope="module")
def detector(vad: Path) -> VoiceDetector:
    return VoiceDetector(vad)


@pytest.mark.parametrize("decibel", [0, -20, -40])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_voices_are_heard_at_any_level(detector: VoiceDetector, clip: Clip, decibel: int) -> None:
    pcm = read_audio(clip.path, 60.0)
    assert detector.heard((pcm * 10 ** (decibel / 20)).astype(np.int16), ATTENDED)


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
@pytest.mark.parametrize("name", ["road", "fan", "hiss"])
def test_voices_are_heard_in_noise_as_loud_as_they(detector: VoiceDetector, clip: Clip, name: str) -> None:
    pcm = read_audio(clip.path, 60.0).astype(np.float64)
    around = noise(name, len(pcm) / RATE)[: len(pcm)].astype(np.float64)
    mixed = pcm + np.pad(around * pcm.std() / around.std(), (0, len(pcm) - len(around)))
    assert detector.heard((16000 * mixed / np.abs(mixed).max()).astype(np.int16), ATTENDED)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 12.0])
@pytest.mark.parametrize("name", NOISES)
def test_noises_are_not(detector: VoiceDetector, name: str, seconds: float) -> None:
    assert not detector.heard(noise(name, seconds), ATTENDED)


def test_seconds_of_voice(detector: VoiceDetector) -> None:
    pcm = read_audio(COMMITTED[0].path, 60.0)
    alone = detector.voiced(pcm, ATTENDED)
    assert 2.0 < alone < len(pcm) / RATE
    within = detector.voiced(np.concatenate([noise("silence", 5.0), pcm, noise("silence", 5.0)]), ATTENDED)
    assert abs(within - alone) < 0.2
    assert detector.voiced(noise("music", 10.0), ATTENDED) == 0.0


def test_a_voice_after_a_long_silence_is_heard(detector: VoiceDetector) -> None:
    pcm = read_audio(COMMITTED[0].path, 60.0)
    assert detector.heard(np.concatenate([np.zeros(20 * RATE, np.int16), pcm]), ATTENDED)


@pytest.mark.parametrize("count", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_clips_of_a_frame_and_less(detector: VoiceDetector, count: int) -> None:
    assert not detector.heard(np.full(count, -32768, np.int16), ATTENDED)


def test_a_cancel_is_seen_within_a_second_of_audio(detector: VoiceDetector) -> None:
    class Leaving(Unattended):
        steps = 0

        def step(self) -> None:
            self.steps += 1
            if self.steps == 3:
                raise Cancelled("enough")

    leaving = Leaving()
    with pytest.raises(Cancelled):
        detector.heard(np.zeros(60 * RATE, np.int16), leaving)


def test_the_probability_is_the_network_s_own(detector: VoiceDetector) -> None:
    """Two frames by hand: the context is the end of the frame before, and the state goes on."""
    pcm = read_audio(COMMITTED[0].path, 60.0)[RATE : RATE + 2 * FRAME].astype(np.float32) / 32768
    first, state = detector.probability(
        np.concatenate([np.zeros(CONTEXT, np.float32), pcm[:FRAME]]), detector.silence()
    )
    second, _ = detector.probability(pcm[FRAME - CONTEXT :], state)
    alone, _ = detector.probability(pcm[FRAME - CONTEXT :], detector.silence())
    assert 0 <= first <= 1 and 0 <= second <= 1
    assert second != alone


def test_a_file_that_is_none(tmp_path: Path, tiny_en: Path) -> None:
    with pytest.raises(BundleError, match="cannot read the voice activity detector .*: No such file"):
        VoiceDetector(tmp_path / "none")
    (tmp_path / "broken").write_bytes(b"not a graph")
    for other in (tmp_path / "broken", tiny_en / "decoder.onnx"):
        with pytest.raises(BundleError, match=f"{other.name} is not the voice activity detector"):
            VoiceDetector(other)
