"""What is done with one window of at most 30 s: features scaled, a first decoding, and second tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from . import guards
from .decoding import NOTHING_KNOWN, Decoded, GreedyDecoder, max_tokens
from .features import normalise, silence_value
from .model import WhisperModel
from .tokenizer import Tokenizer
from .types import Control, Float32Array, Known, Timings

#: Silence kept real behind the last frame, in positions of 20 ms. 0.3 s; less lets the words' end blur into
#: the tail, more costs time and gains nothing measurable (docs/models.md).
MARGIN_POSITIONS = 15
#: A clip is scaled so that its loudest mel bin has the value for which the tail was computed. A very quiet
#: one is raised by at most this much (log10 of power; 3 is 30 dB), or noise would be taken for speech.
MAX_GAIN = 3.0
#: Of the second try for what looks like no text. The reference begins with 0.2 and goes up to 1.0, at the price of
#: six decodings; one is all that somebody who speaks to a car has time for.
TEMPERATURE = 0.4


@dataclass
class Stopwatch:
    """Adds up where the time of one clip goes, in seconds."""

    features: float = 0.0
    encode: float = 0.0
    decode: float = 0.0

    def timings(self) -> Timings:
        """In milliseconds."""
        return Timings(1e3 * self.features, 1e3 * self.encode, 1e3 * self.decode)


@dataclass(frozen=True)
class Window:
    """A stretch of at most 30 s: float32[n_mels, T] scaled log-mel, and the most tokens it can need."""

    mel: Float32Array
    limit: int
    seconds: float


@dataclass(frozen=True)
class Ask:
    """What is the same for all decodings of a window."""

    language: str
    task: str
    control: Control
    watch: Stopwatch
    known: Known = NOTHING_KNOWN


@dataclass(frozen=True)
class Found:
    """The best decoding of a window, and how many others were needed for it.

    Attributes:
        tokens, text: what there is to tell: those of the decoding, without repetitions if it lost its way.
    """

    decoded: Decoded
    tokens: tuple[int, ...]
    text: str
    fallbacks: int


class Attempts:
    """Decodes windows with one model.

    Attributes:
        model, decoder: the two networks, and the search over them.
    """

    def __init__(self, model: WhisperModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.decoder = GreedyDecoder(model)
        self._tokenizer = tokenizer
        self._context = model.manifest.dimensions.n_text_ctx
        self._silence = silence_value(model.manifest.loudest)

    def window(self, log_mel: Float32Array, seconds: float) -> Window:
        """What `find` takes, of raw log-mel float32[n_mels, T] and the seconds that it has."""
        return Window(self.scaled(log_mel), max_tokens(seconds, self._context), seconds)

    def scaled(self, log_mel: Float32Array) -> Float32Array:
        """Normalised log-mel, float32[n_mels, T], at the loudness that the tail was computed for."""
        loudest = self.model.manifest.loudest
        gain = min(loudest - float(log_mel.max()), MAX_GAIN)
        return normalise(log_mel + np.float32(gain), loudest)

    def pad(self, mel: Float32Array, *, full: bool) -> Float32Array:
        """Silence behind the frames: the margin, or up to 30 s."""
        context = self.model.manifest.dimensions.n_audio_ctx
        frames = mel.shape[1]
        positions = context if full else min(context, -(-frames // 2) + MARGIN_POSITIONS)
        padded = np.full((mel.shape[0], 2 * positions), self._silence, np.float32)
        padded[:, :frames] = mel[:, : 2 * positions]
        return padded

    def find(
        self, window: Window, ask: Ask, *, full: bool = False, attend: bool = False, last: bool = True
    ) -> Found:
        """Decode a window, and where that goes wrong and this is the `last` pass over it, once more: over the full
        context if it does not come to an end, and at a higher temperature if it still looks like no text.
        """
        decoded, fallbacks = self.decode(window, ask, full=full, attend=attend), 0
        if not decoded.ended and last and not full:
            fallbacks += 1
            decoded = self.decode(window, ask, full=True)
        found = self._cut(decoded, ask, fallbacks)
        if last and guards.wants_fallback(found.decoded, found.text):
            other = self._cut(self.decode(window, ask, full=full, temperature=TEMPERATURE), ask, fallbacks + 1)
            straight = guards.compression_ratio(other.text) <= guards.MAX_COMPRESSION_RATIO
            if other.decoded.ended and straight and other.decoded.avg_logprob > found.decoded.avg_logprob:
                return other
            found = replace(found, fallbacks=fallbacks + 1)
        return found

    def _cut(self, decoded: Decoded, ask: Ask, fallbacks: int) -> Found:
        """What was found, without its repetitions if it did not come to an end; but with all that stands."""
        tokens = decoded.tokens
        if not decoded.ended:
            tokens = guards.without_repeats(tokens)
            stands = len(ask.known.stable)
            if tokens[:stands] != decoded.tokens[:stands]:
                tokens = decoded.tokens[:stands]
        return Found(decoded, tokens, self._tokenizer.decode(tokens), fallbacks)

    def decode(
        self, window: Window, ask: Ask, *, full: bool, attend: bool = False, temperature: float = 0.0
    ) -> Decoded:
        """Encode and decode one window. The encoder's output, 1.3 MB a second in base, ends with the call."""
        control = ask.control
        control.step()
        with timed(ask.watch, "encode", control):
            cross = self.model.encode(self.pad(window.mel, full=full), control.run_options())
        with timed(ask.watch, "decode", control):
            return self.decoder.decode(
                cross,
                ask.language,
                ask.task,
                window.limit,
                control,
                # Somebody may really say a thing three times: over the full context a loop is one only at the cap.
                leave_loops=not full,
                known=ask.known,
                attend=attend,
                temperature=temperature,
            )

    def detect(self, window: Window, allowed: Sequence[str], control: Control, watch: Stopwatch) -> str:
        """The language of a window, among those allowed. Costs an encoder run where there is a choice."""
        if len(allowed) == 1:
            return allowed[0]
        with timed(watch, "encode", control):
            cross = self.model.encode(self.pad(window.mel, full=False), control.run_options())
        with timed(watch, "decode", control):
            return self.decoder.detect_language(cross, allowed, control)


@contextmanager
def timed(watch: Stopwatch, phase: str, control: Control) -> Iterator[None]:
    begun = control.now()
    try:
        yield
    finally:
        setattr(watch, phase, getattr(watch, phase) + control.now() - begun)
