"""Live speech: samples of one stream in, texts and wishes out. Pure; the only clock is the audio itself.

A `LiveStream` finds the utterances of a stream and has each decoded again and again while it lasts. It asks for
one pass at a time (`Decode`), hears what came of it (`job_done`, `job_refused`), and tells what is to be shown.
What is asked for next is decided in one place, `_ask`, by what there is to do, the most urgent first:

    a final text that is owed > a final text ahead of time, in a pause > a window that is full > a partial text

A pass that is overtaken is dropped. What the worker has no time for now waits in the ring, a minute of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from .audio.pcm import SAMPLE_RATE
from .audio.ring import RING_S, Ring
from .errors import QueueFull, WhisperdError
from .protocol import Mode, Outcome
from .speech.endpoint import Change, Dropped, Ended, Paused, Resumed, Started
from .speech.types import NO_VOICE, Int16Samples, Known, Pass, Timings, Transcription
from .speech.windows import quietest
from .utterance import (
    Decode,
    Done,
    Drop,
    Finished,
    Level,
    Output,
    Overrun,
    Utterance,
    VoiceStarted,
    VoiceStopped,
)

FIRST_PARTIAL_S: Final = 1.0
"""Of an utterance, before the first pass. Up to 0.56 s of that lie before the voice, and of less than half a
second of voice Whisper makes a guess: "Yeah." of "How"."""

PARTIAL_STEP_S: Final = 0.3
"""New audio for which a pass is worth while. Where a pass takes longer than this, as long as it takes: so that
not more than half of the worker's time goes into texts that are not final."""

FULL_S: Final = 25.0
"""A window, of the 30 s that Whisper can hear at once, that is decoded for good, and another one begun."""

CUT_BACK_S: Final = 1.0
"""How far back from its end the quietest place to cut a full window is looked for. No pass for a partial text
looks into that: what stands must end before the cut. Most windows end earlier, in a pause."""

LEVEL: Final = SAMPLE_RATE // 20
"""Samples to one level: 20 a second."""

FLOOR_DB: Final = -96.0
"""What silence is told as: below the least that int16 can hold."""


class Endpoints(Protocol):
    """What finds utterances: `speech.endpoint.Endpointer`."""

    def push(self, pcm: Int16Samples) -> list[Change]:
        """The next samples."""

    def finish(self) -> list[Change]:
        """The stream ends."""


@dataclass(frozen=True)
class _Job:
    key: int
    utterance: Utterance
    end: int
    final: bool


