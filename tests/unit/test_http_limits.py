"""Clients that are slow, silent, greedy, broken or gone; a worker that hangs, and the daemon's end."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from http_daemon import WAIT_SECONDS, Running, TalkingEngine, serve, wav
from whisperd.config import HttpConfig, Limits
from whisperd.speech.options import Options
from whisperd.speech.types import Control, Int16Samples, Transcription

FORM = {"Content-Type": "multipart/form-data; boundary=B"}
PART = b'--B\r\nContent-Disposition: form-data; name="audio_file"\r\n\r\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def everything(connection: socket.socket) -> bytes:
    """What comes until the daemon closes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:  # it closed with bytes of ours unread, behind its last words
        pass
    return received


def answer_of(received: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def one_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The next answer, on a connection that stays."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += connection.recv(65536)
    found = re.search(rb"Content-Length: (\d+)", received)
    assert found
    while len(received) < end + 4 + int(found[1]):
        received += connection.recv(65536)
    return answer_of(received)


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.01)


def post(running: Running) -> httpx.Response:
    with running.client() as client:
        return client.post("/transcribe", files={"audio_file": wav()})


def pending(running: Running) -> int:
    status = running.server.status()
    return int(status["running"] + status["queue"])


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    return thread, found


# --- slow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [b"", b"GET /hea", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_to_its_end(path: Path, begin: bytes) -> None:
    with serve(path, settings=HttpConfig(head_seconds=0.3)) as running, running.connect() as connection:
        connection.sendall(begin)
        status, body = answer_of(everything(connection))
        assert (status, body["code"], body["retry"]) == (408, "timed-out", True)
        assert "head of the request was not whole after 0.3 s" in body["detail"]


def test_a_head_that_drips_is_no_better(path: Path) -> None:
    with serve(path, settings=HttpConfig(head_seconds=0.5)) as running, running.connect() as connection:
        received, head = b"", iter(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
        connection.settimeout(0.05)
        until = time.monotonic() + WAIT_SECONDS
        while b"}" not in received:
            assert time.monotonic() < until
            try:
                connection.send(bytes([next(head)]))
                received += connection.recv(65536)
            except TimeoutError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
        assert answer_of(received)[1]["code"] == "timed-out"


def test_a_body_that_drips(path: Path) -> None:
    with serve(path, settings=HttpConfig(upload_seconds=0.4)) as running, running.connect() as connection:
        head = b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        connection.sendall(head + b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + PART)
        status, body = answer_of(everything(connection))
        assert (status, body["code"]) == (408, "timed-out")
        assert "body was not whole after 0.4 s" in body["detail"]
        assert running.server.status()["failed"] == 1


def test_a_connection_on_which_nothing_follows_is_closed(path: Path) -> None:
    with serve(path, settings=HttpConfig(keepalive_seconds=0.3)) as running, running.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_of(everything(connection))[0] == 200
        wait_until(lambda: running.server.status()["connections"] == 0)


def test_a_client_that_does_not_take_its_answers_is_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(write_seconds=0.4, write_buffer_bytes=16384)
    with (
        caplog.at_level(logging.WARNING),
        serve(path, limits=limits) as running,
        running.connect() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.1)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            until = time.monotonic() + WAIT_SECONDS
            while time.monotonic() < until:
                with suppress(TimeoutError):
                    connection.send(ask)
        wait_until(lambda: running.server.status()["connections"] == 0)
    assert "dropped" in caplog.text


def test_requests_that_are_sent_ahead_without_end(path: Path) -> None:
    """Newer versions of aiohttp stop to read; with older ones it is the gate that drops the connection."""
    engine = TalkingEngine()
    engine.hold.clear()
    with serve(path, engine) as running, running.connect() as connection:
        body = PART + wav(0.1) + b"\r\n--B--\r\n"
        head = f"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
        connection.sendall(head + b"Content-Type: multipart/form-data; boundary=B\r\n\r\n" + body)
        assert engine.running.wait(WAIT_SECONDS)
        connection.settimeout(1.0)
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)):
            while sent < 1 << 30:
                sent += connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert sent < 4 << 20
        with running.client() as client:
            assert client.get("/health").status_code == 200


def test_a_few_that_are_sent_ahead_are_answered_in_order(path: Path) -> None:
    with serve(path, settings=HttpConfig(keepalive_seconds=0.3)) as running, running.connect() as connection:
        connection.sendall(
            b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in (b"/", b"/health", b"/nope"))
        )
        received = everything(connection)
        assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200", b"200", b"404"]


