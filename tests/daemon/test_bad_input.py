"""Everything a broken or hostile client can send to a real daemon: it answers, stays small, and others go on.

Each test ends with another client that is served as if nothing had been.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from daemon_process import DaemonProcess, Wire
from speech import COMMITTED, words
from whisperd.audio.files import read_audio

FORM = {"rate": 16000, "width": 2, "channels": 1}
LIMITS = {
    "WHISPERD_LIMITS_MAX_CONNECTIONS": "12",
    "WHISPERD_LIMITS_MAX_CLIP_SECONDS": "60",
    "WHISPERD_LIMITS_MAX_QUEUE": "4",
    "WHISPERD_LIMITS_IDLE_SECONDS": "3",
    "WHISPERD_LIMITS_EVENT_SECONDS": "1.5",
    "WHISPERD_LIMITS_WRITE_SECONDS": "2",
}


@pytest.fixture(scope="module")
def daemon(tiny_en: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(tiny_en, tmp_path_factory.mktemp("bad"), LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def others_do_not_notice(daemon: DaemonProcess) -> Iterator[None]:
    before = daemon.memory()
    yield
    clip = COMMITTED[1]
    until = time.monotonic() + 20
    while True:  # connections that a test has just dropped may still be counted
        try:
            with daemon.client() as client:
                assert words(client.transcribe(read_audio(clip.path, 60)).text) == words(clip.text)
                status = client.status()
            break
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    assert status["queue"] == 0
    while daemon.memory() >= before + 60:  # what a clip needed is given back after ten seconds of rest
        assert time.monotonic() < until + 20
        time.sleep(0.5)
    assert "Traceback" not in daemon.log


def answers(connection: socket.socket) -> list[tuple[str, dict]]:
    """All events up to the end of the stream."""
    wire = Wire(connection)
    found = []
    while (event := wire.receive()) is not None:
        found.append(event)
    wire.close()
    return found


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x00\xff\xfe garbage\n", "bad-header"),
        (b"hello\n", "bad-header"),
        (b"[1, 2]\n", "bad-header"),
        (b'"text"\n', "bad-header"),
        (b"{}\n", "bad-header"),
        (b'{"data": {}}\n', "bad-header"),
        (b'{"type": 7}\n', "bad-header"),
        (b'{"type": "ping"\n', "bad-header"),
        (b'{"type": "p\xc3\x28"}\n', "bad-header"),
        (b'{"type": "ping", "data": []}\n', "bad-header"),
        (b'{"type": "ping", "data": {"n": NaN}}\n', "bad-header"),
        (b'{"type": "audio-chunk", "payload_length": -1}\n', "bad-header"),
        (b'{"type": "audio-chunk", "payload_length": true}\n', "bad-header"),
        (b'{"type": "audio-chunk", "payload_length": 1.5}\n', "bad-header"),
        (b'{"type": "audio-chunk", "payload_length": "9"}\n', "bad-header"),
        (b'{"type": "audio-chunk", "payload_length": 1099511627776}\n', "payload-too-long"),
        (b'{"type": "audio-chunk", "payload_length": 65537}\n', "payload-too-long"),
        (b'{"type": "ping", "data_length": 1099511627776}\n', "payload-too-long"),
        (b'{"type": "ping", "data_length": 4}\nnope', "bad-data"),
        (b'{"type": "ping", "data_length": 2}\n[]', "bad-data"),
        (b'{"type": "ping", "x": "' + b"a" * 16384 + b'"}\n', "header-too-long"),
        (b"a" * 20000, "header-too-long"),
        (b'{"type": "ping", "data": ' + b"[" * 8000 + b"]" * 8000 + b"}\n", "bad-header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "bad-header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_framing_is_answered_and_ends_the_connection(daemon: DaemonProcess, raw: bytes, code: str) -> None:
    connection = daemon.connect()
    connection.sendall(raw)
    events = answers(connection)
    assert [kind for kind, _ in events] == ["error"]
    assert events[0][1]["code"] == code
    assert events[0][1]["text"]
    assert events[0][1]["retry"] is False


def test_a_header_of_exactly_the_limit_is_read(daemon: DaemonProcess) -> None:
    head = {"type": "ping", "data": {"text": ""}}
    head["data"] = {"text": "x" * (16384 - len(json.dumps(head)))}
    line = json.dumps(head).encode()
    assert len(line) == 16384
    with Wire(daemon.connect()) as wire:
        wire.connection.sendall(line + b"\n")
        assert wire.receive() == ("pong", head["data"])


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda w: w.send("audio-chunk", FORM, b"\0\0"), "unexpected-event"),
        (lambda w: w.send("audio-stop"), "unexpected-event"),
        (lambda w: w.send("audio-start", {"rate": 16000, "width": 2}), "bad-event"),
        (lambda w: w.send("audio-start", {"rate": "fast", "width": 2, "channels": 1}), "bad-event"),
        (lambda w: w.send("audio-start", {**FORM, "width": 5}), "bad-format"),
        (lambda w: w.send("audio-start", {**FORM, "width": 0}), "bad-format"),
        (lambda w: w.send("audio-start", {**FORM, "rate": 1}), "bad-format"),
        (lambda w: w.send("audio-start", {**FORM, "rate": 384001}), "bad-format"),
        (lambda w: w.send("audio-start", {**FORM, "channels": 9}), "bad-format"),
        (lambda w: w.clip(b"\0" * 1001), "bad-payload"),
        (lambda w: w.clip(b""), "bad-audio"),
        (lambda w: w.send("transcribe", {"language": "xx"}), "unknown-language"),
        (lambda w: w.send("transcribe", {"language": 3}), "bad-event"),
        (lambda w: w.send("transcribe", {"name": "large-v9"}), "unknown-model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_request_is_refused_and_the_connection_goes_on(
    daemon: DaemonProcess, send: Callable[[Wire], None], code: str
) -> None:
    with Wire(daemon.connect()) as wire:
        send(wire)
        kind, data = wire.receive() or ("", {})
        assert (kind, data.get("code")) == ("error", code)
        # What belongs to the refused request may still come: it is dropped, and the next request is served.
        wire.send("audio-stop")
        wire.send("transcribe", {"language": "en"})
        wire.clip(read_audio(COMMITTED[1].path, 60).tobytes())
        while kind != "transcript":
            event = wire.receive()
            assert event is not None
            kind, data = event
        assert words(data["text"]) == words(COMMITTED[1].text)


@pytest.mark.parametrize("rate", [4000, 384_000])
def test_the_slowest_and_the_fastest_rate(daemon: DaemonProcess, rate: int) -> None:
    with Wire(daemon.connect(30)) as wire:
        wire.clip(np.zeros(rate, "<i2").tobytes(), rate, chunk=60000)
        assert wire.receive() == ("transcript", {"text": "", "language": "en"})


def test_a_clip_of_exactly_the_limit_and_one_sample_more(daemon: DaemonProcess) -> None:
    with Wire(daemon.connect(60)) as wire:
        wire.clip(b"\0" * (60 * 32000))
        assert (wire.receive() or ("",))[0] == "transcript"
        wire.send("audio-start", FORM)
        for _ in range(60):
            wire.send("audio-chunk", FORM, b"\0" * 32000)
        wire.send("audio-chunk", FORM, b"\0" * 2)
        kind, data = wire.receive() or ("", {})
        assert (kind, data["code"]) == ("error", "audio-too-long")
        assert wire.receive() is None


def test_ten_hours_of_audio_are_stopped_at_the_limit(daemon: DaemonProcess) -> None:
    connection = daemon.connect()
    wire = Wire(connection)
    wire.send("audio-start", FORM)
    sent = 0
    with pytest.raises(OSError):
        while sent < 36000:
            wire.send("audio-chunk", FORM, b"\0" * 32000)
            sent += 1
    assert 60 <= sent < 600
    assert ("error", "audio-too-long") in [(kind, data.get("code")) for kind, data in answers(connection)]


def test_200_connections_at_once(daemon: DaemonProcess) -> None:
    with ExitStack() as stack:
        connections = [daemon.connect(30) for _ in range(200)]
        for connection in connections:
            stack.callback(connection.close)
        refused = served = 0
        for connection in connections:
            wire = Wire(connection)
            with suppress(OSError):  # refused and closed already; the reason can still be read
                wire.send("ping", {"text": "x"})
            kind, data = wire.receive() or ("", {})
            served += kind == "pong"
            refused += data.get("code") == "too-many-connections" and data["retry"] is True
        assert (served, refused) == (12, 188)


def test_a_client_that_never_reads_is_dropped(daemon: DaemonProcess) -> None:
    connection = daemon.connect(20)
    ping = json.dumps({"type": "ping", "data": {"text": "x" * 8000}}).encode() + b"\n"
    with pytest.raises(OSError):
        for _ in range(100_000):  # 800 MB, were it taken
            connection.sendall(ping)
    connection.close()
    assert "takes none of its answers" in daemon.log


def test_a_client_that_leaves_in_the_middle(daemon: DaemonProcess) -> None:
    pcm = read_audio(COMMITTED[0].path, 60).tobytes() * 8
    for leave_after in ("transcribe", "audio-start", "audio-chunk", "half an event", "audio-stop"):
        connection = daemon.connect()
        wire = Wire(connection)
        wire.send("transcribe", {})
        if leave_after != "transcribe":
            wire.send("audio-start", FORM)
        if leave_after in ("audio-chunk", "audio-stop"):
            for start in range(0, len(pcm), 60000):
                wire.send("audio-chunk", FORM, pcm[start : start + 60000])
        if leave_after == "half an event":
            connection.sendall(b'{"type": "audio-chunk", "payload_length": 1000}\nabc')
        if leave_after == "audio-stop":
            wire.send("audio-stop")
        wire.close()


def test_half_an_event_has_a_deadline(daemon: DaemonProcess) -> None:
    connection = daemon.connect()
    connection.sendall(b'{"type": "pi')
    events = answers(connection)
    assert [data["code"] for _, data in events] == ["timed-out"]


def test_silence_has_a_deadline(daemon: DaemonProcess) -> None:
    events = answers(daemon.connect(20))
    assert [data["code"] for _, data in events] == ["timed-out"]


def test_a_full_queue_refuses_and_says_that_it_may_be_tried_again(daemon: DaemonProcess) -> None:
    pcm = read_audio(COMMITTED[0].path, 60).tobytes() * 10
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(daemon.connect(60))) for _ in range(8)]
        for wire in wires:
            wire.clip(pcm)
        events = [wire.receive() or ("", {}) for wire in wires]
    refused = [data for kind, data in events if kind == "error"]
    assert len(refused) == 3  # one runs and four wait
    assert all(data["code"] == "queue-full" and data["retry"] for data in refused)
    assert sum(kind == "transcript" for kind, _ in events) == 5
