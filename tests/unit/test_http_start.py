"""The start of the daemon where HTTP is wanted, and where it is not: a process of its own, without a model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_main import clean_environment, wait_for_line
from whisperd.http.waiting import MAX_HEAD_BYTES, WaitingRoom

WAIT_SECONDS = 30.0
TOKEN = "a-token-of-enough-letters"

# The daemon over an engine that hears nothing; `loading` is printed, and then a line on standard input waited for.
DAEMON = """
import os, sys
sys.path.insert(0, {helpers!r})
if "--no-aiohttp" in sys.argv:
    sys.modules["aiohttp"] = None
if "--no-http" in sys.argv:
    sys.modules["whisperd.http"] = None
from fake_daemon import FakeEngine
from whisperd import __main__ as daemon

class Engine(FakeEngine):
    def warm_up(self):
        pass
    def transcribe(self, pcm, options, control):
        print("aiohttp" in sys.modules, "whisperd.http" in sys.modules, flush=True)
        return super().transcribe(pcm, options, control)

def load(model):
    if "--slow" in sys.argv:
        print("loading", flush=True)
        sys.stdin.readline()
    return Engine()

daemon._checked_bundle = lambda model: None
daemon._load = load
if "--hand-over" in sys.argv:
    os.environ["LISTEN_PID"] = str(os.getpid())
sys.exit(daemon.main([a for a in sys.argv[1:] if a not in ("--slow", "--no-aiohttp", "--no-http", "--hand-over")]))
"""


@contextmanager
def daemon(
    folder: Path, *arguments: str, fds: tuple[int, ...] = (), **environ: str
) -> Iterator[subprocess.Popen[str]]:
    script = DAEMON.format(helpers=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, *arguments]
    if "--hand-over" not in arguments:
        command += ["--socket", str(folder / "s")]
    pipe = subprocess.PIPE

    def place() -> None:
        for number, fd in enumerate(fds):
            os.dup2(fd, 3 + number)

    with subprocess.Popen(
        command,
        env=clean_environment(**environ),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        pass_fds=tuple(range(3, 3 + len(fds))),
        preexec_fn=place if fds else None,  # noqa: PLW1509  # there are no threads yet
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def over(path: Path) -> httpx.Client:
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=WAIT_SECONDS
    )


def health(path: Path) -> httpx.Response:
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:  # httpx leaves its own open where it is refused
            if probe.connect_ex(str(path)) == 0:
                break
        assert time.monotonic() < until
        time.sleep(0.02)
    with over(path) as client:
        return client.get("/health")


def native_clip(path: Path) -> str:
    """What the daemon answers to a clip on its native socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_SECONDS)
        client.connect(str(path))
        form = '"data": {"rate": 16000, "width": 2, "channels": 1}'
        client.sendall(f'{{"type": "audio-start", {form}}}\n'.encode())
        client.sendall(f'{{"type": "audio-chunk", "payload_length": 4, {form}}}\n'.encode() + bytes(4))
        client.sendall(b'{"type": "audio-stop"}\n')
        return client.recv(4096).decode()


def ended(running: subprocess.Popen[str]) -> str:
    assert running.stderr is not None
    said = running.stderr.read()
    assert running.wait(WAIT_SECONDS) == 1
    return said


def test_without_a_socket_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    with daemon(tmp_path, "--no-aiohttp") as running:
        wait_for_line(running, "ready on")
        assert "2 samples" in native_clip(tmp_path / "s")
        assert running.stdout is not None
        # "aiohttp" stands in sys.modules since its import is made to fail: had it been tried, nothing would run.
        assert running.stdout.readline() == "True False\n"
    with daemon(tmp_path) as running:
        wait_for_line(running, "ready on")
        assert "2 samples" in native_clip(tmp_path / "s")
        assert running.stdout is not None
        assert running.stdout.readline() == "False False\n"


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["--http-socket", "{}/h"], {}), ([], {"WHISPERD_HTTP_TCP": "127.0.0.1:0"})],
)
def test_without_aiohttp_it_says_what_to_install(
    tmp_path: Path, arguments: list[str], environ: dict[str, str]
) -> None:
    with daemon(tmp_path, "--no-aiohttp", *(a.format(tmp_path) for a in arguments), **environ) as running:
        said = ended(running)
        assert "HTTP is configured, and its package is missing" in said
        assert "pip install 'whisperd[http]'; on an image, python3-aiohttp" in said
    assert not (tmp_path / "h").exists()


