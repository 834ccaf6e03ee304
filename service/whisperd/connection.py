"""One client on a socket: moves bytes and time between a transport and its session.

Everything that is decided is decided in `session`; this file does what it asks for, and watches the clock.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from .actions import Action, Cancel, Close, Listen, Report, Send, Submit, Unlisten, Warn
from .errors import ShuttingDown, TimedOut, WhisperdError
from .session import Session
from .wire import encode

if TYPE_CHECKING:
    from .audio.microphone import Microphone
    from .config import Limits
    from .protocol import Outcome
    from .scheduler import Job, Scheduler
    from .speech.types import Int16Samples
    from .wire import Event

log = logging.getLogger("whisperd.server")

MAX_TICK_SECONDS = 5.0
"""How late a deadline may be noticed."""

_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


class Guest(Protocol):
    """A connection as the server counts it, whatever it speaks."""

    def shutdown(self) -> None:
        """Take no more requests, finish those that run, then close."""

    def abort(self) -> None:
        """Close at once."""


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    @property
    def limits(self) -> Limits:
        """Bounds."""

    @property
    def scheduler(self) -> Scheduler:
        """Who takes the jobs."""

    @property
    def mic(self) -> Microphone:
        """The microphone that all share."""

    def clock(self) -> float:
        """Monotonic seconds."""

    def new_session(self) -> Session:
        """A session for a connection that is admitted."""

    def admit(self, connection: Guest) -> WhisperdError | None:
        """Count a new connection in, or say why not."""

    def leave(self, connection: Guest) -> None:
        """A connection has ended."""

    def finished(self, report: Report) -> None:
        """A request has ended."""


class Connection(asyncio.Protocol):
    """The asyncio side of one session.

    Args:
        peer: who is at the other end, for the log; by default whoever the kernel says.
    """

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop, peer: str = "") -> None:
        self._host = host
        self._loop = loop
        self._session = host.new_session()
        self._jobs: dict[int, Job] = {}
        self._peer = peer
        self._closing = False
        self._last_bytes = self._event_began = host.clock()
        self._events = 0
        self._stalled_since: float | None = None
        self._ear: _Ear | None = None
        self._held: Event | None = None  # the newest of what may be left out, while the client is behind
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio's calls ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count in, or refuse with an error that says why."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._host.limits.write_buffer_bytes)
        self._peer = self._peer or peer_of(self._transport.get_extra_info("socket"))
        refusal = self._host.admit(self)
        if refusal is not None:
            log.warning("connection from %s refused: %s", self._peer, refusal.code)
            self._do(self._session.fail(refusal))
            return
        log.debug("connection from %s", self._peer)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Let the session have the bytes and do what it makes of them."""
        self._last_bytes = self._host.clock()
        self._session.receive_data(data, self._last_bytes)
        while (actions := self._session.next_actions()) is not None:
            self._do(actions)
        if self._session.events != self._events:
            # The event that is in the making, if there is one, began with these bytes.
            self._events, self._event_began = self._session.events, self._last_bytes
        elif not self._session.mid_event:
            self._event_began = self._last_bytes

    def eof_received(self) -> bool:
        """The client has sent all it will; it may still wait for answers."""
        self._do(self._session.receive_eof())
        return True

    def connection_lost(self, cause: Exception | None) -> None:
        """Gone, by whoever's wish."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._do(self._session.connection_lost())
        self._deafen()
        self._host.leave(self)
        log.debug("connection from %s ended%s", self._peer, f" ({cause})" if cause else "")

    def pause_writing(self) -> None:
        """The client does not take its answers: nothing more is read, so that no more answers come up."""
        self._stalled_since = self._host.clock()
        if not self._closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._stalled_since = None
        # The time in which it could not be heard does not count as silence.
        self._last_bytes = self._event_began = self._host.clock()
        if not self._closing:
            self._transport.resume_reading()

    # --- the server's calls -------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Take no more requests, wait for those that were handed over, then close."""
        self._do(self._session.shutdown())

    def abort(self) -> None:
        """Close at once, whatever is still unsaid."""
        self._transport.abort()

    # --- actions ------------------------------------------------------------------------------------------

    def _do(self, actions: Iterable[Action]) -> None:
        """Do what the session asks for, and what it asks for in consequence."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if isinstance(action, Send):
                self._send(action)
            elif isinstance(action, Submit):
                # Its consequences come before what follows: a client hears of its job before it hears of the next.
                todo.extendleft(reversed(self._submit(action)))
            elif isinstance(action, Cancel):
                self._host.scheduler.cancel(self._jobs[action.key])
            elif isinstance(action, Report):
                self._host.finished(action)
                log.info("%s", log_line(self._peer, action))
            elif isinstance(action, Listen):
                self._ear = _Ear(self._host.mic, self._hear, self._loop)
            elif isinstance(action, Unlisten):
                self._deafen()
            elif isinstance(action, Warn):
                log.warning("%s %s", self._peer, action.text)
            else:
                self._close(action)

    def _send(self, action: Send) -> None:
        """Write an event; one that does not have to be there is not put in line behind what is not taken."""
        if self._transport.get_write_buffer_size() > 0:
            if action.newest:
                self._held = action.event
            if action.newest or action.lossy:
                return
        elif self._held is not None and action.lossy:
            self._transport.write(encode(self._held))
        self._held = None  # written, or overtaken by what tells more
        self._transport.write(encode(action.event))

    def _hear(self, ear: _Ear, actions: Callable[[Session], list[Action]]) -> None:
        """What a microphone has to say; of one that is not listened to any more, nothing."""
        if ear is self._ear:
            self._do(actions(self._session))

    def _deafen(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()

    def _submit(self, action: Submit) -> list[Action]:
        deliver = partial(self._delivered, action.key)
        try:
            job = self._host.scheduler.submit(action.pcm, action.options, action.priority, deliver)
        except WhisperdError as error:
            return self._session.job_refused(action.key, error)
        self._jobs[action.key] = job
        return self._session.job_queued(action.key, job.ahead)

    def _delivered(self, key: int, outcome: Outcome) -> None:
        """On any thread: pass an outcome on to the event loop's."""
        self._loop.call_soon_threadsafe(self._job_done, key, outcome)

    def _job_done(self, key: int, outcome: Outcome) -> None:
        del self._jobs[key]
        # Waiting for an answer is not silence.
        self._last_bytes = self._host.clock()
        self._do(self._session.job_done(key, outcome))

    def _close(self, action: Close) -> None:
        if self._closing:
            return
        self._closing = True
        if action.reason:
            log.debug("closing the connection from %s: %s", self._peer, action.reason)
        self._transport.close()  # after what was written has gone out
        self._stalled_since = self._host.clock()  # the last words have to be taken in time, too
        if self._timer is None:
            self._watch()

    # --- deadlines ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the deadlines again and again: they move with every event, so none of them is set as a timer."""
        limits = self._host.limits
        shortest = min(limits.event_seconds, limits.write_seconds, limits.idle_seconds)
        self._timer = self._loop.call_later(min(shortest / 4, MAX_TICK_SECONDS), self._on_tick)

    def _on_tick(self) -> None:
        limits, now = self._host.limits, self._host.clock()
        if self._stalled_since is not None:
            if now - self._stalled_since >= limits.write_seconds:
                log.warning("connection from %s dropped: it takes none of its answers", self._peer)
                self._transport.abort()
                return
        elif self._session.mid_event:
            if now - self._event_began >= limits.event_seconds:
                self._give_up(f"an event was not whole after {limits.event_seconds:g} s")
        elif not self._session.busy and now - self._last_bytes >= limits.idle_seconds:
            self._give_up(f"nothing was heard for {limits.idle_seconds:g} s")
        self._watch()

    def _give_up(self, text: str) -> None:
        self._do(self._session.fail(TimedOut(text)))