# --- broken -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /transcribe HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /transcribe HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b'{"type": "describe"}\n\r\n\r\n',
    ],
)
def test_what_is_no_http(path: Path, said: bytes) -> None:
    with serve(path, settings=HttpConfig(head_seconds=1.0)) as running:
        with running.connect() as connection:
            connection.sendall(said)
            received = everything(connection)
            assert re.match(rb"HTTP/\d\.\d 400 ", received), received
            assert answer_of(received)[1]["code"] == "bad-request"
            assert b"application/problem+json" in received
        with running.client() as client:
            assert client.get("/health").status_code == 200


def test_broken_chunks(path: Path) -> None:
    with serve(path) as running, running.connect() as connection:
        head = b"POST /transcribe/base64 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(head + b'Content-Type: application/json\r\n\r\n5\r\n{"aud\r\nzz\r\n')
        status, body = answer_of(everything(connection))
        assert (status, body["code"]) in ((400, "bad-body"), (400, "bad-request"))


def test_expectations(path: Path) -> None:
    settings = HttpConfig(max_upload_bytes=65536, keepalive_seconds=0.3)
    with serve(path, settings=settings) as running:
        body = PART + wav(0.1) + b"\r\n--B--\r\n"
        head = b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        with running.connect() as connection:
            connection.sendall(head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert answer_of(everything(connection))[0] == 200
        with running.connect() as connection:
            connection.sendall(head + b"Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n")
            status, said = one_answer(connection)
            assert (status, said["code"]) == (413, "body-too-large")
        with running.connect() as connection:
            connection.sendall(head + b"Content-Length: 5\r\nExpect: a miracle\r\n\r\n")
            status, said = one_answer(connection)
            assert (status, said["field"]) == (400, "Expect")


# --- gone -------------------------------------------------------------------------------------------------------


def test_a_client_that_goes_takes_its_work_along(path: Path) -> None:
    engine = TalkingEngine()
    engine.hold.clear()
    with serve(path, engine) as running:
        with running.connect() as connection:
            body = PART + wav() + b"\r\n--B--\r\n"
            head = b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert engine.running.wait(WAIT_SECONDS)
            assert running.server.status()["running"] == 1
            assert running.server.status()["buffered_seconds"] > 0
        # It was never let go on: what ends it is the cancelling alone.
        wait_until(lambda: running.server.status()["running"] == 0)
        wait_until(lambda: running.server.status()["failed"] == 1)
        assert running.server.status()["buffered_seconds"] == 0
        engine.hold.set()
        assert post(running).status_code == 200


def test_a_client_that_goes_within_its_body(path: Path) -> None:
    with serve(path) as running:
        with running.connect() as connection:
            head = b"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            connection.sendall(head + b"Content-Length: 100000\r\n\r\n" + PART + b"x" * 1000)
            wait_until(lambda: running.server.status()["connections"] == 1)
        wait_until(lambda: running.server.status()["connections"] == 0)
        assert post(running).status_code == 200


# --- too many, too much -----------------------------------------------------------------------------------------


def test_a_full_queue(path: Path) -> None:
    engine = TalkingEngine()
    engine.hold.clear()
    with serve(path, engine, Limits(max_queue=1)) as running:
        waiting = []
        for count in (1, 2):  # one runs, one waits
            waiting.append(in_background(lambda: post(running)))
            wait_until(lambda count=count: pending(running) == count)  # type: ignore[misc]
        answer = post(running)
        assert (answer.status_code, answer.json()["code"], answer.json()["retry"]) == (503, "queue-full", True)
        assert answer.headers["retry-after"] == "2"
        engine.hold.set()
        for thread, found in waiting:
            thread.join(WAIT_SECONDS)
            assert found[0].status_code == 200


def test_too_much_audio_at_once(path: Path) -> None:
    with (
        serve(path, limits=Limits(max_clip_seconds=2.0, max_buffered_seconds=2.0)) as running,
        running.client() as client,
    ):
        answer = client.post("/transcribe", files={"audio_file": wav(2.0)})
        assert (answer.status_code, answer.json()["code"]) == (503, "queue-full")
        assert client.post("/transcribe", files={"audio_file": wav(1.5)}).status_code == 200


@pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="libsndfile without MP3")
def test_a_length_that_is_not_known_takes_much_only_while_it_is_decoded(path: Path) -> None:
    engine = TalkingEngine()
    engine.hold.clear()
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 16_000, format="MP3")
    limits = Limits(max_clip_seconds=10.0, max_buffered_seconds=40.0)
    with serve(path, engine, limits) as running:

        def ask() -> int:
            with running.client() as client:
                return client.post("/transcribe", files={"audio_file": file.getvalue()}).status_code

        asking = [in_background(ask) for _ in range(8)]  # of 10 s each, by what their headers tell
        wait_until(lambda: pending(running) == 8)
        assert running.server.status()["buffered_seconds"] < 10
        engine.hold.set()
        for thread, found in asking:
            thread.join(WAIT_SECONDS)
            assert found == [200]
        assert running.server.status()["buffered_seconds"] == 0