def test_without_its_part_of_whisperd_it_names_the_package(tmp_path: Path) -> None:
    with daemon(tmp_path, "--no-http", "--http-socket", str(tmp_path / "h")) as running:
        assert "HTTP is configured, and not installed: install the package whisperd-http" in ended(running)


def test_both_sockets_are_served_and_removed(tmp_path: Path) -> None:
    with daemon(tmp_path, "--http-socket", str(tmp_path / "h"), WHISPERD_SOCKET_MODE="0600") as running:
        wait_for_line(running, f"ready on {tmp_path}/s {tmp_path}/h")
        assert health(tmp_path / "h").json() == {"status": "ok", "state": "idle", "model": "fake"}
        assert (tmp_path / "h").stat().st_mode & 0o777 == 0o600
        assert "2 samples" in native_clip(tmp_path / "s")
        with over(tmp_path / "h") as client:
            assert client.get("/status").json()["requests"] == 1
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_SECONDS) == 0
        assert list(tmp_path.iterdir()) == []


def test_while_the_model_is_loaded_health_is_503_and_the_rest_waits(tmp_path: Path) -> None:
    with daemon(tmp_path, "--slow", "--http-socket", str(tmp_path / "h")) as running:
        assert running.stdout is not None and running.stdin is not None
        assert running.stdout.readline() == "loading\n"
        for _ in range(2):
            answer = health(tmp_path / "h")
            assert (answer.status_code, answer.json()) == (503, {"status": "loading", "state": "loading"})
            assert answer.headers["retry-after"] == "2"
        assert not (tmp_path / "s").exists()  # the native socket comes with the model, as ever
        early = socket.socket(socket.AF_UNIX)
        early.settimeout(WAIT_SECONDS)
        early.connect(str(tmp_path / "h"))
        early.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        early.settimeout(0.2)
        with pytest.raises(TimeoutError):
            early.recv(1)
        running.stdin.write("\n")
        running.stdin.flush()
        early.settimeout(WAIT_SECONDS)
        received = b""
        while data := early.recv(65536):
            received += data
        assert received.startswith(b"HTTP/1.1 200 ")
        assert json.loads(received.partition(b"\r\n\r\n")[2])["state"] == "idle"
        early.close()
        wait_for_line(running, "ready on")
        assert health(tmp_path / "h").status_code == 200


def test_stopped_while_the_model_is_loaded(tmp_path: Path) -> None:
    with daemon(tmp_path, "--slow", "--http-socket", str(tmp_path / "h")) as running:
        assert health(tmp_path / "h").status_code == 503
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_SECONDS) == 0
    assert not (tmp_path / "h").exists()


