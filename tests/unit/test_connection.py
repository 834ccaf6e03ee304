"""What a connection writes to a client that does not keep up, and whom it lets hear the microphone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import numpy as np
from test_session_live import LiveDaemon
from whisperd.actions import Send
from whisperd.clip import Budget
from whisperd.config import Limits
from whisperd.connection import Connection
from whisperd.errors import NoMicrophone
from whisperd.session import Session
from whisperd.wire import Decoder, Event, encode


class Transport:
    """A socket that takes nothing while it is `full`."""

    def __init__(self) -> None:
        self.written = b""
        self.full = False

    def get_write_buffer_size(self) -> int:
        return int(self.full)

    def write(self, data: bytes) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        closed = socket.socket(socket.AF_UNIX)
        closed.close()
        return closed

    def close(self) -> None: ...

    def kinds(self) -> list[str]:
        decoder = Decoder()
        decoder.receive_data(self.written)
        self.written = b""
        kinds = []
        while (event := decoder.next_event()) is not None:
            kinds.append(event.type + str(event.data.get("n", "")))
        return kinds


class Mic:
    """A microphone that opens when it is told to."""

    device = "mic"

    def __init__(self) -> None:
        self.listeners: list[Any] = []
        self.open = asyncio.Event()
        self.error: NoMicrophone | None = None

    async def join(self, listener: Any) -> None:
        await self.open.wait()
        if self.error:
            raise self.error
        self.listeners.append(listener)

    def leave(self, listener: Any) -> None:
        self.listeners = [one for one in self.listeners if one is not listener]


class Host:
    """The server's part."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.mic = Mic()
        self.scheduler: Any = None

    def clock(self) -> float:
        return 0.0

    def new_session(self) -> Session:
        return Session(LiveDaemon(()), self.limits, Budget(1800))

    def admit(self, connection: Connection) -> None:
        return None

    def leave(self, connection: Connection) -> None: ...

    def finished(self, report: Any) -> None: ...


def connected() -> tuple[Connection, Transport, Host]:
    host, transport = Host(), Transport()
    connection = Connection(host, asyncio.get_running_loop())  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport, host


def partial(n: int) -> Send:
    return Send(Event("partial", {"n": n}), newest=True)


LEVEL = Send(Event("level", {}), lossy=True)
FINAL = Send(Event("transcript", {}))


def test_of_partials_that_a_client_is_too_slow_for_it_gets_the_newest() -> None:
    async def run() -> None:
        connection, transport, _ = connected()
        connection._do([partial(1), LEVEL])
        assert transport.kinds() == ["partial1", "level"]
        transport.full = True
        connection._do([partial(2), LEVEL, partial(3), LEVEL])
        assert transport.kinds() == []
        transport.full = False
        connection._do([LEVEL])
        assert transport.kinds() == ["partial3", "level"]
        connection._do([LEVEL])
        assert transport.kinds() == ["level"]

    asyncio.run(run())


def test_a_final_text_is_never_left_out_and_takes_the_place_of_partials() -> None:
    async def run() -> None:
        connection, transport, _ = connected()
        transport.full = True
        connection._do([partial(1), FINAL])
        transport.full = False
        connection._do([LEVEL])
        assert transport.kinds() == ["transcript", "level"]

    asyncio.run(run())


def send(connection: Connection, kind: str, **data: Any) -> None:
    connection.data_received(encode(Event(kind, data)))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_listening_ends_also_while_the_microphone_is_being_opened() -> None:
    async def run() -> None:
        connection, transport, host = connected()
        send(connection, "hello", protocol=1)
        send(connection, "listen", id="a")
        await settle()
        send(connection, "cancel")
        host.mic.open.set()
        await settle()
        assert host.mic.listeners == []
        assert transport.kinds() == ["hello", "cancelled"]
        send(connection, "listen", id="b")
        await settle()
        assert transport.kinds() == ["listening"]
        (ear,) = host.mic.listeners
        ear.heard(np.zeros(800, np.int16), 0)
        assert transport.kinds() == ["level"]
        connection.connection_lost(None)
        assert host.mic.listeners == []

    asyncio.run(run())


def test_an_old_ear_is_deaf() -> None:
    async def run() -> None:
        connection, transport, host = connected()
        host.mic.open.set()
        send(connection, "hello", protocol=1)
        send(connection, "listen")
        await settle()
        (old,) = host.mic.listeners
        send(connection, "cancel")
        send(connection, "listen")
        await settle()
        transport.kinds()
        old.heard(np.zeros(800, np.int16), 0)
        old.microphone_lost("gone", 1.0)
        assert transport.kinds() == []

    asyncio.run(run())


def test_no_microphone_is_an_answer() -> None:
    async def run() -> None:
        connection, transport, host = connected()
        host.mic.error = NoMicrophone("not there")
        host.mic.open.set()
        send(connection, "hello", protocol=1)
        send(connection, "listen")
        await settle()
        assert transport.kinds() == ["hello", "error"]
        assert not connection._session.busy

    asyncio.run(run())
