"""What is answered while the model works: cancel, ping, describe, status; and what a cancel leaves behind."""

from __future__ import annotations

import time

import numpy as np
import pytest
from daemon_process import DaemonProcess, Wire
from speech import COMMITTED, words
from whisperd.audio.files import read_audio

#: The promise. The best of several tries is held to it: a stall of the machine is no fault of the daemon.
ANSWER_SECONDS = 0.1
TRIES = 8


@pytest.fixture
def long_clip() -> bytes:
    """Two minutes of speech: seconds of work."""
    return np.tile(read_audio(COMMITTED[0].path, 60), 35).tobytes()


def start(wire: Wire, pcm: bytes, name: str) -> None:
    """Send a clip and wait until the worker has it."""
    wire.send("transcribe", {"id": name})
    wire.clip(pcm)
    kind, data = wire.receive() or ("", {})
    # A clip that was cancelled a moment ago may still be on its way out of the worker.
    assert (kind, data["id"]) == ("queued", name)
    while True:
        wire.send("status")
        kind, data = wire.receive() or ("", {})
        assert kind == "status"
        if data["running"] and not data["queue"]:
            break
    time.sleep(0.2)  # into the encoder or the decoder, whichever it is


def hello(wire: Wire) -> None:
    wire.send("hello", {"protocol": 1})
    kind, data = wire.receive() or ("", {})
    assert kind == "hello" and data["protocol"] == 1


def test_cancel_ping_and_describe_are_answered_at_once(daemon: DaemonProcess, long_clip: bytes) -> None:
    took: dict[str, list[float]] = {"ping": [], "describe": [], "cancel": []}
    with Wire(daemon.connect(60)) as wire:
        hello(wire)
        for turn in range(TRIES):
            name = f"r{turn}"
            start(wire, long_clip, name)
            for question, answer in (("ping", "pong"), ("describe", "info"), ("cancel", "cancelled")):
                begun = time.monotonic()
                wire.send(question, {"id": name})
                kind, data = wire.receive() or ("", {})
                took[question].append(time.monotonic() - begun)
                assert (kind, data["id"]) == (answer, name)
    assert {question: min(times) < ANSWER_SECONDS for question, times in took.items()} == dict.fromkeys(took, True)


def test_a_cancelled_clip_frees_the_worker_for_the_next(daemon: DaemonProcess, long_clip: bytes) -> None:
    with Wire(daemon.connect(60)) as wire:
        hello(wire)
        start(wire, long_clip, "long")
        wire.send("cancel", {"id": "long"})
        wire.send("transcribe", {"id": "short"})
        wire.clip(read_audio(COMMITTED[1].path, 60).tobytes())
        begun = time.monotonic()
        kinds = []
        while not kinds or kinds[-1] != "transcript":
            kind, data = wire.receive() or ("", {})
            kinds.append(kind)
        # The long clip alone would take several seconds; that its work was left is what counts, not how fast.
        assert kinds == ["cancelled", "queued", "transcript"]
        assert data["id"] == "short"
        assert words(data["text"]) == words(COMMITTED[1].text)
        assert data["queue_ms"] < 3000
        assert time.monotonic() - begun < 10


def test_cancel_of_everything_and_of_nothing(daemon: DaemonProcess, long_clip: bytes) -> None:
    with Wire(daemon.connect(60)) as wire:
        hello(wire)
        wire.send("cancel")
        assert wire.receive() == ("cancelled", {"count": 0})
        start(wire, long_clip, "a")
        wire.send("transcribe", {"id": "b"})
        wire.clip(read_audio(COMMITTED[1].path, 60).tobytes())
        assert wire.receive() == ("queued", {"id": "b", "position": 1})
        wire.send("cancel")
        assert wire.receive() == ("cancelled", {"count": 2})
        wire.send("ping", {"text": "still here"})
        assert wire.receive() == ("pong", {"text": "still here"})


def test_a_second_client_waits_its_turn_and_is_told(daemon: DaemonProcess, long_clip: bytes) -> None:
    with Wire(daemon.connect(60)) as first, Wire(daemon.connect(60)) as second:
        hello(first)
        hello(second)
        start(first, long_clip, "first")
        second.send("transcribe", {"id": "second"})
        second.clip(read_audio(COMMITTED[1].path, 60).tobytes())
        assert second.receive() == ("queued", {"id": "second", "position": 1})
        first.send("cancel")
        assert (second.receive() or ("",))[0] == "transcript"


def test_the_log_has_a_line_for_each_request_and_no_word_of_it(daemon: DaemonProcess) -> None:
    with Wire(daemon.connect(60)) as wire:
        hello(wire)
        wire.send("transcribe", {"id": "log-me"})
        wire.clip(read_audio(COMMITTED[0].path, 60).tobytes())
        kind = ""
        while kind != "transcript":
            kind, data = wire.receive() or ("", {})
    until = time.monotonic() + 10
    while "id=log-me" not in daemon.log and time.monotonic() < until:
        time.sleep(0.02)  # the answer goes out before its line is written
    (line,) = [line for line in daemon.log.splitlines() if "id=log-me" in line]
    for part in ("uid=", "pid=", "outcome=transcribed", "audio=3.48s", "encode=", "decode="):
        assert part in line
    assert "airport" in data["text"]
    assert "airport" not in daemon.log
