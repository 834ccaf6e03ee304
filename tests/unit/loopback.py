"""An HTTP server on the loopback interface that serves files the way bad networks do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Loopback:
    """What is served, how the next answers go wrong, and what was asked for.

    ``faults`` are used up one by one, one for each GET: a number is an HTTP status; ``("cut", n)`` breaks the
    connection after n bytes of the body; ``"hang up"`` closes without an answer; ``"no range"`` ignores the
    range; ``"no length"`` leaves the length out; ``"other range"`` answers the range with the file's start.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[object] = field(default_factory=list)
    every: object = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


def _handler(state: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            data = state.files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append((self.path, asked))
            fault = state.faults.pop(0) if state.faults else state.every
            self.close_connection = True
            if fault == "hang up":
                return
            data = state.files.get(self.path)
            if isinstance(fault, int) or data is None:
                self.send_response(fault if isinstance(fault, int) else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
            end = len(data)
            if found and fault != "no range":
                start = 0 if fault == "other range" else int(found[1])
                end = min(end, int(found[2]) + 1) if found[2] else end
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            else:
                self.send_response(200)
            if fault != "no length":
                self.send_header("Content-Length", str(end - start))
            kind = "text/html" if self.path.endswith("/") else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.end_headers()
            body = data[start:end]
            if isinstance(fault, tuple):
                body = body[: fault[1]]
            with suppress(ConnectionError):  # a client that has seen enough hangs up
                self.wfile.write(body)

    return Handler


@contextmanager
def serve() -> Iterator[Loopback]:
    """Run the server on a free port until the block ends."""
    state = Loopback()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