class LiveStream:
    """One stream.

    Args:
        endpoints: finds the utterances.
        mode: with push-to-talk, all that is said until `stop` is one utterance.
        longest_s: an utterance of push-to-talk is cut here; None: it may be of any length.
        new_key: gives a key for each pass.
        levels: whether loudness is told.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        mode: Mode,
        new_key: Callable[[], int],
        *,
        longest_s: float | None = RING_S,
        levels: bool = True,
    ) -> None:
        self._endpoints = endpoints
        self._mode = mode
        self._new_key = new_key
        self._longest = None if longest_s is None else round(longest_s * SAMPLE_RATE)
        self._ring = Ring()
        self._open: Utterance | None = None
        self._owed: deque[Utterance] = deque()
        self._count = 0
        self._job: _Job | None = None
        self._pace = PARTIAL_STEP_S
        self._stopped = False
        self._voiced = False  # what was told last
        self._levels = levels
        self._level = np.empty(0, np.int16)  # less than a level's samples
        self._out: list[Output] = []

    @property
    def samples(self) -> int:
        """How many samples have come."""
        return self._ring.end

    @property
    def busy(self) -> bool:
        """Whether a final text is owed, or a voice is heard."""
        return bool(self._owed) or self._open is not None

    # --- what happens ------------------------------------------------------------------------------------------

    def push(self, pcm: Int16Samples, lost: int = 0) -> list[Output]:
        """The next samples, int16[n], and how many were lost before them.

        Raises:
            ValueError: the stream was stopped.
        """
        if self._stopped:
            raise ValueError("the stream was stopped")
        if lost:
            self._out.append(Overrun(lost))
        # In pieces: so that what is found in one cannot have left the ring, however much comes at once.
        for at in range(0, len(pcm), SAMPLE_RATE):
            piece = pcm[at : at + SAMPLE_RATE]
            self._ring.write(piece)
            self._tell_level(piece)
            self._follow(self._endpoints.push(piece))
            self._keep_up()
            self._ask()
        return self._taken()

    def stop(self) -> list[Output]:
        """The stream ends: what is being said is finished, then comes `Done`."""
        if not self._stopped:
            self._stopped = True
            self._follow(self._endpoints.finish())
            if self._open is not None:
                self._close(self._open, self._open.paused or self._ring.end)
            elif self._mode is Mode.PUSH_TO_TALK and not self._count:
                self._nothing(0, self._ring.end)
            self._ask()
        return self._taken()

    def abandon(self) -> list[Output]:
        """Drop everything; nothing more is told."""
        self._stopped = True
        self._open = None
        self._owed.clear()
        self._drop_job()
        self._out = [output for output in self._out if isinstance(output, Drop)]
        return self._taken()

    def job_done(self, key: int, outcome: Outcome) -> list[Output]:
        """What came of a pass; one that was dropped is ignored."""
        job = self._job
        if job is None or job.key != key:
            return []
        self._job = None
        self._decoded(job, outcome)
        self._ask()
        return self._taken()

    def job_refused(self, key: int, error: WhisperdError) -> list[Output]:
        """The pass was not taken. It is asked for again with the next samples; without such, that is an answer."""
        job = self._job
        if job is None or job.key != key:
            return []
        self._job = None
        if job.utterance in self._owed and (self._stopped or not isinstance(error, QueueFull)):
            self._give(job.utterance, Outcome(error, 0.0, 0.0))
            self._ask()
        return self._taken()

    # --- utterances --------------------------------------------------------------------------------------------

    def _follow(self, changes: list[Change]) -> None:
        push_to_talk = self._mode is Mode.PUSH_TO_TALK
        for change in changes:
            utterance = self._open
            if isinstance(change, Started):
                if utterance is None:
                    self._begin(change.at)
                else:
                    self._voice(change.at)
                    self._go_on(utterance)
            elif utterance is None:
                continue
            elif isinstance(change, Resumed):
                self._go_on(utterance)
            elif isinstance(change, Paused):
                utterance.voiced = utterance.voiced_before + change.voiced
                self._pause(utterance, change.at, change.heard)
            else:
                self._silent(utterance, change)
        utterance = self._open
        if push_to_talk and utterance and self._longest and self._ring.end - utterance.start >= self._longest:
            cut = utterance.start + self._longest
            self._close(utterance, cut)
            self._begin(cut)

    def _silent(self, utterance: Utterance, change: Ended | Dropped) -> None:
        """There was no voice for so long that an utterance is over, unless a person says when it is."""
        utterance.voice_end = change.at
        if isinstance(change, Ended):
            utterance.voiced = utterance.voiced_before + change.voiced
        if self._mode is Mode.PUSH_TO_TALK:
            utterance.voiced_before = utterance.voiced
            self._silence(change.at)
        elif isinstance(change, Ended):
            self._close(utterance, change.until)
        else:
            self._discard(utterance)

    def _begin(self, at: int) -> None:
        self._open = Utterance(self._count, at, at, looked=at, voice_end=at)
        self._count += 1
        self._voice(at)

    def _voice(self, at: int) -> None:
        """Tell that there is a voice, unless that was the last that was told of it."""
        if not self._voiced:
            self._voiced = True
            self._out.append(VoiceStarted(at))

    def _silence(self, at: int) -> None:
        """Tell that there is none any more."""
        if self._voiced:
            self._voiced = False
            self._out.append(VoiceStopped(at))

    def _go_on(self, utterance: Utterance) -> None:
        if utterance.paused is None:
            return
        if utterance.ahead and utterance.ahead[0] - utterance.window > FULL_S / 2 * SAMPLE_RATE:
            self._turn_over(utterance, *utterance.ahead)
        utterance.paused = utterance.ahead = None
        if self._job and self._job.final and self._job.utterance is utterance:
            self._drop_job()

    def _pause(self, utterance: Utterance, at: int, heard: int) -> None:
        utterance.voice_end, utterance.paused = at, heard
        if self._job and not self._job.final:
            self._drop_job()

    def _close(self, utterance: Utterance, end: int) -> None:
        utterance.end = end
        self._open = None
        self._owed.append(utterance)
        self._silence(min(max(utterance.voice_end, utterance.start), end))
        if self._job and self._job.utterance is utterance and (not self._job.final or self._job.end != end):
            self._drop_job()
        if utterance.ahead and utterance.ahead[0] == end and self._owed[0] is utterance:
            self._give(utterance, utterance.ahead[1])

    def _discard(self, utterance: Utterance) -> None:
        """Too short to be one; unless it has words that are promised already."""
        if utterance.known.stable or utterance.parts:
            self._close(utterance, self._ring.end)
            return
        self._open = None
        if self._job and self._job.utterance is utterance:
            self._drop_job()
        self._silence(max(utterance.voice_end, utterance.start))
        self._nothing(utterance.number, utterance.start)

    def _nothing(self, number: int, start: int) -> None:
        """An utterance without words, which no pass was needed for."""
        end = self._ring.end
        result = _without_voice((end - start) / SAMPLE_RATE)
        self._count = max(self._count, number + 1)
        self._out.append(Finished(number, start, end, Outcome(result, 0.0, 0.0)))

    def _keep_up(self) -> None:
        """Let go of what has left the ring before the worker had time for it."""
        for utterance in (*self._owed, *((self._open,) if self._open else ())):
            end = utterance.end or self._ring.end
            lost = min(self._ring.begin, end) - utterance.window
            if lost > 0:
                utterance.window += lost
                utterance.looked = max(utterance.looked, utterance.window)
                utterance.known = Known(utterance.known.stable, utterance.known.logprobs)
                self._out.append(Overrun(lost))

    # --- passes ------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for the pass that is most urgent, if none runs."""
        if self._job is not None and not self._job.final and self._owed:
            self._drop_job()
        while self._job is None and self._owed:
            self._ask_owed(self._owed[0])
        if self._job is None:
            if self._open is not None:
                self._ask_open(self._open)
            elif self._stopped:
                self._out.append(Done(self._count))

    def _ask_owed(self, utterance: Utterance) -> None:
        assert utterance.end is not None
        if utterance.ahead and utterance.ahead[0] == utterance.end:
            self._give(utterance, utterance.ahead[1])
        elif utterance.window >= utterance.end:  # all of it is decoded, or was overwritten
            self._give(utterance, Outcome(_without_voice(0.0), 0.0, 0.0))
        elif not self._ask_window(utterance, utterance.end):
            self._decode(utterance, utterance.end, final=True)

    def _ask_open(self, utterance: Utterance) -> None:
        now = self._ring.end
        if utterance.paused is not None:
            if utterance.ahead is None and not self._ask_window(utterance, utterance.paused):
                self._decode(utterance, utterance.paused, final=True)
        elif not self._ask_window(utterance, now):
            begun = now - utterance.start >= FIRST_PARTIAL_S * SAMPLE_RATE
            fits = now - utterance.window <= (FULL_S - CUT_BACK_S) * SAMPLE_RATE
            if begun and fits and now - utterance.looked >= self._pace * SAMPLE_RATE:
                self._decode(utterance, now, final=False)

    def _ask_window(self, utterance: Utterance, now: int) -> bool:
        """Have a full window decoded for good, up to its quietest place that no pass has seen yet."""
        full = utterance.window + round(FULL_S * SAMPLE_RATE)
        if now <= full:
            return False
        begin = min(max(utterance.looked, full - round(CUT_BACK_S * SAMPLE_RATE)), full)
        self._decode(utterance, begin + quietest(self._ring.read(begin, full)), final=True)
        return True

    def _decode(self, utterance: Utterance, end: int, *, final: bool) -> None:
        self._job = _Job(self._new_key(), utterance, end, final)
        pcm = self._ring.read(utterance.window, end)
        whole = final and utterance.window == utterance.start and end in (utterance.end, utterance.paused)
        voiced_s = utterance.voiced / SAMPLE_RATE if whole else None
        self._out.append(Decode(self._job.key, pcm, Pass(utterance.known, final, voiced_s)))

    def _decoded(self, job: _Job, outcome: Outcome) -> None:
        utterance, result = job.utterance, outcome.result
        utterance.looked = max(utterance.looked, job.end)
        self._pace = max(PARTIAL_STEP_S, outcome.run_s)
        if isinstance(result, Transcription) and result.partial is not None:
            utterance.known = result.partial.known
        if job.final and job.end in (utterance.end, utterance.paused):
            utterance.ahead = (job.end, outcome)  # an error, too, is an answer
        elif job.final:
            self._turn_over(utterance, job.end, outcome)
        if utterance is self._open and isinstance(result, Transcription):
            self._out.append(utterance.shown(result, whole=job.end == utterance.window))

    def _turn_over(self, utterance: Utterance, end: int, outcome: Outcome) -> None:
        """A window's text is final, and the next window begins behind it."""
        if isinstance(outcome.result, Transcription):
            utterance.parts.append((utterance.window, outcome.result))
        else:
            utterance.failed = outcome
        utterance.window = end
        utterance.looked = max(utterance.looked, end)
        utterance.known = Known()

    def _give(self, utterance: Utterance, outcome: Outcome) -> None:
        """Tell the final text, of all windows together; or the error that stands for a part of it."""
        self._owed.remove(utterance)
        assert utterance.end is not None
        outcome = utterance.failed or outcome
        if isinstance(outcome.result, Transcription):
            outcome = replace(outcome, result=utterance.joined(outcome.result))
        self._out.append(Finished(utterance.number, utterance.start, utterance.end, outcome))

    def _drop_job(self) -> None:
        if self._job is not None:
            self._out.append(Drop(self._job.key))
            self._job = None

    # --- loudness ----------------------------------------------------------------------------------------------

    def _tell_level(self, pcm: Int16Samples) -> None:
        if not self._levels:
            return
        pcm = np.concatenate([self._level, pcm])
        whole = len(pcm) // LEVEL * LEVEL
        self._level = pcm[whole:]
        if whole:
            newest = pcm[whole - LEVEL : whole].astype(np.float32)
            rms, peak = float(np.sqrt(np.mean(newest**2))), float(np.abs(newest).max())
            self._out.append(Level(_db(rms), _db(peak)))

    def _taken(self) -> list[Output]:
        out, self._out = self._out, []
        return out


def _without_voice(seconds: float) -> Transcription:
    return Transcription("", "", seconds, (), Timings(0.0, 0.0, 0.0), no_speech=NO_VOICE)


def _db(amplitude: float) -> float:
    return max(FLOOR_DB, 20 * math.log10(amplitude / 32768)) if amplitude > 0 else FLOOR_DB
