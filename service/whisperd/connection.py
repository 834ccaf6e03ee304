"""asyncio shell around one session: moves bytes and time between it, a socket and the scheduler.

A protocol with callbacks and not a task with streams: nothing here ever waits, so there is nothing to cancel
or to forget. Memory is bounded because a read is taken apart one event at a time, and no further than the
client takes its answers: while the write buffer is full, neither the rest of a read nor the socket is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from .actions import Action, Cancel, Close, Report, Send, Submit
from .errors import InternalError, QueueFull, ShuttingDown, TimedOut, WhisperdError
from .protocol import Outcome
from .scheduler import Job, Scheduler
from .session import Session
from .wire import encode

if TYPE_CHECKING:
    from .config import Limits

log = logging.getLogger(__name__)

EVENTS_PER_TURN: Final = 64
"""Events of one client that are handled before the others have their turn: a read can hold thousands."""

LINGER_SECONDS: Final = 2.0
"""How long a client that was told why it is closed may go on sending before it reads so. See `_close`."""

HANGUP_SECONDS: Final = 0.5
"""How often a client that only listens is looked at: is it still there?"""


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a Unix socket, as the kernel knows it: SO_PEERCRED of unix(7)."""

    pid: int
    uid: int
    gid: int

    @classmethod
    def of(cls, sock: socket.socket) -> Peer:
        """The process that connected."""
        credentials = struct.Struct("3i")
        return cls(*credentials.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)))

    def __str__(self) -> str:
        return f"pid={self.pid} uid={self.uid}"


