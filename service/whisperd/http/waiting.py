"""While the model is loaded: GET /health is answered with 503, and whoever wants more waits for it.

A thread of its own, since the event loop begins only behind the model. It looks at what a client has sent without
taking it (MSG_PEEK): connections that wait are handed over with their requests unread.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from . import problems

LOOK_SECONDS: Final = 0.05
"""How often a request is looked at again that has begun and cannot be told yet."""

MAX_HEAD_BYTES: Final = 8192

_HEALTH: Final = re.compile(rb"(GET|HEAD) /health([?#][^ ]*)? ")
_PREFIXES: Final = (b"GET /health", b"HEAD /health")


class WaitingRoom:
    """Accepts for the HTTP server until that is there.

    Args:
        listening: its sockets.
        most: connections that may wait.
    """

    def __init__(self, listening: Sequence[socket.socket], most: int) -> None:
        self._listening = listening
        self._most = most
        self._waiting: list[socket.socket] = []  # in the order in which they came
        self._unclear: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="waiting room", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._selector.register(self._ending, selectors.EVENT_READ)
        for sock in self._listening:
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> list[socket.socket]:
        """Accept no more; returns the connections that wait."""
        self._end.close()
        self._thread.join()
        self._selector.close()
        self._ending.close()
        return self._waiting

    def _serve(self) -> None:
        while True:
            ready = self._selector.select(LOOK_SECONDS if self._unclear else None)
            for key, _ in ready:
                found = key.fileobj
                assert isinstance(found, socket.socket), "nothing else is registered"
                if found is self._ending:
                    return
                if found in self._listening:
                    self._accept(found)
                else:  # its first bytes are there
                    self._selector.unregister(found)
                    self._unclear.add(found)
            for connection in list(self._unclear):
                self._look(connection)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except OSError:  # it has gone again
            return
        connection.setblocking(False)
        self._waiting.append(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _look(self, connection: socket.socket) -> None:
        try:
            seen = connection.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        if not seen:
            self._close(connection)
            return
        is_health = _HEALTH.match(seen) is not None
        if is_health and b"\r\n\r\n" in seen:
            self._answer(connection, seen)
        elif not is_health and not any(_may_become(seen, prefix) for prefix in _PREFIXES):
            if len(self._waiting) > self._most:
                self._answer(connection, seen)
            else:
                self._unclear.discard(connection)  # it waits
        elif len(seen) == MAX_HEAD_BYTES:
            self._close(connection)

    def _answer(self, connection: socket.socket, seen: bytes) -> None:
        with suppress(OSError):
            connection.recv(len(seen))
            connection.send(_answer_to(seen))
            connection.shutdown(socket.SHUT_WR)
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._unclear.discard(connection)
        self._waiting.remove(connection)
        connection.close()


def _may_become(seen: bytes, prefix: bytes) -> bool:
    """Whether more bytes can make it a request for the path."""
    if len(seen) < len(prefix):
        return prefix.startswith(seen)
    return seen.startswith(prefix) and (len(seen) == len(prefix) or seen[len(prefix) : len(prefix) + 1] in b"?#")


def _answer_to(seen: bytes) -> bytes:
    if _HEALTH.match(seen):
        body, kind = json.dumps({"status": "loading", "state": "loading"}), "application/json"
    else:
        error = problems.Loading("the model is not loaded yet, and enough requests wait for it")
        body, kind = json.dumps(problems.problem(error)), problems.CONTENT_TYPE
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Retry-After: {problems.RETRY_SECONDS}\r\n"
        "Connection: close\r\n\r\n"
    )
    return (head + ("" if seen.startswith(b"HEAD") else body)).encode("ascii")
