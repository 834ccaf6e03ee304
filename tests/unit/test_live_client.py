"""Live speech in the client library, against a daemon that says what the test wants it to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_daemon import WAIT_SECONDS, FakeEngine, Scripted, serve
from whisperd import live_client
from whisperd.audio.pcm import PcmFormat
from whisperd.client import Client, ClientError, ConnectionLost, ServerError
from whisperd.live_client import (
    Failed,
    Final,
    Level,
    Listening,
    LiveEvent,
    MicLost,
    MicRestored,
    NoSpeech,
    Overrun,
    Partial,
    Stopped,
    VoiceStarted,
    VoiceStopped,
)
from whisperd.wire import Event, encode

FINAL = {"text": "Hello.", "language": "en", "utterance": 0, "start": 0.1, "end": 1.5, "audio_seconds": 1.4}
STOPPED = ("listen-stopped", {"utterances": 1})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Scripted]:
    with Scripted(tmp_path / "s") as scripted:
        yield scripted


@pytest.fixture
def client(daemon: Scripted) -> Iterator[Client]:
    with Client(daemon.path, timeout=WAIT_SECONDS) as connected:
        yield connected


# --- what is told ---------------------------------------------------------------------------------------------


def test_every_event_is_told_in_order_with_its_fields(client: Client, daemon: Scripted) -> None:
    daemon.answers["listen-stop"] = [
        ("voice-started", {"timestamp": 100}),
        ("level", {"rms": -30.5, "peak": -12}),
        ("partial", {"utterance": 0, "revision": 0, "stable": "", "unstable": "Hell"}),
        ("partial", {"utterance": 0, "revision": 1, "stable": "Hello", "unstable": "."}),
        ("overrun", {"samples": 160, "seconds": 0.01}),
        ("what-a-newer-daemon-tells", {"text": 1}),
        ("mic-lost", {"text": "unplugged", "retry_seconds": 1.0}),
        ("mic-restored", {}),
        ("voice-stopped", {"timestamp": 1500}),
        ("transcript", FINAL),
        ("no-speech", {"utterance": 1, "reason": "no-voice", "audio_seconds": 0.5}),
        ("error", {"code": "internal", "text": "a bug", "retry": False, "utterance": 2}),
        STOPPED,
    ]
    live = client.listen()
    live.stop()
    found = list(live)
    data: dict[str, Any] = {}
    expected: list[LiveEvent] = [
        Listening(data, "hands-free", "mic"),
        VoiceStarted(data, 100),
        Level(data, -30.5, -12),
        Partial(data, 0, 0, "", "Hell"),
        Partial(data, 0, 1, "Hello", "."),
        Overrun(data, 160, 0.01),
        MicLost(data, "unplugged", 1.0),
        MicRestored(data),
        VoiceStopped(data, 1500),
        Final(data, 0, "Hello.", "en", 0.1, 1.5, 1.4),
        NoSpeech(data, 1, "no-voice", 0.5),
        Failed(data, "internal", "a bug", False),
        Stopped(data, 1),
    ]
    assert list(map(repr, found)) == list(map(repr, expected))
    assert found[9].data["text"] == "Hello." and found[9].type == "transcript"
    assert live.over and live.poll() is None
    assert daemon.wait_for("listen-stop").data == {"id": live.id}


def test_what_is_wished_for(client: Client, daemon: Scripted) -> None:
    wish = {"mode": "push-to-talk", "language": "de", "task": "translate", "vad_sensitivity": "relaxed"}
    with client.listen(**wish) as live:
        assert daemon.wait_for("listen").data == {"id": live.id, **wish}
    with client.listen() as live:
        assert daemon.wait_for("listen", 2).data == {"id": live.id}
    with client.stream(**wish) as live:
        assert daemon.wait_for("transcribe").data == {"id": live.id, "live": True, **wish}
        assert daemon.wait_for("audio-start").data == {"rate": 16_000, "width": 2, "channels": 1}


def test_a_poll_comes_back_without_an_event(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    assert isinstance(live.poll(), Listening)
    assert live.poll() is None and live.poll(0.05) is None and not live.over
    daemon.say("voice-started", timestamp=5)
    event = live.poll(WAIT_SECONDS)
    assert isinstance(event, VoiceStarted) and event.timestamp == 5


def test_questions_meanwhile_cost_no_event(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    for n in range(5):
        daemon.say("voice-started", timestamp=n)
        assert client.status() == {"state": "idle"}
    found = [live.poll(WAIT_SECONDS) for _ in range(6)]
    assert [event.timestamp for event in found if isinstance(event, VoiceStarted)] == [0, 1, 2, 3, 4]


# --- audio that is sent ---------------------------------------------------------------------------------------


def test_samples_arrive_as_they_were(client: Client, daemon: Scripted) -> None:
    samples = np.arange(10_000, dtype="<i2").tobytes()
    daemon.answers["audio-stop"] = [("transcript", FINAL), STOPPED]
    with client.stream() as live:
        live.send(samples[:2])
        live.send(b"")
        live.send(samples[2:])  # more than a payload of this daemon may have
        live.stop()
        assert [type(event) for event in live] == [Listening, Final, Stopped]
    assert bytes(daemon.audio) == samples
    assert not any(event.type == "cancel" for event in daemon.heard)


def test_frames_stay_whole(client: Client, daemon: Scripted) -> None:
    with client.stream(PcmFormat(48_000, 3, 2)) as live:
        assert daemon.wait_for("audio-start").data == {"rate": 48_000, "width": 3, "channels": 2}
        with pytest.raises(ValueError, match="8 bytes are no whole number of frames of 6 bytes"):
            live.send(bytes(8))
        live.send(bytes(6 * 1000))
        daemon.wait_for_audio(6000)


def test_where_no_samples_are_taken(client: Client, daemon: Scripted) -> None:
    with client.listen() as live, pytest.raises(ValueError, match="takes no samples$"):
        live.send(bytes(2))
    with client.stream() as live:
        live.stop()
        with pytest.raises(ValueError, match="takes no samples any more"):
            live.send(bytes(2))


def test_sending_does_not_wait_for_a_daemon_that_waits_for_us_to_read(client: Client, daemon: Scripted) -> None:
    """More than the sockets hold, both ways, and the daemon reads only once it was read from."""
    level = encode(Event("level", {"id": "c1", "rms": -30.0, "peak": -20.0}))
    daemon.flood = level * 100_000 + encode(Event("transcript", {"id": "c1", **FINAL})) + level * 10_000
    daemon.answers["audio-stop"] = [STOPPED]
    with client.stream() as live:
        assert live.id == "c1"
        live.send(bytes(8_000_000))
        live.stop()
        kinds = [type(event) for event in live]
    assert len(daemon.audio) == 8_000_000
    assert kinds.count(Final) == 1 and kinds[0] is Listening and kinds[-1] is Stopped
    assert 0 < kinds.count(Level) < live_client.MAX_PENDING_EVENTS, "the oldest were left out"


def test_texts_that_nobody_takes_have_an_end(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    finals = [("transcript", FINAL)] * (live_client.MAX_PENDING_EVENTS + 1)
    daemon.answers["status"] = finals
    with pytest.raises(ClientError, match="were not taken"):
        client.status()
    assert not client.connected
    assert isinstance(live.poll(), Listening), "what has come is not lost"


# --- how it ends ----------------------------------------------------------------------------------------------


def test_cancel_and_listen_again_at_once(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    daemon.say("transcript", **FINAL)
    live.cancel()
    assert live.over and list(live) == []
    assert daemon.wait_for("cancel").data == {"id": live.id}
    again = client.listen()
    assert isinstance(again.poll(), Listening) and again.id != live.id
    live.cancel()  # which is nothing to it any more
    assert len([event for event in daemon.heard if event.type == "cancel"]) == 1


def test_cancelling_everything_ends_streams(client: Client) -> None:
    live = client.listen()
    client.cancel()
    assert live.over and list(live) == []


def test_leaving_the_block_cancels(client: Client, daemon: Scripted) -> None:
    with pytest.raises(ZeroDivisionError), client.listen() as live:
        raise ZeroDivisionError
    assert daemon.wait_for("cancel").data == {"id": live.id}
    with pytest.raises(KeyboardInterrupt), client.listen():
        raise KeyboardInterrupt
    assert not client.connected, "the daemon is not waited for"


def test_no_microphone(client: Client, daemon: Scripted) -> None:
    daemon.answers["listen"] = [("error", {"code": "no-microphone", "text": "none is there", "retry": True})]
    with pytest.raises(ServerError) as caught:
        client.listen()
    assert (caught.value.code, caught.value.text, caught.value.retry) == ("no-microphone", "none is there", True)
    assert client.status() == {"state": "idle"}
    del daemon.answers["listen"]
    assert isinstance(client.listen().poll(), Listening)


def test_an_error_in_the_middle_comes_after_what_came_before(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    daemon.say("transcript", **FINAL)
    daemon.say("error", code="shutting-down", text="the daemon is stopping", retry=True)
    assert [type(live.poll(WAIT_SECONDS)) for _ in range(2)] == [Listening, Final]
    with pytest.raises(ServerError, match="stopping"):
        live.poll(WAIT_SECONDS)
    assert live.over and live.poll() is None


def test_a_daemon_that_dies(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    daemon.say("transcript", **FINAL)
    daemon.hang_up()
    assert [type(live.poll(WAIT_SECONDS)) for _ in range(2)] == [Listening, Final]
    with pytest.raises(ConnectionLost, match="closed the connection"):
        live.poll(WAIT_SECONDS)


def test_a_daemon_that_says_nothing_is_asked_whether_it_is_there(daemon: Scripted) -> None:
    with Client(daemon.path, timeout=0.1) as client:
        live = client.listen()
        assert isinstance(live.poll(), Listening)
        assert live.poll(0.5) is None
        assert len([event for event in daemon.heard if event.type == "status"]) >= 2
        daemon.answers["status"] = []
        with pytest.raises(ConnectionLost, match="does not answer in time"):
            list(live)


def test_a_stop_that_is_never_over_has_an_end(daemon: Scripted) -> None:
    with Client(daemon.path, result_timeout=0.2) as client:
        live = client.listen()
        live.stop()
        live.stop()
        with pytest.raises(ConnectionLost, match="does not finish"):
            list(live)
    assert len([event for event in daemon.heard if event.type == "listen-stop"]) == 1


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("partial", {"utterance": 0, "revision": 0, "stable": None, "unstable": ""}),
        ("level", {"rms": "loud", "peak": 0}),
        ("transcript", {**FINAL, "utterance": None}),
        ("listen-stopped", {}),
    ],
)
def test_events_of_another_form(client: Client, daemon: Scripted, kind: str, data: dict[str, Any]) -> None:
    live = client.listen()
    live.poll()
    daemon.say(kind, **data)
    with pytest.raises(ConnectionLost, match="not what whisperd says"):
        live.poll(WAIT_SECONDS)
    assert not client.connected


# --- the real server ------------------------------------------------------------------------------------------


def test_the_real_server(tmp_path: Path) -> None:
    with serve(tmp_path / "real", FakeEngine()), Client(tmp_path / "real") as client:
        live = client.stream()
        client._send(Event("audio-chunk", {}, b"odd"))
        with pytest.raises(ServerError) as caught:
            list(live)
        assert caught.value.code == "bad-payload" and live.over
        with client.stream() as live:
            live.send(bytes(32_000))
        with client.stream(mode="push-to-talk") as live:
            live.send(bytes(32_000))
            live.stop()
            kinds = [type(event) for event in live]
        assert kinds[0] is Listening and kinds[-2:] == [NoSpeech, Stopped] and Level in kinds
        assert client.transcribe(np.zeros(100, np.int16)).text == "100 samples"


# --- beside it ------------------------------------------------------------------------------------------------


def test_devices(client: Client, daemon: Scripted) -> None:
    devices = [{"name": "hw:CARD=Mic", "description": "a microphone", "default": True}]
    daemon.answers["devices"] = [("devices", {"id": None, "devices": devices})]
    assert client.devices() == devices
    daemon.answers["devices"] = [("devices", {"id": None, "devices": [{"name": "x"}]})]
    with pytest.raises(ConnectionLost, match="description is None"):
        client.devices()
    client.connect()
    daemon.answers["devices"] = [("devices", {"id": None, "devices": ["x"]})]
    with pytest.raises(ConnectionLost, match="a device is 'x'"):
        client.devices()


def test_a_clip_without_words(client: Client, daemon: Scripted) -> None:
    told = {"id": "c1", "reason": "silence", "audio_seconds": 2.0}
    daemon.answers["audio-stop"] = [("no-speech", told)]
    found = client.transcribe(np.zeros(32_000, np.int16))
    assert (found.text, found.language, found.audio_seconds) == ("", None, 2.0)
    assert found.data["no_speech"] == "silence" and found.data["text"] == "" and "reason" not in found.data


def test_the_socket_can_be_waited_at(client: Client, daemon: Scripted) -> None:
    live = client.listen()
    while live.poll() is not None:
        pass
    timer = threading.Timer(0.05, daemon.say, ("mic-restored",))
    timer.start()
    with socket.fromfd(live.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as same:
        same.settimeout(WAIT_SECONDS)
        assert same.recv(1, socket.MSG_PEEK)
    assert isinstance(live.poll(), MicRestored)
    timer.join()
