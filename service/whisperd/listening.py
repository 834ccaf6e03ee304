"""A live stream as its client sees it: what the stream tells becomes events, what it wants becomes jobs. Pure.

There are two kinds of clients. One that has said hello gets everything, with the id of its request. A Wyoming
client gets what the open protocol has: `voice-started`, `voice-stopped`, `transcript-start`, a `transcript-chunk`
for each piece of text that will not change any more, and at the end `transcript` and `transcript-stop`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from . import protocol
from .actions import NO_SPEECH, TRANSCRIBED, Action, Cancel, Report, Send, Submit, Warn
from .audio.pcm import SAMPLE_RATE, Int16Samples
from .audio.ring import RING_S
from .errors import WhisperdError
from .live import LiveStream
from .protocol import Outcome, Priority, Request
from .speech.types import Transcription
from .speech.windows import WINDOW_S
from .utterance import (
    Decode,
    Done,
    Drop,
    Finished,
    Level,
    Output,
    Overrun,
    Shown,
    VoiceStarted,
    VoiceStopped,
)
from .wire import Event

SHARE: Final = round((RING_S + WINDOW_S) * SAMPLE_RATE)
"""Samples that a stream holds at most: its ring, and the window that is being decoded."""


class Listening:
    """One live stream of a connection.

    Attributes:
        request: what started it.
        clip: whether it only follows a clip that is sent at the pace of speech: then the clip's answer is all that
            ends it.
        heard_all: whether no sample was lost so far.
        over: whether nothing more will come of it.
    """

    def __init__(self, stream: LiveStream, request: Request, *, extended: bool, clip: bool = False) -> None:
        self.request = request
        self.clip = clip
        self.heard_all = True
        self.over = False
        self._stream = stream
        self._extended = extended
        self._told = ""  # a Wyoming client's text so far, in chunks
        self._chunks = False

    @property
    def seconds(self) -> float:
        """Audio so far."""
        return self._stream.samples / SAMPLE_RATE

    def heard(self, pcm: Int16Samples, lost: int = 0) -> list[Action]:
        """The next samples, int16[n] at 16 kHz, and how many were lost before them."""
        return self._actions(self._stream.push(pcm, lost))

    def stop(self) -> list[Action]:
        """No more samples come; what was said is answered."""
        return self._actions(self._stream.stop())

    def abandon(self) -> list[Action]:
        """Nothing more is wanted of it."""
        self.over = True
        return self._actions(self._stream.abandon())

    def job_done(self, key: int, outcome: Outcome) -> list[Action]:
        """What came of a job."""
        return self._actions(self._stream.job_done(key, outcome))

    def job_refused(self, key: int, error: WhisperdError) -> list[Action]:
        """A job was not queued."""
        return self._actions(self._stream.job_refused(key, error))

    # --- from outputs to actions ------------------------------------------------------------------------------

    def _actions(self, outputs: Iterable[Output]) -> list[Action]:
        actions: list[Action] = []
        for output in outputs:
            if isinstance(output, Decode):
                options = replace(self.request.options, live=output.live)
                priority = Priority.FINAL if output.final else Priority.PARTIAL
                actions.append(Submit(output.key, output.pcm, options, priority))
            elif isinstance(output, Drop):
                actions.append(Cancel(output.key))
            elif isinstance(output, Finished):
                actions += self._finished(output)
            else:
                actions += self._tell(output)
        return actions

    def _tell(self, output: VoiceStarted | VoiceStopped | Shown | Level | Overrun | Done) -> list[Action]:
        if isinstance(output, VoiceStarted | VoiceStopped):
            kind = "voice-started" if isinstance(output, VoiceStarted) else "voice-stopped"
            return [self._send(kind, {"timestamp": round(1000 * output.at / SAMPLE_RATE)})]
        if isinstance(output, Shown):
            return [self._shown(output)] if self._extended else self._chunk(output.stable)
        if isinstance(output, Level):
            data = {"rms": round(output.rms, 1), "peak": round(output.peak, 1)}
            return [self._send("level", data, lossy=True)] if self._extended and not self.clip else []
        if isinstance(output, Overrun):
            return self._overrun(output.samples)
        self.over = True
        if self.clip:
            return []
        return [self._send("listen-stopped", {"utterances": output.utterances})]

    def _overrun(self, samples: int) -> list[Action]:
        self.heard_all = False
        seconds = samples / SAMPLE_RATE
        warning = Warn(f"{seconds:.2f} s of live audio were lost, id={self.request.id or '-'}")
        if not self._extended:
            return [warning]
        return [warning, self._send("overrun", {"samples": samples, "seconds": round(seconds, 3)})]

    def _shown(self, shown: Shown) -> Send:
        data = {
            "utterance": shown.utterance,
            "revision": shown.revision,
            "stable": shown.stable,
            "unstable": shown.unstable,
        }
        return self._send("partial", data, newest=True)

    def _finished(self, finished: Finished) -> list[Action]:
        result, request = finished.outcome.result, self.request
        seconds = (finished.end - finished.start) / SAMPLE_RATE
        if isinstance(result, WhisperdError):
            report = Report(request.id, result.code, seconds, finished.outcome)
            # With the utterance's number: the stream goes on, which an error without one ends.
            failed = protocol.error(result, request.id)
            numbered = {**failed.data, "utterance": finished.utterance} if self._extended else failed.data
            return [Send(Event(failed.type, numbered)), report]
        outcome = TRANSCRIBED if result.text else NO_SPEECH
        report = Report(request.id, outcome, seconds, finished.outcome)
        if self._extended:
            where = {
                "utterance": finished.utterance,
                "start": round(finished.start / SAMPLE_RATE, 3),
                "end": round(finished.end / SAMPLE_RATE, 3),
            }
            return [Send(protocol.answer_to_clip(finished.outcome, result, request, where=where)), report]
        return [*self._last_chunks(finished.outcome, result), report]

    # --- Wyoming ----------------------------------------------------------------------------------------------

    def _chunk(self, text: str) -> list[Action]:
        """What `text` has more than was told."""
        actions: list[Action] = []
        new = text[len(self._told) :]
        if new:
            if not self._chunks:
                self._chunks = True
                language = self.request.options.language
                actions.append(self._send("transcript-start", {"language": language} if language else {}))
            actions.append(self._send("transcript-chunk", {"text": new}))
            self._told = text
        return actions

    def _last_chunks(self, outcome: Outcome, result: Transcription) -> list[Action]:
        actions = self._chunk(result.text)
        actions.append(Send(protocol.transcript(outcome, result, self.request, extended=False)))
        if self._chunks:
            actions.append(self._send("transcript-stop", {}))
        return actions

    def _send(self, kind: str, data: Mapping[str, object], *, lossy: bool = False, newest: bool = False) -> Send:
        return Send(protocol.answer(kind, data, self.request.id), lossy=lossy, newest=newest)
