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


def spoken(pcm: np.ndarray) -> tuple[int, int]:
    """First and last sample of what is said, by loudness."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > np.abs(pcm.astype(np.int32)).max() // 20)
    return int(loud[0]), int(loud[-1]) + 1


@pytest.mark.parametrize("clip", COMMITTED, ids=lambda clip: clip.name)
@pytest.mark.parametrize("silence_s", [0.0, 1.0, 2.345, 20.0])
def test_where_a_voice_begins(detector: VoiceDetector, clip: Clip, silence_s: float) -> None:
    pcm = read_audio(clip.path, 60.0)
    begins, _ = spoken(pcm)
    said = np.concatenate([np.zeros(round(silence_s * RATE), np.int16), pcm[begins:]])
    onset, seconds = detector.stretch(said, ATTENDED)
    assert abs(onset - silence_s) < 0.15
    assert 1.0 < seconds < len(said) / RATE - onset + FRAME / RATE


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_the_seconds_of_voice_are_those_of_the_stretch(detector: VoiceDetector, clip: Clip) -> None:
    pcm = read_audio(clip.path, 60.0)
    onset, seconds = detector.stretch(pcm, ATTENDED)
    assert detector.voiced(pcm, ATTENDED) == seconds > 0
    assert 0 <= onset <= len(pcm) / RATE - seconds + FRAME / RATE


@pytest.mark.parametrize("name", NOISES)
def test_in_noises_no_voice_begins(detector: VoiceDetector, name: str) -> None:
    assert detector.stretch(noise(name, 5.0), ATTENDED) == (0.0, 0.0)


@pytest.mark.parametrize("cut", [0.3, 0.45, 0.6, 0.75])
@pytest.mark.parametrize("decibel", [0, -40])
@pytest.mark.parametrize("clip", COMMITTED, ids=lambda clip: clip.name)
def test_a_clip_that_is_cut_within_speech_ends_in_voice(
    detector: VoiceDetector, clip: Clip, decibel: int, cut: float
) -> None:
    pcm = read_audio(clip.path, 60.0)
    begins, ends = spoken(pcm)
    before = pcm[: begins + round(cut * (ends - begins))]
    # However much came before, and what it was.
    for said in (before, np.concatenate([noise("road", 10.0), before])):
        assert detector.ends_in_voice((said * 10 ** (decibel / 20)).astype(np.int16), ATTENDED)


@pytest.mark.parametrize(
    ("count", "frames"), [(FRAME - 1, 0), (2 * FRAME, 2), (4 * FRAME + 1, 4), (50 * FRAME + 7, 32)]
)
def test_the_end_of_a_clip_is_whole_frames(
    detector: VoiceDetector, monkeypatch: pytest.MonkeyPatch, count: int, frames: int
) -> None:
    """Silence that fills up the last one would be the end of a voice."""
    seen: list[np.ndarray] = []

    def certain(frame: np.ndarray, state: np.ndarray) -> tuple[float, np.ndarray]:
        seen.append(frame[CONTEXT:].copy())
        return 1.0, state

    monkeypatch.setattr(detector, "probability", certain)
    pcm = np.arange(1, count + 1, dtype=np.int16)
    assert detector.ends_in_voice(pcm, ATTENDED) == (frames >= 3)
    assert len(seen) == frames
    if seen:
        assert (np.concatenate(seen) > 0).all()
        assert seen[-1][-1] == np.concatenate(seen).max()


@pytest.mark.parametrize("silence_s", [0.3, 0.5, 5.0])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_one_that_ends_in_silence_does_not(detector: VoiceDetector, clip: Clip, silence_s: float) -> None:
    pcm = read_audio(clip.path, 60.0)
    pcm = pcm[: spoken(pcm)[1]]
    assert not detector.ends_in_voice(np.concatenate([pcm, noise("silence", silence_s)]), ATTENDED)


@pytest.mark.parametrize("seconds", [0.8, 2.0])
@pytest.mark.parametrize("name", NOISES)
def test_nor_one_that_ends_in_a_noise(detector: VoiceDetector, name: str, seconds: float) -> None:
    pcm = read_audio(COMMITTED[0].path, 60.0)
    pcm = pcm[: spoken(pcm)[1]]
    assert not detector.ends_in_voice(np.concatenate([pcm, noise(name, seconds)]), ATTENDED)


@pytest.mark.parametrize("count", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_clips_of_a_frame_and_less(detector: VoiceDetector, count: int) -> None:
    pcm = np.full(count, -32768, np.int16)
    assert not detector.heard(pcm, ATTENDED)
    assert not detector.ends_in_voice(pcm, ATTENDED)
    assert detector.stretch(pcm, ATTENDED) == (0.0, 0.0)


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
