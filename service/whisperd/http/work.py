"""One recording of a request: through the same queue, budget and limits as a clip on the native socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .. import piecewise
from ..actions import DISCONNECTED, NO_SPEECH, TRANSCRIBED, Report
from ..audio.pcm import SAMPLE_RATE, Int16Samples
from ..audio.pieces import join
from ..connection import log_line
from ..errors import BadAudio, WhisperdError
from ..protocol import Outcome
from ..speech.options import Options
from ..speech.types import AUTO, SILENCE, Timings, Transcription
from .answers import Answer
from .problems import Gone, about
from .recording import Prepared, Recording

if TYPE_CHECKING:
    from ..server import Server
    from .fields import Wanted
    from .gate import Gate
    from .uploads import Upload

log = logging.getLogger("whisperd.http")

T = TypeVar("T")

DECODERS = 2
"""Threads that decode recordings, which takes a hundredth of the time that transcribing takes."""

Tell = Callable[[str, str], Awaitable[None]]
"""Is told the text of each piece, and its language."""


@dataclass
class _Progress:
    parts: list[tuple[float, Transcription]] = field(default_factory=list)
    queue_s: float = 0.0
    run_s: float = 0.0
    audio_s: float = 0.0


class Work:
    """Transcribes recordings for requests.

    Args:
        most_s: seconds of the longest recording.
    """

    def __init__(self, host: Server, executor: Executor, most_s: float) -> None:
        self._host = host
        self._executor = executor
        self._most = most_s
        self._decoding = asyncio.Semaphore(DECODERS)

    async def transcribe(
        self,
        upload: Upload,
        wanted: Wanted,
        gate: Gate,
        request_id: str,
        *,
        longest_s: float | None = None,
        tell: Tell | None = None,
    ) -> Answer:
        """Transcribe an upload, and close it.

        Args:
            longest_s: of the pieces in which that is done; None: as long as a clip may be.
            tell: of each piece's text, as soon as it is there.

        Raises:
            WhisperdError: as on the native socket; what is wrong with the audio, said of its field.
            Gone: the client has, and its work is cancelled.
        """
        clock = self._host.clock
        begun, progress = clock(), _Progress()
        outcome, job = "", None
        try:
            self._host.check(wanted.options)
            await self._pieces(
                upload, wanted, gate, progress, longest_s or self._host.limits.max_clip_seconds, tell
            )
            result = join(progress.parts) if progress.parts else self._nothing(wanted)
            outcome = TRANSCRIBED if result.text else NO_SPEECH
            job = Outcome(result, progress.queue_s, progress.run_s)
            return Answer(result, progress.run_s, clock() - begun, progress.audio_s)
        except WhisperdError as error:
            outcome = error.code
            raise
        except (Gone, ConnectionError, asyncio.CancelledError):
            outcome = DISCONNECTED
            raise
        finally:
            upload.close()
            self.report(gate, Report(request_id, outcome or "internal", progress.audio_s, job))

    def _nothing(self, wanted: Wanted) -> Transcription:
        """Of a recording of which no part was wanted."""
        language = wanted.options.language or self._host.model.default_language
        if language == AUTO:
            language = self._host.model.allowed_languages[0]
        return Transcription("", language, 0.0, (), Timings(0.0, 0.0, 0.0), no_speech=SILENCE)

    def report(self, gate: Gate, report: Report) -> None:
        """Count a request, and write its line to the log."""
        gate.reported = True
        self._host.finished(report)
        log.info("%s", log_line(gate.peer, report))

    async def _pieces(
        self, upload: Upload, wanted: Wanted, gate: Gate, progress: _Progress, longest_s: float, tell: Tell | None
    ) -> None:
        recording = Recording(
            upload, wanted, longest_s=longest_s, most_s=self._most, new_endpoints=self._host.new_endpointer
        )
        try:
            most = await self._in_thread(recording.open)
            later = False
            while True:
                piece = await self._decoded(recording, most)
                if piece is None:
                    break
                share = len(piece.pcm)
                progress.audio_s = piece.end_s
                before = [result for _, result in progress.parts]
                until_s = piece.offset_s + len(piece.pcm) / SAMPLE_RATE
                options = options_of_piece(
                    wanted.options, piece.offset_s, until_s, before, later=later and tell is None
                )
                later = True
                if options is None:
                    self._host.budget.give(share)
                    continue
                outcome = await self._run(piece.pcm, share, replace(wanted, options=options), gate)
                progress.queue_s += outcome.queue_s
                progress.run_s += outcome.run_s
                if isinstance(outcome.result, WhisperdError):
                    raise outcome.result
                progress.parts.append((piece.offset_s, outcome.result))
                if tell is not None:
                    await tell(outcome.result.text, outcome.result.language)
            if not progress.audio_s:
                raise about(BadAudio(f"{upload.name} is too short to hold a sample at 16 kHz"), upload.field)
        finally:
            # Not waited for: it may have to wait for a thread that decodes still, where this task was cancelled.
            self._executor.submit(recording.close)

    async def _decoded(self, recording: Recording, most: int) -> Prepared | None:
        """The next piece, whose samples are in the budget: as many as there may be, before there is any of it."""
        async with self._decoding:  # so that only those that are decoded now take more than they need
            self._host.budget.take(most)
            kept = 0
            try:
                piece = await self._in_thread(recording.next)
                kept = 0 if piece is None else len(piece.pcm)
            finally:
                self._host.budget.give(most - kept)
        return piece

    async def _run(self, pcm: Int16Samples, share: int, wanted: Wanted, gate: Gate) -> Outcome:
        """Have the worker transcribe a piece; its share of the budget goes back when the worker has let go."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()

        def settle(outcome: Outcome) -> None:
            self._host.budget.give(share)
            if not done.done():
                done.set_result(outcome)

        try:
            job = self._host.scheduler.submit(
                pcm, wanted.options, wanted.priority, lambda outcome: _soon(loop, settle, outcome)
            )
        except WhisperdError:
            self._host.budget.give(share)
            raise
        gone: asyncio.Future[Any] = asyncio.ensure_future(gate.gone.wait())
        either: set[asyncio.Future[Any]] = {done, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise Gone
            return done.result()
        finally:
            gone.cancel()
            if not done.done():
                self._host.scheduler.cancel(job)
                done.cancel()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def options_of_piece(
    options: Options, start_s: float, end_s: float, before: Sequence[Transcription], *, later: bool
) -> Options | None:
    """What is chosen for a piece, see `piecewise.changes`; None: nothing of it is wanted."""
    answers = [
        piecewise.Answer(
            result.text,
            result.language,
            bool(result.languages),
            result.segments[-1].temperature if result.segments else 0.0,
        )
        for result in before
    ]
    changed = piecewise.changes(lambda name: getattr(options, name), start_s, end_s, answers, later=later)
    return None if changed is None else replace(options, **changed)


def _soon(loop: asyncio.AbstractEventLoop, settle: Callable[[Outcome], None], outcome: Outcome) -> None:
    loop.call_soon_threadsafe(settle, outcome)
