"""What systemd is told and what is taken from it, against a real notification socket."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from whisperd import __main__ as daemon
from whisperd import systemd
from whisperd.config import Limits
from whisperd.errors import ConfigError
from whisperd.protocol import Outcome, Priority
from whisperd.scheduler import Progress, Scheduler
from whisperd.server import Server
from whisperd.speech.options import Options
from whisperd.speech.types import Control, Int16Samples, ModelInfo, Timings, Transcription
from whisperd.systemd import Notifier, Watchdog

PID = os.getpid()
WAIT_SECONDS = 20.0


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(WAIT_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


@pytest.fixture
def notifier(told: socket.socket) -> Iterator[Notifier]:
    """The daemon's end."""
    with closing(Notifier()) as made:
        yield made


def next_message(told: socket.socket) -> list[str]:
    return told.recv(4096).decode().split("\n")


def everything(told: socket.socket) -> list[str]:
    """What has come so far."""
    messages = []
    told.setblocking(False)
    try:
        while True:
            messages.append(told.recv(4096).decode())
    except BlockingIOError:
        told.settimeout(WAIT_SECONDS)
        return messages


# --- notifications --------------------------------------------------------------------------------------------


def test_what_is_sent(told: socket.socket, notifier: Notifier) -> None:
    notifier.status("loading")
    notifier.ready("base: idle")
    notifier.watchdog()
    notifier.stopping("stopping")
    assert next_message(told) == ["STATUS=loading"]
    assert next_message(told) == ["READY=1", "STATUS=base: idle"]
    assert next_message(told) == ["WATCHDOG=1"]
    assert next_message(told) == ["STOPPING=1", "STATUS=stopping"]


def test_abstract_notification_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"whisperd-test-{PID}"
        receiver.bind("\0" + name)
        receiver.settimeout(WAIT_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        with closing(Notifier()) as notifier:
            notifier.ready("x")
        assert next_message(receiver) == ["READY=1", "STATUS=x"]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("café – Ω", "STATUS=caf? ? ?"),
        ("a\nREADY=1\x1b[2J\0", "STATUS=a READY=1 [2J "),
        ("x" * 500, "STATUS=" + "x" * systemd.MAX_STATUS),
    ],
)
def test_status_is_one_ascii_line(told: socket.socket, notifier: Notifier, status: str, line: str) -> None:
    notifier.status(status)
    assert next_message(told) == [line]


# sdnotify leaves the socket that it cannot connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", [None, "", "/nowhere/notify"])
def test_nobody_to_tell(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    with closing(Notifier()) as notifier:
        notifier.ready("x")
        notifier.watchdog()
    notifier.status("closed")


# --- sockets --------------------------------------------------------------------------------------------------


def unix_listener(folder: Path, name: str = "s") -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(folder / name))
    listening.listen(1)
    return listening


def environment(count: int | str, names: str | None = None, pid: int = PID) -> dict[str, str]:
    found = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count)}
    return found if names is None else {**found, "LISTEN_FDNAMES": names}


def test_a_socket_that_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = unix_listener(tmp_path).detach()
    os.set_inheritable(fd, True)
    monkeypatch.setattr(systemd, "FIRST_FD", fd)
    (found,) = systemd.listeners(environment(1, "whisperd.socket"), PID)
    with found.socket:
        assert found.name == "whisperd.socket" and found.socket.fileno() == fd
        assert not os.get_inheritable(fd)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(tmp_path / "s"))
            found.socket.accept()[0].close()


def test_several_sockets_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with unix_listener(tmp_path, "a") as a, unix_listener(tmp_path, "b") as b:
        first = 200  # consecutive, and far from what pytest uses
        for offset, listening in enumerate((a, b)):
            os.dup2(listening.fileno(), first + offset)
        monkeypatch.setattr(systemd, "FIRST_FD", first)
        found = systemd.listeners(environment(2, "own:http"), PID)
        try:
            assert [(f.name, f.socket.getsockname()) for f in found] == [
                ("own", str(tmp_path / "a")),
                ("http", str(tmp_path / "b")),
            ]
        finally:
            for listener in found:
                listener.socket.close()


@pytest.mark.parametrize("environ", [{}, environment(1, pid=PID + 1), environment(0), {"LISTEN_FDS": "1"}])
def test_none_are_handed_over(environ: dict[str, str]) -> None:
    assert systemd.listeners(environ, PID) == ()


@pytest.mark.parametrize("count", ["-1", "one", "", "1.0", "²", str(systemd.MAX_FDS + 1), "9" * 5000])
def test_a_count_that_is_none(count: str) -> None:
    with pytest.raises(ConfigError, match=r"^LISTEN_FDS is .* expected a number from 0 to 16"):
        systemd.listeners(environment(count), PID)


def test_names_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDNAMES has 3 names for 2 sockets"):
        systemd.listeners(environment(2, "a:b:c"), PID)


