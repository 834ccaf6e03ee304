"""What a live stream tells and wants, and the utterance in the making. Plain values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .audio.pcm import SAMPLE_RATE
from .audio.pieces import join
from .protocol import Outcome
from .speech.types import Int16Samples, Known, Pass, Transcription

# --- what a stream tells and wants -----------------------------------------------------------------------------
# Positions are samples since the stream began; utterances are numbered from 0.


@dataclass(frozen=True)
class VoiceStarted:
    """An utterance has begun."""

    at: int


@dataclass(frozen=True)
class VoiceStopped:
    """Its last voice was here."""

    at: int


@dataclass(frozen=True)
class Shown:
    """The text of an utterance that lasts. `stable` begins with every `stable` told of it before."""

    utterance: int
    revision: int
    stable: str
    unstable: str


@dataclass(frozen=True, eq=False)
class Finished:
    """An utterance has its final text, or none: then `result.no_speech` says why."""

    utterance: int
    start: int
    end: int
    outcome: Outcome


@dataclass(frozen=True)
class Level:
    """Loudness of the last 50 ms in dB of full scale."""

    rms: float
    peak: float


@dataclass(frozen=True)
class Overrun:
    """Samples that were lost: never heard, or overwritten before the worker had time for them."""

    samples: int


@dataclass(frozen=True, eq=False)
class Decode:
    """Have a stretch decoded, then call `job_done` or `job_refused` with this key."""

    key: int
    pcm: Int16Samples
    live: Pass

    @property
    def final(self) -> bool:
        """Whether somebody waits for it."""
        return self.live.final


@dataclass(frozen=True)
class Drop:
    """This pass is of no use any more. What comes of it is ignored."""

    key: int


@dataclass(frozen=True)
class Done:
    """The stream was stopped, and everything owed has been told."""

    utterances: int


Output = VoiceStarted | VoiceStopped | Shown | Finished | Level | Overrun | Decode | Drop | Done


@dataclass
class Utterance:
    """One utterance: windows that are decoded for good, and the one that is not."""

    number: int
    start: int
    window: int
    known: Known = field(default_factory=Known)
    parts: list[tuple[int, Transcription]] = field(default_factory=list)  # (position, text) of earlier windows
    looked: int = 0  # up to where the last pass saw it
    revision: int = 0
    paused: int | None = None  # up to where a final pass would see it, while there is silence
    voice_end: int = 0
    voiced: int = 0  # samples with a voice in them, as far as is known
    voiced_before: int = 0  # of these, such as lie before a silence that ends nothing
    end: int | None = None  # when it is over
    ahead: tuple[int, Outcome] | None = None  # the final pass up to a position, made before it was owed
    failed: Outcome | None = None  # the error of a window

    @property
    def stood(self) -> str:
        """Text of the windows before."""
        return "".join(part.text and f" {part.text}" for _, part in self.parts).strip()

    def joined(self, last: Transcription) -> Transcription:
        """One transcription of all windows, `last` of the last one; times from the utterance's start."""
        if not self.parts:
            return last
        parts = [*self.parts, (self.window, last)]
        joined = join([((position - self.start) / SAMPLE_RATE, part) for position, part in parts])
        # With the spaces that were between while it was said; the times are those of the pass that ended it.
        text = " ".join(part.text for _, part in parts if part.text)
        return replace(joined, text=text, timings=last.timings, no_speech="" if text else last.no_speech)

    def shown(self, result: Transcription, *, whole: bool) -> Shown:
        """What is to be shown after a pass over the last window; `whole`: that window has just become a part."""
        before = self.stood
        partial = result.partial
        stable, unstable = (partial.stable, partial.unstable) if partial and not whole else ("", "")
        gap = " " if before else ""
        shown = (
            Shown(self.number, self.revision, f"{before}{gap}{stable}", unstable)
            if stable
            else Shown(self.number, self.revision, before, gap + unstable.lstrip() if unstable.strip() else "")
        )
        self.revision += 1
        return shown
