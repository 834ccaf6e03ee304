"""Where in a stream does somebody speak? Samples in, changes out: no clock, no thread, no audio kept.

    stream    ....noise....[pre-roll]voice voice....voice.............noise
    changes                Started ^           ^ Paused  ^Resumed ... Paused ... Ended

Every position is a number of samples since the stream began, and the changes are the same however the stream is
cut into pieces. A change is told as soon as it is certain, which is later than the place that it speaks of:
`heard` is how much of the stream was known by then.

Where a person says when the utterance begins and ends (push-to-talk), it is only asked when transcribing ahead is
worth while: from a Paused on, and in vain once a Started or Resumed follows. Every Ended that silence brought
comes after a Paused with the same `at`, so that nothing else has to be looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .features import SAMPLE_RATE
from .gate import ENTER, LEAVE, WARM_UP, EnergyDetector, GatedDetector, Scorer
from .types import Int16Samples
from .vad import FRAME, VoiceDetector

#: `end_silence_s` for Wyoming's names of how quickly the end of a command is detected; "default" is as configured.
SENSITIVITIES: dict[str, float | None] = {"relaxed": 1.2, "default": None, "aggressive": 0.35}

#: The network still hears a voice for so many frames (0.13 s) after it has ended: where they are no louder than
#: the noise, they are taken for silence.
_LAG = 4
#: And it notices a soft beginning late: frames before it that are louder than the noise belong to the voice, so
#: many at most (0.26 s).
_SOFT = 8
#: After a pause, a voice is certain again after so many frames in a row: a click is one.
_RESUMED_FRAMES = 2
#: An utterance that is too long is cut at the quietest of its last frames (2 s).
_CUT_FRAMES = 62
#: Seconds: name -> least and most of a setting.
_BOUNDS = {
    "pre_roll_s": (0.0, 2.0),
    "pause_s": (0.05, 2.0),
    "end_silence_s": (0.05, 10.0),
    "min_voice_s": (0.0, 2.0),
    "max_utterance_s": (5.0, 60.0),
}


@dataclass(frozen=True)
class EndpointSettings:
    """When a voice is an utterance. All in seconds, kept to the nearest frame of 32 ms.

    Attributes:
        pre_roll_s: what belongs to an utterance before its first voiced frame: soft consonants, breath.
        pause_s: silence after which it is told that the speaker may be done.
        end_silence_s: silence after which the utterance has ended; not less than `pause_s`.
        min_voice_s: an utterance with less voice than this is dropped. The shortest words have 0.19 to 0.3, what
            is taken for a voice in a tone or in music most often less.
        max_utterance_s: an utterance is cut before it is longer, pre-roll included.

    Raises:
        ValueError: a value is out of bounds; the text names it.
    """

    pre_roll_s: float = 0.3
    pause_s: float = 0.2
    end_silence_s: float = 0.6
    min_voice_s: float = 0.15
    max_utterance_s: float = 60.0

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"{name} must be {least} to {most} seconds, not {value!r}")
        if self.end_silence_s < self.pause_s:
            raise ValueError(
                f"end_silence_s ({self.end_silence_s}) must not be less than pause_s ({self.pause_s})"
            )

    def with_sensitivity(self, name: str) -> EndpointSettings:
        """These settings with the end of speech that Wyoming's `vad_sensitivity` asks for.

        Raises:
            ValueError: no such sensitivity.
        """
        if name not in SENSITIVITIES:
            raise ValueError(f"unknown vad_sensitivity {name!r}; known: {', '.join(SENSITIVITIES)}")
        silence = SENSITIVITIES[name]
        if silence is None:
            return self
        return replace(self, end_silence_s=silence, pause_s=min(self.pause_s, silence))


@dataclass(frozen=True)
class Started:
    """An utterance begins at `at`, pre-roll included, and never before the `until` of the one before."""

    at: int


@dataclass(frozen=True)
class Paused:
    """`pause_s` of silence since `at`, the end of the last voiced frame. A transcription from Started.at to
    `heard` is the final one unless Resumed follows.

    Attributes:
        voiced: samples of this utterance with a voice in them.
    """

    at: int
    heard: int
    voiced: int


@dataclass(frozen=True)
class Resumed:
    """The voice goes on, from `at`."""

    at: int


@dataclass(frozen=True)
class Ended:
    """The utterance is over.

    Attributes:
        at: the end of its last voiced frame.
        heard: how much of the stream was known when that was decided.
        until: where its audio ends: the `heard` of its last Paused, with the silence that soft endings are in.
        voiced: samples of it with a voice in them.
        cut: it was at its longest, and ended in its quietest frame of the last two seconds while the voice went
            on. A Started at the same sample follows.
    """

    at: int
    heard: int
    until: int
    voiced: int
    cut: bool = False


@dataclass(frozen=True)
class Dropped:
    """What began was too short for an utterance. In place of Ended; `at` is the end of its last voiced frame."""

    at: int
    heard: int


Change = Started | Paused | Resumed | Ended | Dropped


@dataclass
class _Utterance:
    """The one under way. Positions in samples."""

    start: int
    voice_end: int
    voiced: int
    until: int | None = None  # set while paused


class Endpointer:
    """Finds the utterances of one stream of int16 at 16 kHz, in bounded memory.

    Args:
        settings: see there.
        voice: the network, of which other streams may make use in between; None to go by loudness alone.
    """

    def __init__(self, settings: EndpointSettings, voice: VoiceDetector | None) -> None:
        self._scorer: Scorer = GatedDetector(voice) if voice else EnergyDetector()
        self._pre_roll = round(settings.pre_roll_s * SAMPLE_RATE)
        self._pause = _frames(settings.pause_s) * FRAME
        self._end_silence = _frames(settings.end_silence_s) * FRAME
        self._min_voice = round(settings.min_voice_s * SAMPLE_RATE / FRAME) * FRAME
        self._longest = int(settings.max_utterance_s * SAMPLE_RATE)
        self._pending = np.empty(FRAME, np.int16)
        self._filled = 0
        self._position = 0  # end of the last frame that was scored
        self._scores: deque[float] = deque(maxlen=WARM_UP + 1 + self._scorer.certain + _SOFT)
        self._row = 0  # newest frames of at least ENTER
        self._loud: deque[bool] = deque(maxlen=self._scores.maxlen)
        self._frames: deque[tuple[int, float, bool]] = deque(maxlen=_CUT_FRAMES)  # start, power, voiced
        self._free = 0  # what lies before belongs to the utterance before
        self._utterance: _Utterance | None = None
        self._finished = False

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._utterance is not None

    @property
    def network_runs(self) -> int:
        """How often the network was asked: at most once a frame, and seldom in steady noise."""
        return self._scorer.runs if isinstance(self._scorer, GatedDetector) else 0

    def push(self, pcm: Int16Samples) -> list[Change]:
        """Take the next samples, int16[n] of any n, and tell what they changed.

        Raises:
            ValueError: they are not int16[n], or the stream has been finished.
        """
        if pcm.dtype != np.int16 or pcm.ndim != 1:
            raise ValueError(f"samples must be int16[n], not {pcm.dtype}{list(pcm.shape)}")
        if self._finished:
            raise ValueError("the stream has been finished: no samples can follow")
        changes: list[Change] = []
        taken = 0
        while taken < len(pcm):
            piece = pcm[taken : taken + FRAME - self._filled]
            self._pending[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            taken += len(piece)
            if self._filled == FRAME:
                self._frame(changes)
        return changes

    def finish(self) -> list[Change]:
        """The stream ends here: what is being said ends with it."""
        changes: list[Change] = []
        if self._filled:
            self._pending[self._filled :] = 0
            self._frame(changes)
        if self._utterance:
            self._end(self._utterance, changes)
        self._finished = True
        return changes

    def _frame(self, changes: list[Change]) -> None:
        """Score the pending frame, which only at the stream's end is not full, and go on from there."""
        frame = self._pending.copy()
        start, self._position = self._position, self._position + self._filled
        self._filled = 0
        scores = self._scorer.score(frame, self.speaking)
        for _ in range(min(len(scores) - 1, len(self._scores))):
            self._scores.pop()
        self._scores.extend(scores)
        self._loud.append(self._scorer.loud)
        self._row = _leading([score >= ENTER for score in reversed(self._scores)])
        utterance = self._utterance
        paused = utterance is not None and utterance.until is not None
        voiced = self._row > 0 if paused else scores[-1] >= LEAVE
        if utterance and voiced and not paused:
            lag = 0 if self._scorer.loud else _LAG * FRAME
            utterance.voiced += FRAME
            utterance.voice_end = max(utterance.voice_end, self._position - lag)
        power = float(np.square(frame, dtype=np.float32).mean())
        self._frames.append((start, power, voiced))
        if utterance is None:
            self._maybe_start(changes)
        else:
            self._go_on(utterance, changes)

    def _maybe_start(self, changes: list[Change]) -> None:
        if self._row < self._scorer.certain:
            return
        voiced, soft = self._run()
        onset = self._position - (voiced + soft) * FRAME
        start = max(onset - self._pre_roll, self._free)
        self._utterance = _Utterance(start, self._position, voiced * FRAME)
        changes.append(Started(start))

    def _go_on(self, utterance: _Utterance, changes: list[Change]) -> None:
        if utterance.until is not None and self._row == _RESUMED_FRAMES:
            utterance.until = None
            utterance.voice_end = self._position
            utterance.voiced += self._row * FRAME
            changes.append(Resumed(self._position - self._row * FRAME))
        silence = self._position - utterance.voice_end
        if utterance.until is None and silence >= self._pause:
            utterance.until = self._position
            changes.append(Paused(utterance.voice_end, self._position, utterance.voiced))
        # The stream's last frame, where it is not full, still has room.
        full = self._position % FRAME == 0
        too_long = full and self._position - utterance.start + FRAME > self._longest
        if silence >= self._end_silence or (too_long and utterance.until is not None):
            self._end(utterance, changes)
        elif too_long:
            self._cut(utterance, changes)

    def _end(self, utterance: _Utterance, changes: list[Change]) -> None:
        until = self._position if utterance.until is None else utterance.until
        self._utterance, self._free = None, until
        if utterance.voiced < self._min_voice:
            changes.append(Dropped(utterance.voice_end, self._position))
        else:
            changes.append(Ended(utterance.voice_end, self._position, until, utterance.voiced))

    def _cut(self, utterance: _Utterance, changes: list[Change]) -> None:
        quietest, _, _ = min(self._frames, key=lambda frame: frame[1])
        at = quietest + FRAME // 2
        after = FRAME * sum(voiced for start, _, voiced in self._frames if start >= at)
        before = utterance.voiced - after
        self._free = at
        changes += [Ended(at, self._position, at, before, cut=True), Started(at)]
        self._utterance = _Utterance(at, max(utterance.voice_end, at), after)

    def _run(self) -> tuple[int, int]:
        """Frames of the voice that is just certain, down to where it was not even likely, and those before them
        that are louder than the noise.
        """
        scores, loud = list(reversed(self._scores)), list(reversed(self._loud))
        voiced = _leading([score >= LEAVE for score in scores])
        return voiced, min(_SOFT, _leading(loud[voiced:]))


def _leading(flags: Sequence[bool]) -> int:
    """How many are true before the first that is not."""
    return next((i for i, flag in enumerate(flags) if not flag), len(flags))


def _frames(seconds: float) -> int:
    """The nearest number of frames, at least one."""
    return max(1, round(seconds * SAMPLE_RATE / FRAME))
