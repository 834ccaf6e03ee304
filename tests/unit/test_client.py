"""The client library, against the real server and against peers that are none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import fake_daemon
import numpy as np
import pytest
from fake_daemon import FakeEngine, peer, serve
from whisperd import client_connection, client_errors
from whisperd.client import (
    Client,
    ClientError,
    ConnectionLost,
    DaemonNotRunning,
    PermissionDenied,
    ServerError,
    Unreachable,
)
from whisperd.config import Limits
from whisperd.wire import Event, encode

PCM = np.arange(-40_000, 40_000, dtype=np.int32).astype(np.int16)
HELLO = encode(Event("hello", {"protocol": 1, "limits": {}}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(path: Path, engine: FakeEngine) -> Iterator[Client]:
    with serve(path, engine), Client(path) as connected:
        yield connected


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + fake_daemon.WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- what is asked and answered -------------------------------------------------------------------------------


def test_a_clip_arrives_as_it_was_and_its_text_comes_back(client: Client, engine: FakeEngine) -> None:
    found = client.transcribe(PCM, language="de", task="translate")
    assert (found.text, found.language, found.audio_seconds) == ("80000 samples", "de", 5.0)
    assert found.data["segments"][0]["text"] == "80000 samples" and found.data["decode_ms"] == 3
    ((heard, options),) = engine.heard
    assert np.array_equal(heard, PCM)
    assert (options.language, options.task) == ("de", "translate")


@pytest.mark.parametrize("samples", [1, 16_384, 16_385, 32_768])
def test_clips_of_any_length(client: Client, engine: FakeEngine, samples: int) -> None:
    assert client.transcribe(PCM[:samples]).text == f"{samples} samples"
    assert np.array_equal(engine.heard[0][0], PCM[:samples])


def test_samples_in_any_layout(client: Client, engine: FakeEngine) -> None:
    client.transcribe(PCM[::2])
    client.transcribe(PCM.astype(">i2"))
    assert np.array_equal(engine.heard[0][0], PCM[::2])
    assert np.array_equal(engine.heard[1][0], PCM)


@pytest.mark.parametrize("wrong", [PCM.astype(np.float32), PCM.reshape(2, -1), PCM.astype(np.uint16)])
def test_samples_that_are_none(client: Client, wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected int16"):
        client.transcribe(wrong)


def test_payloads_keep_to_the_limit_that_hello_tells(path: Path, engine: FakeEngine) -> None:
    with serve(path, engine, Limits(payload_bytes=1000)), Client(path) as client:
        assert client.limits["payload_bytes"] == 1000
        assert client.transcribe(PCM).text == "80000 samples"


def test_describe_and_status(client: Client) -> None:
    (program,) = client.describe()["asr"]
    assert program["models"][0]["name"] == "fake" and program["models"][0]["languages"] == ["en", "de"]
    assert client.status()["state"] == "idle"
    client.transcribe(PCM)
    assert client.status()["requests"] == 1


def test_several_requests_in_any_order(client: Client, engine: FakeEngine) -> None:
    requests = [client.submit(PCM[:length]) for length in (10, 20, 30)]
    assert client.status()["model"] == "fake"
    assert [client.result(request).text for request in reversed(requests)] == [
        "30 samples",
        "20 samples",
        "10 samples",
    ]


def test_the_place_in_the_queue_is_told(client: Client, engine: FakeEngine) -> None:
    engine.hold.clear()
    first = client.submit(PCM)
    assert engine.running.wait(fake_daemon.WAIT_SECONDS)
    second = client.submit(PCM)
    ahead: list[int] = []
    until(lambda: client.status()["queue"] == 1)
    engine.hold.set()
    client.result(second, on_queued=ahead.append)
    assert ahead == [1]
    client.result(first)


def test_a_transcript_with_much_more_text_than_a_clip_s_limits(path: Path) -> None:
    engine = FakeEngine(text="words " * 50_000)
    with serve(path, engine), Client(path) as client:
        assert client.transcribe(PCM).text == engine.text


# --- errors that the daemon answers ---------------------------------------------------------------------------


def test_an_error_names_itself_and_the_connection_goes_on(client: Client) -> None:
    with pytest.raises(ServerError) as caught:
        client.transcribe(PCM, language="xx")
    assert (caught.value.code, caught.value.retry) == ("unknown-language", False)
    assert "xx" in caught.value.text
    assert client.transcribe(PCM).text == "80000 samples"


def test_a_clip_over_the_limit_while_it_is_sent(path: Path, engine: FakeEngine) -> None:
    with serve(path, engine, Limits(max_clip_seconds=1.0)), Client(path) as client:
        assert client.transcribe(PCM[:16_000]).text == "16000 samples"
        with pytest.raises(ServerError) as caught:
            client.transcribe(np.zeros(60 * 16_000, np.int16))
        assert caught.value.code == "audio-too-long"
        client.close()
        assert client.connect().transcribe(PCM[:5]).text == "5 samples"


def test_no_slot_is_free(path: Path, engine: FakeEngine) -> None:
    with serve(path, engine, Limits(max_connections=1)), Client(path):
        with pytest.raises(ServerError) as caught:
            Client(path).connect()
        assert (caught.value.code, caught.value.retry) == ("too-many-connections", True)


# --- cancel ---------------------------------------------------------------------------------------------------


def test_cancel_of_the_running_request(client: Client, engine: FakeEngine) -> None:
    engine.hold.clear()
    request = client.submit(PCM)
    assert engine.running.wait(fake_daemon.WAIT_SECONDS)
    assert client.cancel(request) == 1
    until(lambda: client.status()["running"] == 0)
    engine.hold.set()
    assert client.transcribe(PCM).text == "80000 samples"


def test_cancel_of_all_and_of_none(client: Client, engine: FakeEngine) -> None:
    assert client.cancel() == 0
    engine.hold.clear()
    for _ in range(3):
        client.submit(PCM)
    assert client.cancel("c999") == 0
    assert client.cancel() == 3


def test_cancel_where_sending_was_interrupted_closes(client: Client, engine: FakeEngine) -> None:
    class Interrupting:
        """A socket whose second kilobyte never goes out."""

        def __init__(self, inner: socket.socket) -> None:
            self._inner = inner

        def send(self, data: bytes) -> int:
            if len(data) > 1000:
                self._inner.send(data[:1000])
                raise KeyboardInterrupt
            return self._inner.send(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    cast(Any, client)._socket = Interrupting(client._open_socket())
    with pytest.raises(KeyboardInterrupt):
        client.transcribe(PCM)
    client.cancel()
    assert not client.connected
    assert client.connect().transcribe(PCM[:7]).text == "7 samples"
    assert [len(pcm) for pcm, _ in engine.heard] == [7]


# --- no daemon ------------------------------------------------------------------------------------------------


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize("kind", ["nothing", "no folder", "stale", "file", "below a file"])
def test_nobody_listens(path: Path, kind: str) -> None:
    if kind == "no folder":
        path = path / "s"
    elif kind == "stale":
        leave_stale(path)
    elif kind in ("file", "below a file"):
        path.write_text("")
        path = path / "s" if kind == "below a file" else path
    with pytest.raises(DaemonNotRunning) as caught:
        Client(path).connect()
    for hint in (str(path), "systemctl start whisperd", "scripts/run --serve"):
        assert hint in caught.value.text


def test_a_socket_of_another_group(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_stale(path)

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(PermissionDenied) as caught:
        Client(path).connect()
    group = client_errors._group_of(str(path))
    assert f"sudo usermod -aG {group} $USER" in caught.value.text and "log in again" in caught.value.text
    # A folder that may not even be looked into says nothing of the group.
    with pytest.raises(PermissionDenied, match="usermod -aG whisper"):
        Client(path / "unseen").connect()


def test_a_socket_that_is_not_ours(unprivileged: Path, engine: FakeEngine) -> None:
    path = unprivileged / "s"
    with serve(path, engine):
        path.chmod(0)
        with pytest.raises(PermissionDenied):
            Client(path).connect()


def test_a_path_that_is_too_long() -> None:
    with pytest.raises(Unreachable, match="cannot connect to"):
        Client("/" + "x" * 200).connect()


def test_not_connected() -> None:
    with pytest.raises(ConnectionLost, match="not connected"):
        Client("/nowhere").status()


def test_a_full_backlog(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(path))
            with pytest.raises(ConnectionLost, match="does not accept connections"):
                Client(path, timeout=0.1).connect()


def test_a_place_in_a_full_backlog_is_waited_for(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(path))

            def make_room() -> None:
                busy.accept()[0].close()
                busy.accept()[0].close()  # the client: one that was never let in would be told something else

            room = threading.Timer(0.2, make_room)
            room.start()
            with pytest.raises(ConnectionLost, match="closed the connection|broke"):
                Client(path, timeout=30).connect()
            room.join()


# --- peers that are no whisperd -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not what whisperd says"),
        (b'{"type": "hello", "data_length": 99', "closed the connection"),
        (b"x" * 70_000, "not what whisperd says"),
        (b'{"type": "hello", "data_length": 99999999999}\n', "not what whisperd says"),
        (b'{"type": "hello", "payload_length": 99999999999}\n', "not what whisperd says"),
        (b'{"type": "hello", "data_length": 3}\n{x}', "not what whisperd says"),
        (b'{"type": "hello", "data": {"limits": 3}}\n', "not what whisperd says"),
    ],
)
def test_what_no_daemon_says(path: Path, says: bytes, told: str) -> None:
    with peer(path, says):
        client = Client(path)
        with pytest.raises(ConnectionLost, match=told):
            client.connect()
        assert not client.connected


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "transcript", "data": {"id": "c1"}},
        {"type": "transcript", "data": {"id": "c1", "text": 5}},
        {"type": "transcript", "data": {"id": "c1", "text": "a", "audio_seconds": "b"}},
        {"type": "queued", "data": {"id": "c1", "position": "first"}},
    ],
)
def test_answers_of_another_form(path: Path, answer: dict[str, Any]) -> None:
    with peer(path, HELLO + json.dumps(answer).encode() + b"\n", then_close=False):
        client = Client(path).connect()
        with pytest.raises(ConnectionLost, match="not what whisperd says"):
            client.transcribe(PCM[:10], on_queued=lambda ahead: None)
        client.close()


def test_an_error_that_is_for_the_whole_connection(path: Path) -> None:
    error = encode(Event("error", {"code": "timed-out", "text": "too slow", "retry": True}))
    with peer(path, HELLO + error), Client(path) as client:
        with pytest.raises(ServerError) as caught:
            client.transcribe(PCM[:10])
        assert (caught.value.code, caught.value.text, caught.value.retry) == ("timed-out", "too slow", True)


def test_silence_has_an_end(path: Path) -> None:
    with peer(path, HELLO, then_close=False):
        client = Client(path, timeout=0.2, result_timeout=0.1).connect()
        with pytest.raises(ConnectionLost, match="does not answer in time"):
            client.status()
        assert not client.connected
    path.unlink()
    with peer(path, HELLO, then_close=False):
        client.connect()
        with pytest.raises(ConnectionLost, match="does not answer in time"):
            client.transcribe(PCM[:10])


def test_a_peer_that_takes_nothing_has_an_end(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(1)
        client = Client(path, timeout=0.2)
        client._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client._socket.connect(str(path))
        with pytest.raises(ConnectionLost, match="broke while sending"):
            client.transcribe(np.zeros(10_000_000, np.int16))
        assert not client.connected


def test_events_nobody_waits_for_are_bounded(path: Path) -> None:
    stray = b"".join(encode(Event("queued", {"id": f"x{n}"})) for n in range(5000))
    says = HELLO + stray + encode(Event("status", {"state": "idle"}))
    with peer(path, says, then_close=False), Client(path) as client:
        assert client.status() == {"state": "idle"}
        assert len(client._kept) == client_connection.MAX_KEPT_EVENTS


def test_every_error_of_the_client_is_one_sentence_for_a_person() -> None:
    for kind in (DaemonNotRunning, PermissionDenied, ConnectionLost):
        assert issubclass(kind, Unreachable) and issubclass(kind, ClientError)
    assert not issubclass(ServerError, Unreachable)
