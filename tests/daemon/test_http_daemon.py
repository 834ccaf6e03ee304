"""HTTP on a real daemon: what was said comes out, live and whole, and neither socket disturbs the other."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
import pytest
import soundfile
from daemon_process import DaemonProcess
from openai import OpenAI
from speech import COMMITTED, ROOT, words
from whisperd.audio.files import read_audio
from whisperd.audio.pieces import pieces

WAIT_SECONDS = 60.0
SAMPLE, COMMAND = COMMITTED


class HttpDaemon(DaemonProcess):
    """A daemon with a second socket."""

    def __init__(self, bundle: Path, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.http = folder / "http.sock"
        super().__init__(bundle, folder, environment, "--http-socket", str(self.http))

    def over_http(self) -> httpx.Client:
        """A client."""
        transport = httpx.HTTPTransport(uds=str(self.http))
        return httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_SECONDS)


@pytest.fixture(scope="module")
def running(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDaemon]:
    daemon = HttpDaemon(base, tmp_path_factory.mktemp("http"))
    with daemon:
        yield daemon


@pytest.fixture
def client(running: HttpDaemon) -> Iterator[httpx.Client]:
    with running.over_http() as client:
        yield client


def wait_until_idle(client: httpx.Client) -> dict[str, Any]:
    until = time.monotonic() + WAIT_SECONDS
    while (status := client.get("/status").json())["state"] != "idle":
        assert time.monotonic() < until, status
        time.sleep(0.02)
    return dict(status)


def recording(*parts: Path, pause: float = 0.8, times: int = 1) -> bytes:
    """A FLAC of several clips with pauses between."""
    silence = np.random.default_rng(1).normal(0, 3, round(pause * 16_000)).astype(np.int16)
    joined = np.concatenate(
        [piece for _ in range(times) for part in parts for piece in (read_audio(part, 60), silence)]
    )
    file = io.BytesIO()
    soundfile.write(file, joined, 16_000, format="FLAC")
    return file.getvalue()


def in_pieces(running: HttpDaemon, content: bytes, longest_s: float, **later: Any) -> list[str]:
    """What the native socket says of each of the pieces in which a recording is transcribed; `later` is chosen for
    all but the first."""
    pcm = read_audio(content, 600)
    with running.client() as native:
        return [
            native.transcribe(piece.pcm, options={"language": "en", **(later if piece.offset else {})}).text
            for piece in pieces([pcm], longest_s)
        ]


def test_what_was_said(client: httpx.Client) -> None:
    for clip in COMMITTED:
        body = client.post(
            "/transcribe", files={"audio_file": clip.path.read_bytes()}, data={"language": "en"}
        ).json()
        assert words(body["text"]) == words(clip.text)
        assert body["duration"] == pytest.approx(soundfile.info(clip.path).duration, abs=0.001)
        assert 0 < body["inference_time"] <= body["total_time"] + 0.001
        assert body["segments"]


def test_words_have_times(client: httpx.Client) -> None:
    told = {"language": "en", "word_timestamps": "true"}
    body = client.post("/transcribe", files={"audio_file": SAMPLE.path.read_bytes()}, data=told).json()
    found = [word for segment in body["segments"] for word in segment["words"]]
    assert words("".join(word["word"] for word in found)) == words(SAMPLE.text)
    times = [time for word in found for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= body["duration"]
    told = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    body = client.post("/v1/audio/transcriptions", files={"file": SAMPLE.path.read_bytes()}, data=told).json()
    assert [word["word"] for word in body["words"]] == [word["word"].strip() for word in found]


def test_both_sockets_say_the_same_and_count_together(client: httpx.Client, running: HttpDaemon) -> None:
    before = client.get("/status").json()["requests"]
    over_http = client.post("/transcribe", files={"audio_file": SAMPLE.path.read_bytes()}).json()
    with running.client() as native:
        told = native.transcribe(read_audio(SAMPLE.path, 60))
    assert over_http["text"] == told.text
    assert client.get("/status").json()["requests"] == before + 2
    assert 'whisperd_requests_total{outcome="transcribed"}' in client.get("/metrics").text


def test_noise_is_no_speech(client: httpx.Client) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(1).normal(0, 0.02, 32_000), 16_000, format="WAV")
    body = client.post("/transcribe", files={"audio_file": file.getvalue()}).json()
    assert (body["text"], body["segments"]) == ("", [])
    assert body["no_speech"] in ("no-voice", "silence", "doubtful")


def test_trimmed_and_normalized_it_says_the_same(client: httpx.Client) -> None:
    pcm = read_audio(SAMPLE.path, 60)
    quiet = np.concatenate([np.zeros(48_000, np.int16), pcm // 32, np.zeros(48_000, np.int16)])
    quiet = quiet + np.random.default_rng(1).normal(0, 1, len(quiet)).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, quiet, 16_000, format="WAV")
    told = {"trim_silence": "true", "normalize": "true"}
    body = client.post("/transcribe", files={"audio_file": file.getvalue()}, data=told).json()
    assert words(body["text"]) == words(SAMPLE.text)
    assert body["duration"] == pytest.approx(len(quiet) / 16_000, abs=0.001)
    assert 2.0 < body["segments"][0]["start"] <= 3.6  # in the file, not in what was left of it


def test_the_official_client(running: HttpDaemon) -> None:
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(running.http)), timeout=WAIT_SECONDS)
    with OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=0) as client:
        with SAMPLE.path.open("rb") as file:
            assert words(client.audio.transcriptions.create(model="base", file=file).text) == words(SAMPLE.text)
        found = client.audio.transcriptions.create(
            model="whisper-1", file=COMMAND.path, response_format="verbose_json", language="en"
        )
        assert words(found.text) == words(COMMAND.text)
        assert found.segments and found.segments[0].avg_logprob < 0
        long = recording(SAMPLE.path, COMMAND.path, times=6)
        events = client.audio.transcriptions.create(
            model="whisper-1", file=("long.flac", long), stream=True, language="en"
        )
        told = [event.delta for event in events if event.type == "transcript.text.delta"]
    said = in_pieces(running, long, 30.0)
    assert len(said) >= 2
    assert told == [said[0], *(f" {text}" for text in said[1:])]


def test_longer_than_a_clip_may_be(base: Path, tmp_path: Path) -> None:
    daemon = HttpDaemon(base, tmp_path, {"WHISPERD_LIMITS_MAX_CLIP_SECONDS": "20"})
    with daemon, daemon.over_http() as client:
        long = recording(SAMPLE.path, COMMAND.path, times=5)
        body = client.post("/transcribe", files={"audio_file": long}, data={"language": "en"}).json()
        said = in_pieces(daemon, long, 20.0, without_timestamps=False)
        assert len(said) >= 2
        assert body["text"] == " ".join(said)
        assert body["duration"] == pytest.approx(len(read_audio(long, 600)) / 16_000)
        starts = [segment["start"] for segment in body["segments"]]
        assert starts == sorted(starts)
        assert 13 < starts[-1] < body["duration"]


def test_live_speech_over_the_websocket(running: HttpDaemon) -> None:
    async def talk() -> list[dict[str, Any]]:
        connector = aiohttp.UnixConnector(path=str(running.http))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect("http://localhost/stream") as ws,
        ):
            with wave.open(str(SAMPLE.path)) as opened:
                await ws.send_json({"format": "s16", "rate": opened.getframerate(), "language": "en"})
                while samples := opened.readframes(opened.getframerate() // 20):
                    await ws.send_bytes(samples)
                    await asyncio.sleep(0.05)
            await ws.send_json({"type": "stop"})
            return [json.loads(message.data) async for message in ws]

    events = asyncio.run(asyncio.wait_for(talk(), WAIT_SECONDS))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "listening" and kinds[-1] == "listen-stopped"
    assert kinds.index("voice-started") < kinds.index("partial") < kinds.index("final")
    finals = [event["text"] for event in events if event["type"] == "final"]
    assert words(" ".join(finals)) == words(SAMPLE.text)
    stable = [event["stable"] for event in events if event["type"] == "partial" and event["utterance"] == 0]
    assert all(after.startswith(before) for before, after in zip(stable, stable[1:], strict=False))
    assert finals[0].startswith(stable[-1].strip())


def test_a_client_that_hangs_up_frees_the_worker(client: httpx.Client, running: HttpDaemon) -> None:
    long = recording(SAMPLE.path, COMMAND.path, times=60)  # minutes, of which some would be worked on
    failed = client.get("/status").json()["failed"]
    head = b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n'
    body = head + long + b"\r\n--B--\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.http))
        connection.sendall(
            b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        until = time.monotonic() + WAIT_SECONDS
        while client.get("/status").json()["state"] != "busy":
            assert time.monotonic() < until
    status = wait_until_idle(client)
    assert status["failed"] == failed + 1
    assert status["buffered_seconds"] == 0
    assert "outcome=disconnected" in running.log


def test_speech_goes_before_files(client: httpx.Client, running: HttpDaemon) -> None:
    long = recording(SAMPLE.path, COMMAND.path, times=4)
    order: list[str] = []

    def ask(name: str, content: bytes, priority: str) -> None:
        with running.over_http() as own:
            own.post("/transcribe", files={"audio_file": content}, data={"priority": priority})
            order.append(name)

    threads = []
    for name, content, priority in (
        ("first", long, "final"),
        ("file", long, "file"),
        ("speech", COMMAND.path.read_bytes(), "final"),
    ):
        queued = len(threads) - 1
        threads.append(threading.Thread(target=ask, args=(name, content, priority)))
        threads[-1].start()
        until = time.monotonic() + WAIT_SECONDS
        while (status := client.get("/status").json())["running"] + status["queue"] < queued + 2:
            assert time.monotonic() < until
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert order == ["first", "speech", "file"]


def test_an_upload_is_in_memory_once(base: Path, tmp_path: Path) -> None:
    size = 60 << 20
    daemon = HttpDaemon(base, tmp_path)
    with daemon, daemon.over_http() as client:
        client.post("/transcribe", files={"audio_file": COMMAND.path.read_bytes()})
        before = daemon.memory()
        peak = [before]
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.005):
                peak.append(daemon.memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        head = b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n'

        def body() -> Iterator[bytes]:
            yield head
            for _ in range(size >> 16):
                yield bytes(1 << 16)
            yield b"\r\n--B--\r\n"

        answer = client.post(
            "/transcribe", content=body(), headers={"Content-Type": "multipart/form-data; boundary=B"}
        )
        stop.set()
        watcher.join()
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-audio")
        # The memfd's pages are not the process's: what it holds itself is what is on its way.
        assert max(peak) - before < 24
        held = [os.readlink(link) for link in Path(f"/proc/{daemon.pid}/fd").iterdir()]
        assert not [name for name in held if "memfd:upload" in name]


def test_what_was_said_is_not_in_the_log(client: httpx.Client, running: HttpDaemon) -> None:
    client.post("/transcribe", files={"audio_file": SAMPLE.path.read_bytes()}, data={"initial_prompt": "Kenobi"})
    assert "outcome=transcribed" in running.log
    for word in ("airport", "traffic", "Kenobi"):
        assert word not in running.log


def test_scripts_run_serves_it(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    command = [
        str(ROOT / "scripts" / "run"),
        "--serve",
        "--socket",
        str(tmp_path / "s"),
        "--http-socket",
        str(path),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as serving:
        try:
            assert serving.stderr is not None
            while "ready on" not in (line := serving.stderr.readline()):
                assert line, "scripts/run ended"
            assert str(path) in line
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
                assert client.get("http://localhost/health").json()["status"] == "ok"
        finally:
            os.killpg(serving.pid, signal.SIGINT)
        assert serving.wait(WAIT_SECONDS) == 0
    assert not path.exists()


def test_http_socket_goes_with_serve(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "run"), "--http-socket", str(tmp_path / "h")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--http-socket goes with --serve" in done.stderr
