"""What of a recording is decoded, over the socket with the real engine: only voices, and no made-up silences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from daemon_process import DaemonProcess
from speech import COMMITTED, words
from whisperd.audio.files import read_audio
from wire_talk import WireTalk

SAMPLE, COMMAND = (read_audio(clip.path, 60.0) for clip in COMMITTED)
SAID = words(COMMITTED[0].text) + words(COMMITTED[1].text)
SECOND = 16_000
PAUSE_S = 9


@pytest.fixture
def talk(daemon: DaemonProcess) -> Iterator[WireTalk]:
    with WireTalk(daemon) as connection:
        yield connection


@pytest.fixture(scope="module")
def sparse() -> np.ndarray:
    """Two sentences with a faint hiss before, between and behind them."""
    pause = np.random.default_rng(3).normal(0, 12, PAUSE_S * SECOND).astype(np.int16)
    return np.concatenate([pause, SAMPLE, pause, COMMAND, pause])


def test_only_voices_are_decoded_and_their_times_are_the_recording_s(talk: WireTalk, sparse: np.ndarray) -> None:
    kind, data = talk.ask(sparse, vad_filter=True)
    assert kind == "transcript"
    assert words(data["text"]) == SAID
    first, second = data["segments"]
    sample_s, command_s = len(SAMPLE) / SECOND, len(COMMAND) / SECOND
    assert PAUSE_S - 0.5 <= first["start"] <= first["end"] <= PAUSE_S + sample_s + 0.5
    assert 2 * PAUSE_S + sample_s - 0.5 <= second["start"] <= second["end"]
    assert second["end"] <= 2 * PAUSE_S + sample_s + command_s + 0.5
    assert data["audio_seconds"] == pytest.approx(len(sparse) / SECOND, abs=1e-3)


def test_words_have_their_times_behind_the_filter_too(talk: WireTalk, sparse: np.ndarray) -> None:
    _, data = talk.ask(sparse, vad_filter=True, word_timestamps=True)
    told = [word for segment in data["segments"] for word in segment["words"]]
    assert words("".join(word["word"] for word in told)) == SAID
    assert told[0]["start"] >= PAUSE_S - 0.5
    assert told[-1]["start"] >= 2 * PAUSE_S + len(SAMPLE) / SECOND - 0.5


def test_a_threshold_that_no_voice_reaches_leaves_nothing(talk: WireTalk) -> None:
    hiss = np.random.default_rng(4).normal(0, 100, 3 * SECOND).astype(np.int16)
    kind, data = talk.ask(hiss, vad_filter=True)
    assert (kind, data["reason"]) == ("no-speech", "no-voice")
    kind, data = talk.ask(SAMPLE, vad_filter=True, vad_min_speech_duration_ms=10_000)
    assert (kind, data["reason"]) == ("no-speech", "no-voice")


def test_without_a_detector_it_is_refused(base: Path, tmp_path: Path) -> None:
    with DaemonProcess(base, tmp_path, {"WHISPERD_MODEL_VAD": "none"}) as daemon, WireTalk(daemon) as talk:
        talk.send("transcribe", id="x", vad_filter=True)
        data = talk.wait("error")[1]
        assert (data["code"], data["id"]) == ("bad-option", "x")
        assert "vad_filter" in data["text"] and "[model] vad" in data["text"]
        assert words(talk.ask(SAMPLE)[1]["text"]) == words(COMMITTED[0].text)


def test_the_language_of_several_windows(talk: WireTalk) -> None:
    talked = np.concatenate([np.tile(SAMPLE, 8), np.zeros(SECOND, np.int16), np.tile(COMMAND, 4)])
    kind, data = talk.ask(
        talked, language="auto", language_detection_segments=3, language_detection_threshold=1.0, max_new_tokens=9
    )
    assert (kind, data["language"]) == ("transcript", "en")
    assert next(iter(data["languages"])) == "en"


def test_what_was_said_is_not_passed_over(talk: WireTalk, sparse: np.ndarray) -> None:
    kind, data = talk.ask(sparse, hallucination_silence_threshold=2.0, word_timestamps=True)
    assert kind == "transcript"
    assert words(data["text"]) == SAID