def test_systemd_hands_the_socket_over_by_its_name(tmp_path: Path) -> None:
    sockets = []
    for name in ("h", "n"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / name))
        sock.listen(8)
        sockets.append(sock)
    # Away from 3 and 4, which they are to become.
    fds = tuple(os.dup2(sock.fileno(), 200 + sock.fileno()) for sock in sockets)
    environ = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:whisperd.socket"}
    with daemon(tmp_path, "--hand-over", fds=fds, **environ) as running:
        wait_for_line(running, "ready on")
        assert health(tmp_path / "h").json()["state"] == "idle"
        assert "2 samples" in native_clip(tmp_path / "n")
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_SECONDS) == 0
    assert (tmp_path / "h").exists()  # systemd's to remove
    for sock, fd in zip(sockets, fds, strict=True):
        sock.close()
        os.close(fd)


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (None, 0o600, "cannot be read: No such file or directory"),
        ("short\n", 0o600, "has 5 characters; a token has 16 to 1024"),
        ("x" * 1025, 0o600, "has 1025 characters"),
        (f"{TOKEN}\n{TOKEN}\n", 0o600, "holds something else than one line of letters"),
        (f"{TOKEN} {TOKEN}", 0o600, "holds something else than one line of letters"),
        ("ü" * 20, 0o600, "holds something else than one line of letters"),
        (TOKEN, 0o644, "can be read or written by everybody: chmod 640"),
    ],
)
def test_tokens_that_are_none(tmp_path: Path, content: str | None, mode: int, says: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    environ = {"WHISPERD_HTTP_TCP": "127.0.0.1:0", "WHISPERD_HTTP_TOKEN_FILE": str(file)}
    arguments = () if content is None else ("--check",)  # which is told the same, and sooner
    with daemon(tmp_path, *arguments, **environ) as running:
        assert says in ended(running)


def test_tcp_with_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    environ = {"WHISPERD_HTTP_TCP": "127.0.0.1:0", "WHISPERD_HTTP_TOKEN_FILE": str(file)}
    with daemon(tmp_path, **environ) as running:
        assert running.stderr is not None
        while "ready on" not in (line := running.stderr.readline()):
            assert line
        url = line.split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/health").status_code == 401
        assert httpx.get(f"{url}/health", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        # The address is another daemon's now.
        second = {**environ, "WHISPERD_HTTP_TCP": url.removeprefix("http://")}
        with daemon(tmp_path / "..", **second) as other:
            assert "http.tcp: cannot listen on 127.0.0.1:" in ended(other)


# --- the waiting room -------------------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path) -> Iterator[tuple[WaitingRoom, Path]]:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen(8)
    room = WaitingRoom([listening], most=2)
    room.start()
    yield room, tmp_path / "s"
    listening.close()


def knock(path: Path, *said: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(WAIT_SECONDS)
    connection.connect(str(path))
    for data in said:
        connection.sendall(data)
        time.sleep(0.02)
    return connection


def everything(connection: socket.socket) -> bytes:
    received = b""
    with connection:
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return received


def test_health_in_pieces_and_of_other_methods(room: Any) -> None:
    _, path = room
    for said in (
        [b"GET /health HTTP/1.1\r\n\r\n"],
        [b"GET /hea", b"lth HTTP/1.1\r\nHost:", b" x\r\n\r", b"\n"],
        [b"GET /health?x=1 HTTP/1.1\r\n\r\n"],
    ):
        received = everything(knock(path, *said))
        assert received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert json.loads(received.partition(b"\r\n\r\n")[2])["state"] == "loading"
    received = everything(knock(path, b"HEAD /health HTTP/1.1\r\n\r\n"))
    assert received.endswith(b"\r\n\r\n")
    room[0].stop()


def test_who_waits_is_handed_over_unread_and_in_order(room: Any) -> None:
    waiting, path = room
    said = [b"GET /healthy HTTP/1.1\r\n\r\n", b"GET /hea"]
    clients = [knock(path, one) for one in said]
    silent = knock(path)
    found = waiting.stop()
    assert [sock.recv(100) if place < 2 else b"" for place, sock in enumerate(found)] == [*said, b""]
    for sock in (*clients, silent, *found):
        sock.close()


def test_one_too_many_and_one_that_has_gone(room: Any) -> None:
    waiting, path = room
    clients = [knock(path, b"GET /status HTTP/1.1\r\n\r\n") for _ in range(2)]
    received = everything(knock(path, b"GET /status HTTP/1.1\r\n\r\n"))
    assert received.startswith(b"HTTP/1.1 503 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == "loading"
    knock(path).close()
    assert everything(knock(path, b"GET /health HTTP/1.1\r\nX: " + b"y" * MAX_HEAD_BYTES)) == b""
    found = waiting.stop()
    assert len(found) == 2
    for sock in (*clients, *found):
        sock.close()