class Host(Protocol):
    """What a connection needs of its server."""

    @property
    def limits(self) -> Limits:
        """The configured limits."""

    @property
    def scheduler(self) -> Scheduler:
        """Where jobs go."""

    @property
    def read_buffer(self) -> memoryview:
        """Where the socket is read into, by one connection after another."""

    def open_session(self) -> Session:
        """Make the session of a new connection."""

    def admit(self, connection: Connection) -> WhisperdError | None:
        """Take the connection in; returns why it is to be closed again, or None."""

    def report(self, peer: Peer, report: Report) -> None:
        """Note the end of a request."""

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._limits = host.limits
        self._loop = asyncio.get_running_loop()
        self._session = host.open_session()
        self._jobs: dict[int, Job] = {}
        self._turn: asyncio.Handle | None = None  # set while events of the last read still wait
        self._timer: asyncio.TimerHandle | None = None
        self._read_ended = False  # the client has ended its side
        self._closing = False
        # Times of the loop's clock.
        self._active_at = self._loop.time()
        self._event_since: float | None = None  # an event has begun, and is not whole
        self._events_seen = 0
        self._stalled_since: float | None = None  # the write buffer is full
        self._closing_since = 0.0

    # --- called by asyncio -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept, or say at once why not."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._peer = Peer.of(self._socket)
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        refusal = self._host.admit(self)
        if refusal is not None:
            self._perform(self._session.fail(refusal))
        else:
            log.debug("connected %s", self._peer)
        self._set_timer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read to. Shared by all connections: what is read is taken out before another one reads."""
        return self._host.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read."""
        if self._closing:
            return  # lingering: read and thrown away
        self._active_at = self._loop.time()
        self._session.receive_data(self._host.read_buffer[:nbytes])
        self._handle_events()

    def eof_received(self) -> bool:
        """The client ended its side: it is gone, or it still waits for answers (shutdown(2), as socat does)."""
        self._read_ended = True
        if self._closing or self._hung_up():
            return False
        self._perform(self._session.receive_eof())
        self._set_timer()
        return not self._closing

    def pause_writing(self) -> None:
        """The write buffer is full: the client must take answers before it is given more."""
        self._stalled_since = self._loop.time()
        self._transport.pause_reading()
        self._set_timer()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._stalled_since = None
        if self._turn is None:
            self._turn = self._loop.call_soon(self._handle_events)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by either end."""
        self._closing = True
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._perform(self._session.connection_lost())
        self._host.forget(self)

    # --- called by the server --------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The daemon stops: close when what was handed over is answered."""
        self._perform(self._session.shutdown())

    def abort(self) -> None:
        """Close now, whatever is still to be written."""
        self._transport.abort()

    # --- events ----------------------------------------------------------------------------------------------

    def _handle_events(self) -> None:
        """Handle what was read, as far as this turn goes; then read on, or have another turn."""
        self._turn = None
        try:
            for _ in range(EVENTS_PER_TURN):
                if self._closing or self._stalled_since is not None:
                    return  # reading is paused; `resume_writing` comes back here
                actions = self._session.next_actions()
                if actions is None:
                    self._note_event()
                    self._transport.resume_reading()
                    return
                self._perform(actions)
        except Exception:  # a defect: it must cost no more than this connection, and not silently
            log.exception("an event could not be handled (%s)", self._peer)
            self._perform(self._session.fail(InternalError("the daemon failed to handle an event")))
            return
        finally:
            self._set_timer()
        self._transport.pause_reading()
        self._turn = self._loop.call_soon(self._handle_events)

    def _note_event(self) -> None:
        """Remember since when the unfinished event is unfinished."""
        if not self._session.mid_event:
            self._event_since = None
        elif self._event_since is None or self._session.events != self._events_seen:
            self._event_since = self._loop.time()
        self._events_seen = self._session.events

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._transport.write(encode(action.event))
            elif isinstance(action, Submit):
                self._submit(action)
            elif isinstance(action, Cancel):
                self._host.scheduler.cancel(self._jobs[action.key])
            elif isinstance(action, Report):
                self._host.report(self._peer, action)
            else:
                self._close(action)

    def _submit(self, action: Submit) -> None:
        key = action.key

        def deliver(outcome: Outcome) -> None:  # on the worker's thread
            self._loop.call_soon_threadsafe(self._job_done, key, outcome)

        try:
            job = self._host.scheduler.submit(action.pcm, action.options, action.priority, deliver)
        except (QueueFull, ShuttingDown) as error:
            self._perform(self._session.job_refused(key, error))
            return
        self._jobs[key] = job
        self._perform(self._session.job_queued(key, job.ahead))

    def _job_done(self, key: int, outcome: Outcome) -> None:
        del self._jobs[key]
        self._active_at = self._loop.time()
        # Written even where the buffer is full: there are no more of these than jobs of one connection.
        self._perform(self._session.job_done(key, outcome))
        self._set_timer()

    # --- the end ---------------------------------------------------------------------------------------------

    def _close(self, action: Close) -> None:
        """Write what is to be written, end our side, and wait a moment for the client to end its own.

        Closing a Unix socket that holds unread bytes makes the client's next write fail, and a client that was
        still sending would see that before the error that says why. So its bytes are read and thrown away
        until it has seen ours.
        """
        if action.reason:
            log.info("closing %s reason=%s", self._peer, action.reason)
        self._closing = True
        self._closing_since = self._loop.time()
        if self._read_ended:
            self._transport.close()
            return
        with contextlib.suppress(OSError):  # the client is gone already; connection_lost is on its way
            self._transport.write_eof()
        self._transport.resume_reading()

    def _hung_up(self) -> bool:
        """Whether the client has closed, not only ended its side."""
        poll = select.poll()
        poll.register(self._socket.fileno(), 0)
        return bool(poll.poll(0))  # POLLHUP and POLLERR are reported unasked

    # --- deadlines -------------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        """When something is to happen if nothing does before."""
        if self._closing:
            return self._closing_since + LINGER_SECONDS
        if self._stalled_since is not None:
            return self._stalled_since + self._limits.write_seconds
        if self._read_ended:
            return self._loop.time() + HANGUP_SECONDS
        if self._event_since is not None:
            return self._event_since + self._limits.event_seconds
        if not self._session.busy:
            return self._active_at + self._limits.idle_seconds
        return None

    def _set_timer(self) -> None:
        """Have the timer go off no later than the deadline. One that goes off too early is set anew."""
        if self._transport.is_closing() and not self._closing:
            return
        when = self._deadline()
        if when is None:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        when = self._deadline()
        if when is not None and when <= self._loop.time():
            self._on_deadline()
        elif self._read_ended and not self._closing and self._hung_up():
            self._transport.abort()
        self._set_timer()

    def _on_deadline(self) -> None:
        if self._closing:
            self._transport.abort()
        elif self._stalled_since is not None:
            # It is told nothing, since it reads nothing.
            log.info("closing %s reason=%s: it takes no answers", self._peer, TimedOut.code)
            self._transport.abort()
        elif self._event_since is not None:
            seconds = self._limits.event_seconds
            self._perform(self._session.fail(TimedOut(f"an event was not whole after {seconds:g} s")))
        else:
            seconds = self._limits.idle_seconds
            self._perform(self._session.fail(TimedOut(f"nothing came for {seconds:g} s")))