@pytest.mark.parametrize("kind", ["pipe", "datagram", "tcp", "not listening", "connected"])
def test_a_descriptor_that_is_no_listening_unix_stream_socket(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        if kind == "pipe":
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            fd = reading
        elif kind == "connected":
            pair = socket.socketpair()
            stack.callback(pair[1].close)
            fd = stack.enter_context(pair[0]).fileno()
        else:
            family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
            what = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
            sock = stack.enter_context(socket.socket(family, what))
            if kind == "tcp":
                sock.bind(("127.0.0.1", 0))
                sock.listen(1)
            elif kind == "datagram":
                sock.bind(str(tmp_path / "s"))
            fd = sock.fileno()
        monkeypatch.setattr(systemd, "FIRST_FD", fd)
        with pytest.raises(ConfigError, match=rf"^file descriptor {fd} \(mine\) from systemd is not"):
            systemd.listeners(environment(1, "mine"), PID)
        os.fstat(fd)  # still open: it is not ours to close


def test_a_descriptor_that_is_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "FIRST_FD", 987)
    with pytest.raises(ConfigError, match=r"^file descriptor 987 \(unknown\) from systemd is not a socket"):
        systemd.listeners(environment(1), PID)


# --- watchdog -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(PID)}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(PID + 1)}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_interval(environ: dict[str, str], seconds: float | None) -> None:
    assert systemd.watchdog_interval(environ, PID) == seconds


def test_interval_that_is_none() -> None:
    with pytest.raises(ConfigError, match="WATCHDOG_USEC is 'soon'"):
        systemd.watchdog_interval({"WATCHDOG_USEC": "soon"}, PID)


def progress(count: int, last_sign: float, busy: bool = True, waiting: int = 0) -> Progress:
    return Progress(count, last_sign if busy else None, last_sign, waiting)


def test_an_idle_worker_is_well_for_ever() -> None:
    watchdog = Watchdog(10.0)
    assert all(watchdog.well(progress(5, 0.0, busy=False), now) for now in (0, 11, 1e6))


def test_a_worker_that_steps_is_well_however_long_the_job() -> None:
    watchdog = Watchdog(10.0)
    assert all(watchdog.well(progress(n, n * 60.0), n * 60.0 + 59) for n in range(100))


def test_a_worker_in_one_step_is_well_up_to_the_bound() -> None:
    watchdog = Watchdog(10.0)
    stuck = progress(7, 100.0)
    assert watchdog.well(stuck, 100.0) and watchdog.well(stuck, 109.9)
    assert not watchdog.well(stuck, 110.0) and not watchdog.well(stuck, 1e6)
    assert watchdog.well(progress(8, 111.0), 111.0)


def test_a_queue_that_nobody_takes_from_is_not_well() -> None:
    watchdog = Watchdog(10.0)
    dead = progress(7, 100.0, busy=False, waiting=1)
    assert watchdog.well(dead, 101.0) and not watchdog.well(dead, 111.0)


class Obstinate:
    """An engine that steps when it is told to, and hangs between."""

    info = ModelInfo("fake", ("en",), "en", ("en",), False, "int8", "MIT", "")

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.leave = False

    def check(self, options: Options) -> None:
        """Anything goes."""

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        """Hang until told to step."""
        while not self.leave:
            self.go.acquire(timeout=WAIT_SECONDS)
            control.step()
        return Transcription("", "en", 0.0, (), Timings(0, 0, 0))


def test_the_daemon_feeds_the_watchdog_from_the_worker_and_not_from_its_loop(
    told: socket.socket, notifier: Notifier
) -> None:
    engine = Obstinate()
    scheduler = Scheduler(engine)
    scheduler.start()
    outcomes: list[Outcome] = []

    async def story() -> None:
        server = Server(scheduler, Limits())
        signs = daemon._Signs(notifier, watchdog_seconds=0.2)
        giving = asyncio.create_task(signs.give(server, scheduler))

        async def ping_comes() -> None:
            everything(told)
            while await asyncio.to_thread(next_message, told) != ["WATCHDOG=1"]:
                pass

        async def no_ping_comes() -> bool:
            await asyncio.sleep(0.5)  # until the patience is over
            everything(told)
            await asyncio.sleep(0.5)
            return "WATCHDOG=1" not in everything(told)

        await ping_comes()
        scheduler.submit(np.zeros(1, np.int16), Options(), Priority.FINAL, outcomes.append)
        # The loop lives on and the worker hangs.
        assert await no_ping_comes()
        engine.go.release()
        await ping_comes()
        assert await no_ping_comes()
        engine.leave = True
        engine.go.release()
        await ping_comes()  # idle again
        giving.cancel()

    try:
        asyncio.run(story())
    finally:
        engine.leave = True
        engine.go.release()
        assert scheduler.stop(WAIT_SECONDS, 1.0)
    assert len(outcomes) == 1


def test_the_status_line_tells_what_the_daemon_does(told: socket.socket, notifier: Notifier) -> None:
    engine = Obstinate()
    scheduler = Scheduler(engine)

    async def story() -> None:
        signs = daemon._Signs(notifier, None)
        giving = asyncio.create_task(signs.give(Server(scheduler, Limits()), scheduler))
        await asyncio.sleep(0.1)
        giving.cancel()

    asyncio.run(story())
    # Once, as long as nothing changes, and no ping where systemd wants none.
    assert everything(told) == ["STATUS=fake: idle, 0 waiting, 0 connections"]
