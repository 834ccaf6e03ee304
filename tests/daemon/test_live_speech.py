"""Live speech through a real daemon: pushed over the socket, and heard by its microphone through real alsa-lib."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alsa_microphone
import noises
import numpy as np
import pytest
from alsa_microphone import CARD, AlsaMicrophone
from daemon_process import DaemonProcess
from speech import COMMITTED, word_errors
from whisperd.audio.files import read_audio
from wire_talk import FORM, WireTalk
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncUnixClient

SENTENCE, COMMAND = COMMITTED
SENTENCE_PCM, COMMAND_PCM = (read_audio(clip.path, 60) for clip in COMMITTED)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * 16_000), np.int16)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def daemon(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(base, tmp_path_factory.mktemp("live")) as daemon:
        yield daemon


def check_stable(talk: WireTalk) -> None:
    """Stable text only grows, and every final text begins with what stood."""
    stood: dict[int, str] = {}
    for kind, data in talk.told:
        if kind == "partial":
            assert data["stable"].startswith(stood.get(data["utterance"], ""))
            stood[data["utterance"]] = data["stable"]
        elif kind == "transcript" and "utterance" in data:
            assert data["text"].startswith(stood.get(data["utterance"], ""))


def streamed(daemon: DaemonProcess, pcm: np.ndarray, **options: Any) -> WireTalk:
    talk = WireTalk(daemon)
    with talk:
        talk.send("transcribe", id="s", live=True, **options)
        talk.send("audio-start", **FORM)
        talk.speak(pcm)
        talk.send("audio-stop")
        talk.wait("listen-stopped")
    check_stable(talk)
    return talk


# --- pushed over the socket -----------------------------------------------------------------------------------


def test_words_appear_while_the_sentence_lasts_and_the_final_text_is_right(daemon: DaemonProcess) -> None:
    talk = streamed(daemon, joined(quiet(0.5), SENTENCE_PCM, quiet(1.2)))
    assert talk.kinds("hello", "level") == [
        "listening",
        "voice-started",
        "partial",
        "voice-stopped",
        "transcript",
        "listen-stopped",
    ]
    (final,) = talk.of("transcript")
    assert word_errors(SENTENCE.text, final["text"]) == 0
    assert any(partial["stable"] for partial in talk.of("partial"))
    assert [partial["revision"] for partial in talk.of("partial")] == list(range(len(talk.of("partial"))))
    assert 0.0 < final["start"] < 0.9 and final["start"] < final["end"] < 4.5
    assert len(talk.of("level")) <= 20 * 5.3 + 1


def test_two_utterances_in_one_stream(daemon: DaemonProcess) -> None:
    talk = streamed(daemon, joined(quiet(0.4), SENTENCE_PCM, quiet(1.2), COMMAND_PCM, quiet(1.2)))
    texts = talk.of("transcript")
    assert [word_errors(c.text, t["text"]) for c, t in zip(COMMITTED, texts, strict=True)] == [0, 0]
    assert [t["utterance"] for t in texts] == [0, 1]
    assert talk.of("listen-stopped") == [{"id": "s", "utterances": 2}]


def test_a_pause_of_400_ms_is_no_end(daemon: DaemonProcess) -> None:
    talk = streamed(daemon, joined(quiet(0.4), COMMAND_PCM[: 16_000 * 2], quiet(0.15), COMMAND_PCM, quiet(1.2)))
    assert len(talk.of("voice-started")) == len(talk.of("voice-stopped")) == 1
    (final,) = talk.of("transcript")
    assert final["text"].lower().count("turn on the air") == 2


def test_push_to_talk_ends_when_the_client_says_so(daemon: DaemonProcess) -> None:
    said = joined(SENTENCE_PCM, quiet(1.5), COMMAND_PCM)  # a pause that would end an utterance
    talk = streamed(daemon, said, mode="push-to-talk")
    (final,) = talk.of("transcript")
    assert word_errors(f"{SENTENCE.text} {COMMAND.text}", final["text"]) <= 1


@pytest.mark.parametrize("name", ["silence", *noises.NOISES])
def test_what_nobody_said(daemon: DaemonProcess, name: str) -> None:
    pcm = quiet(2.0) if name == "silence" else noises.noise(name, 2.0)
    talk = streamed(daemon, joined(quiet(0.3), pcm, quiet(0.7)), mode="push-to-talk")
    assert talk.of("transcript") == []
    (nothing,) = talk.of("no-speech")
    assert nothing["reason"] in ("no-voice", "silence", "doubtful")
    assert all(partial["stable"] == "" for partial in talk.of("partial"))


def test_a_wyoming_client_that_speaks_reads_along(daemon: DaemonProcess) -> None:
    with WireTalk(daemon, hello=False) as talk:
        talk.send("transcribe", language="en")
        talk.send("audio-start", **FORM)
        talk.speak(joined(SENTENCE_PCM, quiet(0.9)))
        talk.wait("voice-stopped")  # by which such a client knows that it may stop
        talk.send("audio-stop")
        talk.wait("transcript-stop")
    kinds = talk.kinds()
    assert kinds[0] == "voice-started"
    assert kinds[-2:] == ["transcript", "transcript-stop"]
    assert kinds.count("transcript-start") == 1
    (final,) = talk.of("transcript")
    assert set(final) == {"text", "language"}
    assert "".join(data["text"] for data in talk.of("transcript-chunk")) == final["text"]
    assert word_errors(SENTENCE.text, final["text"]) == 0


def test_wyoming_s_own_client_at_the_pace_of_speech(daemon: DaemonProcess) -> None:
    import asyncio

    async def talk() -> tuple[str, str]:
        async with AsyncUnixClient(str(daemon.socket)) as client:
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(16_000, 2, 1).event())
            for start in range(0, len(SENTENCE_PCM), 1600):
                chunk = SENTENCE_PCM[start : start + 1600].tobytes()
                await client.write_event(AudioChunk(16_000, 2, 1, chunk).event())
                await asyncio.sleep(0.1)
            await client.write_event(AudioStop().event())
            chunks = ""
            while True:
                event = await asyncio.wait_for(client.read_event(), 60)
                assert event is not None
                if TranscriptChunk.is_type(event.type):
                    chunks += TranscriptChunk.from_event(event).text
                elif Transcript.is_type(event.type):
                    return chunks, Transcript.from_event(event).text

    chunks, text = asyncio.run(talk())
    assert chunks == text
    assert word_errors(SENTENCE.text, text) == 0


def test_a_file_that_is_sent_at_once_gets_its_transcript_and_nothing_else(daemon: DaemonProcess) -> None:
    with WireTalk(daemon, hello=False) as talk:
        talk.send("audio-start", **FORM)
        for start in range(0, len(SENTENCE_PCM), 16_000):
            talk.send("audio-chunk", SENTENCE_PCM[start : start + 16_000].tobytes(), **FORM)
        talk.send("audio-stop")
        talk.wait("transcript")
    assert talk.kinds() == ["transcript"]


def test_without_the_network_loudness_tells_where_speech_is(base: Path, tmp_path: Path) -> None:
    with DaemonProcess(base, tmp_path, {"WHISPERD_MODEL_VAD": ""}) as daemon:
        talk = streamed(daemon, joined(quiet(0.6), COMMAND_PCM, quiet(1.2)))
        assert [word_errors(COMMAND.text, data["text"]) for data in talk.of("transcript")] == [0]


# --- the microphone -------------------------------------------------------------------------------------------


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[AlsaMicrophone]:
    alsa_microphone.require("tests/daemon", CARD)
    made = AlsaMicrophone(tmp_path, CARD)
    yield made
    made.unplug()


@pytest.fixture
def listening(base: Path, tmp_path: Path, microphone: AlsaMicrophone) -> Iterator[DaemonProcess]:
    with DaemonProcess(base, tmp_path, microphone.environment) as daemon:
        yield daemon


def play(microphone: AlsaMicrophone, *parts: np.ndarray) -> None:
    microphone.play(joined(*parts).tobytes())


def test_the_microphone_hands_free(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    microphone.plug()
    with WireTalk(listening) as talk:
        talk.send("listen", id="m")
        assert talk.wait("listening")[1] == {"id": "m", "mode": "hands-free", "device": "mic"}
        play(microphone, quiet(0.5), SENTENCE_PCM, quiet(1.2))
        final = talk.wait("transcript")[1]
        assert word_errors(SENTENCE.text, final["text"]) == 0
        talk.send("listen-stop", id="m")
        assert talk.wait("listen-stopped")[1] == {"id": "m", "utterances": 1}
        talk.send("status")
        status = talk.wait("status")[1]
        assert status["microphone_samples"] >= 4 * 16_000
        assert (status["microphone_lost"], status["listening"]) == (0, 0)
    check_stable(talk)
    assert talk.of("overrun") == []
    assert "microphone mic is open" in listening.log
    assert SENTENCE.text.split()[-1] not in listening.log


def test_barge_in(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    """The driver speaks into what is being heard: cancel, and listen again in the same breath."""
    microphone.plug()
    with WireTalk(listening) as talk:
        talk.send("listen", id="first")
        talk.wait("listening")
        play(microphone, SENTENCE_PCM[:40_000])
        talk.wait("partial")
        talk.send("cancel", id="first")
        talk.send("listen", id="second")
        talk.wait("listening", count=2)
        play(microphone, quiet(0.3), COMMAND_PCM, quiet(1.2))
        final = talk.wait("transcript")[1]
    assert final["id"] == "second"
    assert word_errors(COMMAND.text, final["text"]) == 0
    cancelled = next(at for at, told in enumerate(talk.told) if told[0] == "cancelled")
    assert [data["id"] for _, data in talk.told[cancelled + 1 :] if "id" in data].count("first") == 0


def test_two_listen_and_one_leaves(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    microphone.plug()
    with WireTalk(listening) as one, WireTalk(listening) as other:
        for talk in (one, other):
            talk.send("listen")
            talk.wait("listening")
        play(microphone, quiet(0.3), COMMAND_PCM, quiet(1.2))
        assert {word_errors(COMMAND.text, talk.wait("transcript")[1]["text"]) for talk in (one, other)} == {0}
        one.send("listen-stop")
        one.wait("listen-stopped")
        play(microphone, quiet(0.3), SENTENCE_PCM, quiet(1.2))
        final = other.wait("transcript", count=2)[1]
        assert word_errors(SENTENCE.text, final["text"]) == 0
    assert len(one.of("transcript")) == 1


def test_no_microphone_at_start_and_one_later(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    with WireTalk(listening) as talk:
        talk.send("listen", id="m")
        error = talk.wait("error")[1]
        assert (error["code"], error["id"], error["retry"]) == ("no-microphone", "m", True)
        assert "'mic'" in error["text"]
        microphone.plug()
        talk.send("listen", id="m")
        talk.wait("listening")


def test_a_microphone_that_vanishes_and_returns(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    microphone.plug()
    with WireTalk(listening) as talk:
        talk.send("listen", id="m")
        talk.wait("listening")
        play(microphone, quiet(0.3), SENTENCE_PCM[:24_000])
        microphone.unplug()
        lost = talk.wait("mic-lost")[1]
        assert lost["id"] == "m" and "'mic'" in lost["text"] and lost["retry_seconds"] > 0
        microphone.plug()
        talk.wait("mic-restored")
        play(microphone, quiet(1.0), COMMAND_PCM, quiet(1.2))
        final = talk.wait("transcript", when=lambda data: "conditioning" in data["text"].lower())[1]
        assert word_errors(COMMAND.text, final["text"][-len(COMMAND.text) - 1 :]) <= 1
    assert listening.log.count("is lost") == 1


def test_the_daemon_stops_while_it_listens(microphone: AlsaMicrophone, listening: DaemonProcess) -> None:
    microphone.plug()
    with WireTalk(listening) as talk:
        talk.send("listen")
        talk.wait("listening")
        stopping = threading.Thread(target=listening.stop)
        stopping.start()
        assert talk.wait("error")[1]["code"] == "shutting-down"
        stopping.join()
    assert listening.process is not None and listening.process.returncode == 0
