"""Real speech through the real daemon and its socket, by word errors against the known text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from daemon_process import DaemonProcess
from noises import NOISES, noise
from speech import COMMITTED, Clip, pocketsphinx, shared, word_errors, words
from whisperd.audio.files import read_audio
from whisperd.speech.options import Options
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import Unattended
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong


def transcribe(daemon: DaemonProcess, clip: Clip) -> str:
    with daemon.client() as client:
        return client.transcribe(read_audio(clip.path, 60.0)).text


@pytest.mark.parametrize("clip", COMMITTED, ids=lambda clip: clip.name)
def test_committed_clips_are_right_to_the_word(daemon: DaemonProcess, clip: Clip) -> None:
    assert words(transcribe(daemon, clip)) == words(clip.text)


def test_recordings_of_people(daemon: DaemonProcess) -> None:
    clips = [*shared(), *pocketsphinx()]
    if not clips:
        pytest.skip("no recordings: neither ../shared/speech nor Debian's pocketsphinx-testdata is here")
    errors = {clip.name: word_errors(clip.text, transcribe(daemon, clip)) for clip in clips}
    count = sum(len(words(clip.text)) for clip in clips)
    # Base gets some playing cards wrong, whoever runs it: four bad words of the cards, one or two of the rest.
    assert sum(errors.values()) <= 0.10 * count, errors


def test_no_more_word_errors_than_float32_over_30_seconds(daemon: DaemonProcess, base_fp32: Path) -> None:
    clips = [*COMMITTED, *shared(), *pocketsphinx()]
    reference = load(base_fp32, threads=2, language="en")
    ours = theirs = 0
    for clip in clips:
        full = reference.transcribe(read_audio(clip.path, 60.0), Options(), Unattended(), full_context=True)
        ours += word_errors(clip.text, transcribe(daemon, clip))
        theirs += word_errors(clip.text, full.text)
    assert ours <= theirs + 1


def test_an_english_only_model(tiny_en: Path) -> None:
    engine: Transcriber = load(tiny_en, threads=2, language="en")
    for clip in COMMITTED:
        text = engine.transcribe(read_audio(clip.path, 60.0), Options(), Unattended()).text
        assert words(text) == words(clip.text)


def test_language_and_translation(daemon: DaemonProcess) -> None:
    pcm = read_audio(COMMITTED[0].path, 60.0)
    with daemon.client() as client:
        assert client.transcribe(pcm, language="auto").language == "en"
        german = client.transcribe(pcm, language="de")
        assert german.language == "de"
        assert client.transcribe(pcm, task="translate").text


def test_a_clip_over_30_seconds_is_cut_at_pauses_and_joined(daemon: DaemonProcess) -> None:
    sample, command = (read_audio(clip.path, 60.0) for clip in COMMITTED)
    pause = np.zeros(8000, np.int16)
    parts, text = [], []
    for _ in range(8):
        parts += [sample, pause, command, pause]
        text += [COMMITTED[0].text, COMMITTED[1].text]
    with daemon.client() as client:
        answer = client.transcribe(np.concatenate(parts))
    # Nothing lost and nothing doubled at the joint; a word of each sentence may be wrong.
    assert len(words(answer.text)) == len(words(" ".join(text)))
    assert word_errors(" ".join(text), answer.text) <= 8
    segments = answer.data["segments"]
    assert len(segments) >= 2
    assert 0.0 <= segments[0]["start"] < 0.5
    assert all(a["end"] <= b["start"] for a, b in zip(segments, segments[1:], strict=False))


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(16000, 2, 1), (48000, 3, 2), (44100, 4, 1), (8000, 2, 6)]
)
def test_any_format_on_the_wire(daemon: DaemonProcess, rate: int, width: int, channels: int) -> None:
    from daemon_process import Wire
    from whisperd.audio.resample import Resampler

    clip = COMMITTED[0]
    pcm = read_audio(clip.path, 60.0).astype(np.float32) / 32768
    resampler = Resampler(16000, rate)
    wide = np.concatenate([resampler.push(pcm), resampler.flush()])
    levels = np.clip(np.rint(wide * 2 ** (8 * width - 1) * 0.9), -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    frames = np.repeat(levels.astype("<i4")[:, None], channels, axis=1)
    raw = frames.reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with Wire(daemon.connect(60.0)) as wire:
        wire.clip(raw, rate, width, channels, chunk=width * channels * 1000)
        kind, data = wire.receive() or ("", {})
    assert kind == "transcript", data
    assert word_errors(clip.text, data["text"]) <= (0 if rate >= 16000 else 2)


def test_silence_gives_no_words(daemon: DaemonProcess) -> None:
    with daemon.client() as client:
        answer = client.transcribe(np.zeros(48000, np.int16))
    assert (answer.text, answer.data["no_speech"]) == ("", "no-voice")


@pytest.mark.parametrize("name", NOISES)
def test_what_is_no_speech_gives_no_words(daemon: DaemonProcess, name: str) -> None:
    """Whisper alone hears "you" in the hum, and whole sentences in the door."""
    with daemon.client() as client:
        assert [client.transcribe(noise(name, seconds)).text for seconds in (1, 5, 12)] == [""] * 3


def test_wyoming_s_own_client_unmodified(daemon: DaemonProcess) -> None:
    """The stranger's library, through its own URI, as Home Assistant would use it."""
    pcm = read_audio(COMMITTED[0].path, 60.0).tobytes()

    async def talk() -> tuple[Info, Pong, Transcript]:
        client = AsyncClient.from_uri(f"unix://{daemon.socket}")
        async with client:
            await client.write_event(Describe().event())
            info = await client.read_event()
            await client.write_event(Ping(text="hello").event())
            pong = await client.read_event()
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
            for start in range(0, len(pcm), 2048):
                chunk = AudioChunk(rate=16000, width=2, channels=1, audio=pcm[start : start + 2048])
                await client.write_event(chunk.event())
            await client.write_event(AudioStop().event())
            transcript = await client.read_event()
        assert info and pong and transcript
        return Info.from_event(info), Pong.from_event(pong), Transcript.from_event(transcript)

    info, pong, transcript = asyncio.run(asyncio.wait_for(talk(), 60))
    assert info.asr[0].name == "whisperd"
    assert info.asr[0].models[0].name == "base"
    assert "en" in info.asr[0].models[0].languages
    assert pong.text == "hello"
    assert words(transcript.text) == words(COMMITTED[0].text)
    assert transcript.language == "en"