def test_recordings_have_an_end(path: Path) -> None:
    with serve(path, settings=HttpConfig(max_audio_seconds=2.0)) as running, running.client() as client:
        answer = client.post("/transcribe", files={"audio_file": wav(2.1)})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
            413,
            "audio-too-long",
            "audio_file",
        )


def test_uploads_of_all_clients_share_their_memory(path: Path) -> None:
    engine = TalkingEngine()
    engine.hold.clear()
    settings = HttpConfig(max_upload_bytes=65536, max_buffered_bytes=65536)
    with serve(path, engine, settings=settings) as running:
        thread, found = in_background(lambda: post(running))  # of 32 kB, which are held until it is answered
        assert engine.running.wait(WAIT_SECONDS)
        with running.client() as client:
            answer = client.post("/transcribe", files={"audio_file": wav(1.5)})
            assert (answer.status_code, answer.json()["code"]) == (503, "queue-full")
        engine.hold.set()
        thread.join(WAIT_SECONDS)
        assert found[0].status_code == 200
        with running.client() as client:
            assert client.post("/transcribe", files={"audio_file": wav(1.5)}).status_code == 200


def test_one_connection_too_many(path: Path) -> None:
    with serve(path, limits=Limits(max_connections=2)) as running:
        with ExitStack() as stack:
            for _ in range(2):
                connection = stack.enter_context(running.connect())
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert one_answer(connection)[0] == 200
            third = stack.enter_context(running.connect())
            third.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = everything(third)
            assert answer_of(received) == (
                503,
                {
                    "type": "urn:whisperd:problem:too-many-connections",
                    "title": "Too many connections",
                    "status": 503,
                    "detail": "2 connections are open already",
                    "code": "too-many-connections",
                    "retry": True,
                },
            )
            assert b"Retry-After: 2\r\n" in received
        wait_until(lambda: running.server.status()["connections"] == 0)
        with running.client() as client:
            assert client.get("/").status_code == 200


# --- the worker -------------------------------------------------------------------------------------------------


class Hanging(TalkingEngine):
    """Shows no sign of life until it is let go."""

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        self.running.set()
        self.hold.wait(WAIT_SECONDS)
        return super().transcribe(pcm, options, control)


def test_health_is_503_while_the_worker_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisperd.server.STUCK_SECONDS", 0.2)
    engine = Hanging()
    engine.hold.clear()
    with serve(path, engine) as running, running.client() as client:
        thread, found = in_background(lambda: post(running))
        assert engine.running.wait(WAIT_SECONDS)
        wait_until(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json() == {"status": "stuck", "state": "stuck", "model": "fake"}
        metrics = client.get("/metrics").text
        assert "\nwhisperd_stuck 1\n" in metrics
        engine.hold.set()
        thread.join(WAIT_SECONDS)
        assert found[0].status_code == 200
        assert client.get("/health").status_code == 200


# --- the end ----------------------------------------------------------------------------------------------------


def test_what_is_asked_when_the_daemon_stops_is_answered(path: Path) -> None:
    engine = TalkingEngine()
    engine.hold.clear()
    with serve(path, engine, Limits(stop_seconds=0.2), let_go=False) as running:
        thread, found = in_background(lambda: post(running))
        assert engine.running.wait(WAIT_SECONDS)
        idle = running.connect()
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one_answer(idle)[0] == 200
    thread.join(WAIT_SECONDS)
    assert (found[0].status_code, found[0].json()["code"]) == (503, "shutting-down")
    assert found[0].headers["connection"] == "close"
    assert everything(idle) == b""
    idle.close()
