"""Values that cross the border of the speech package, and the two seams it is called through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .options import Options
    from .vad import VoiceDetector

TASKS = ("transcribe", "translate")
#: In place of a language: find out.
AUTO = "auto"
#: Why there is no text: nobody spoke, or hardly; the model says that nobody did; it guessed.
NO_VOICE, SILENCE, DOUBTFUL = "no-voice", "silence", "doubtful"

Int16Samples = npt.NDArray[np.int16]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """What earlier passes over the beginning of an utterance have found: the next one decodes only what is new.

    Attributes:
        stable: tokens that have been promised to the user: the text begins with them, whatever comes.
        logprobs: natural log-probability of each of them.
        draft: the tokens that followed in the last pass. Checked in one step, and not believed.
    """

    stable: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    draft: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pass:
    """One pass over an utterance, while it lasts or when it is over.

    Attributes:
        known: from the pass before.
        final: whether this may be the utterance's text, and is worth a second try where the first one fails.
        voiced_s: seconds of voice in it; None if that is not known.
    """

    known: Known = Known()
    final: bool = False
    voiced_s: float | None = None


@dataclass(frozen=True)
class Word:
    """One word of a segment. Times are seconds from the clip's start.

    Attributes:
        text: as it stands in the segment's text, its leading space and its punctuation with it.
        probability: mean of the probabilities of its tokens, as faster-whisper has it.
        confidence: how probable it is that the word was said: 0 to 1, calibrated (docs/models.md).
    """

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    probability: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """One stretch of a clip. Times are seconds from the clip's start.

    Attributes:
        tokens: of the text; timestamps are not among them.
        compression_ratio: of the window's text; over 2.4 where it repeats itself.
        temperature: of the search that found it.
        words: if they were asked for.
    """

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float = 1.0
    temperature: float = 0.0
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Timings:
    """Where the time went, in milliseconds of wall clock."""

    features_ms: float
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True)
class Partial:
    """The text of an utterance so far, and what the next pass is to know.

    Attributes:
        stable: text that will not change again; it ends with a whole character.
        unstable: the rest, which may.
    """

    stable: str
    unstable: str
    known: Known


@dataclass(frozen=True)
class Transcription:
    """The answer for one clip.

    Attributes:
        text: all segments' text, joined and stripped.
        language: the language that was decoded in.
        audio_s: length of the clip in seconds.
        fallbacks: how many windows were decoded a second time with the full 30 s context.
        partial: of a pass over an utterance, how much of the text stands.
        no_speech: why there is no text: NO_VOICE, SILENCE or DOUBTFUL; "" if there is some.
        confidence: how much of the text was probably said: 0 to 1, calibrated (docs/models.md); 0 without text.
        languages: (code, probability) of the languages that were detected among, the most probable first; empty
            where the language was given.
    """

    text: str
    language: str
    audio_s: float
    segments: tuple[Segment, ...]
    timings: Timings
    fallbacks: int = 0
    partial: Partial | None = None
    no_speech: str = ""
    confidence: float = 0.0
    languages: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ModelInfo:
    """What `info` and `status` tell of a loaded model."""

    name: str
    languages: tuple[str, ...]
    default_language: str
    allowed_languages: tuple[str, ...]
    multilingual: bool
    precision: str
    licence: str
    source: str


class Control(Protocol):
    """How a running transcription talks to whoever runs it."""

    def step(self) -> None:
        """Called before each encoder run and between decoder steps; raises errors.Cancelled to stop."""

    def now(self) -> float:
        """Monotonic seconds: the pure ring has no clock of its own."""

    def run_options(self) -> Any:
        """An onnxruntime.RunOptions whose `terminate` another thread may set, or None."""


class Engine(Protocol):
    """What the scheduler's worker thread runs."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""

    @property
    def voice(self) -> VoiceDetector | None:
        """Who is asked whether somebody speaks; live streams ask the same, on another thread."""

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options this engine cannot serve."""

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        """Transcribe int16[n] at 16 kHz mono; raises errors.Cancelled when control says so."""


class Unattended:
    """A Control that never stops anything and measures no time: for warm-up and verification."""

    def step(self) -> None:
        """Go on."""

    def now(self) -> float:
        """No clock."""
        return 0.0

    def run_options(self) -> Any:
        """None."""
        return None