class _Ear:
    """A connection's ear at the microphone: `audio.microphone.Listener`, from its opening on.

    Args:
        tell: called with this ear and what the session is to be told.
    """

    def __init__(
        self,
        microphone: Microphone,
        tell: Callable[[_Ear, Callable[[Session], list[Action]]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._microphone = microphone
        self._tell = tell
        self._joining = loop.create_task(self._join(), name="join the microphone")

    async def _join(self) -> None:
        try:
            await self._microphone.join(self)
        except WhisperdError as error:
            refusal = error
            self._tell(self, lambda session: session.microphone_failed(refusal))
        else:
            self._tell(self, lambda session: session.microphone_opened())

    def close(self) -> None:
        """Hear no more."""
        self._joining.cancel()
        self._microphone.leave(self)

    def heard(self, pcm: Int16Samples, lost: int) -> None:
        """Samples."""
        self._tell(self, lambda session: session.heard(pcm, lost))

    def microphone_lost(self, text: str, retry_seconds: float) -> None:
        """It has vanished."""
        self._tell(self, lambda session: session.microphone_lost(text, retry_seconds))

    def microphone_restored(self) -> None:
        """It is back."""
        self._tell(self, lambda session: session.microphone_restored())


def peer_of(sock: socket.socket) -> str:
    """Who is at the other end, by the kernel's word (SO_PEERCRED)."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return "uid=? pid=?"
    pid, uid, _ = _UCRED.unpack(raw)
    return f"uid={uid} pid={pid}"


def log_line(peer: str, report: Report) -> str:
    """The log's line for a request. Never its words: it is a microphone in a car."""
    parts = [f"request {peer} id={report.request_id or '-'} outcome={report.outcome} audio={report.audio_s:.2f}s"]
    if report.job is not None:
        parts.append(f"queue={1000 * report.job.queue_s:.0f}ms run={1000 * report.job.run_s:.0f}ms")
        result = report.job.result
        if not isinstance(result, WhisperdError):
            t = result.timings
            parts.append(f"encode={t.encode_ms:.0f}ms decode={t.decode_ms:.0f}ms language={result.language}")
            if result.fallbacks:
                parts.append(f"fallbacks={result.fallbacks}")
    return " ".join(parts)


def shutting_down() -> WhisperdError:
    """Why a connection is refused while the daemon stops."""
    return ShuttingDown("the daemon is stopping")
