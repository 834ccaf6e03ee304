"""What is done with one window of at most 30 s: features scaled, a first decoding, and further tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import alignment, guards, words
from .decoding import NOTHING_KNOWN, Decoded, Decoder, Work, max_tokens
from .features import FRAMES_PER_SECOND, normalise, silence_value, sounding
from .model import WhisperModel
from .options import Options
from .tokenizer import Tokenizer
from .types import AUTO, Control, Float32Array, Known, Timings

#: Quiet that is encoded behind the last sound, in positions of 20 ms. 0.3 s; less lets the words' end blur into
#: the tail, more costs time and gains nothing measurable (docs/models.md). It is the clip's own, as far as there
#: is any, and silence from there on.
MARGIN_POSITIONS = 15
#: What is quiet: as many decades of power below the clip's loudest mel bin. The ends of words are 30 dB below, at
#: most; in noise of 40 dB below the voice and louder nothing is.
QUIET = 4.0
#: A clip is scaled so that its loudest mel bin has the value for which the tail was computed. A very quiet
#: one is raised by at most this much (log10 of power; 3 is 30 dB), or noise would be taken for speech.
MAX_GAIN = 3.0
#: Positions of the encoder's output in a second.
POSITIONS_PER_SECOND = FRAMES_PER_SECOND // 2


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
    """A stretch of at most 30 s: float32[n_mels, T] scaled log-mel, and the most tokens it can need.

    Quiet that is not encoded is not among its frames, but its seconds are among its `seconds`. `whole`: nothing of
    it is taken for such quiet.
    """

    mel: Float32Array
    limit: int
    seconds: float
    whole: bool = False

    @property
    def frames(self) -> int:
        """Frames of 10 ms, T."""
        return int(self.mel.shape[1])


@dataclass(frozen=True)
class Ask:
    """What is the same for all decodings of a window.

    Attributes:
        language: a code, or "auto": the most probable of `allowed`.
        timestamps: whether segments are to have times.
        align: whether words are to have times.
        previous, prefix: text tokens, see `Work`.
    """

    language: str
    task: str
    control: Control
    watch: Stopwatch
    known: Known = NOTHING_KNOWN
    options: Options = Options()
    allowed: tuple[str, ...] = ()
    timestamps: bool = False
    align: bool = False
    previous: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True)
class Found:
    """The best decoding of a window, and how many others were needed for it.

    Attributes:
        tokens, text: what there is to tell: those of the decoding, without repetitions if it lost its way.
        language: that it was decoded in.
        languages: how probable each is, if it had to be detected.
        words: with seconds from the window's start, if they were asked for.
    """

    decoded: Decoded
    tokens: tuple[int, ...]
    text: str
    fallbacks: int
    language: str = ""
    languages: tuple[tuple[str, float], ...] = ()
    words: tuple[words.Timed, ...] = ()


class Attempts:
    """Decodes windows with one model.

    Attributes:
        model, decoder: the two networks, and the search over them.
        timestamp_begin: id of the token of the time 0; what lies above it are later times.
    """

    def __init__(self, model: WhisperModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.decoder = Decoder(model, tokenizer)
        self._tokenizer = tokenizer
        self._context = model.manifest.dimensions.n_text_ctx
        self._silence = silence_value(model.manifest.loudest)
        self.timestamp_begin = model.manifest.tokens.timestamp_begin

    def window(self, log_mel: Float32Array, seconds: float, *, whole: bool = False) -> Window:
        """What `find` takes, of raw log-mel float32[n_mels, T] and the seconds that it has.

        All of it if it is to be `whole`: where times are told, as in long recordings, the decoder now and then
        goes on behind the last sentence if the pause behind that is cut off.
        """
        mel = self.scaled(log_mel)
        frames = mel.shape[1] if whole else 2 * _needed(mel)
        return Window(mel[:, :frames], max_tokens(seconds, self._context), seconds, whole)

    def text(self, tokens: Sequence[int]) -> str:
        """Of text tokens."""
        return self._tokenizer.decode(tokens)

    def scaled(self, log_mel: Float32Array) -> Float32Array:
        """Normalised log-mel, float32[n_mels, T], at the loudness that the tail was computed for."""
        loudest = self.model.manifest.loudest
        gain = min(loudest - float(log_mel.max()), MAX_GAIN)
        return normalise(log_mel + np.float32(gain), loudest)

    def pad(self, mel: Float32Array, *, full: bool, whole: bool = False) -> Float32Array:
        """With silence behind the last sound, or of a `whole` window behind its end: the margin, or up to 30 s."""
        context = self.model.manifest.dimensions.n_audio_ctx
        needed = -(-mel.shape[1] // 2) + MARGIN_POSITIONS if whole else _needed(mel)
        positions = context if full else min(context, needed)
        padded = np.full((mel.shape[0], 2 * positions), self._silence, np.float32)
        frames = mel[:, : 2 * positions]
        padded[:, : frames.shape[1]] = frames
        return padded

    def find(
        self, window: Window, ask: Ask, *, full: bool = False, attend: bool = False, last: bool = True
    ) -> Found:
        """Decode a window, and where that goes wrong and this is the `last` pass over it, again: over the full
        context if it does not come to an end, or does not notice it, and at higher temperatures while it looks
        like no text.
        """
        cross = self.encode(window, ask, full=full)
        languages: tuple[tuple[str, float], ...] = ()
        if ask.language == AUTO:
            languages = self._detect(cross, ask)
            ask = replace(ask, language=languages[0][0])
        first, *higher = ask.options.temperature
        decoded, fallbacks = self.decode(cross, window, ask, full=full, attend=attend, temperature=first), 0
        capped = ask.options.max_new_tokens is not None  # then the cap is the client's wish, and no accident
        if last and not full and not capped and self._lost(decoded):
            fallbacks, full = 1, True
            del cross  # some 40 MB at most, which need not be held twice
            cross = self.encode(window, ask, full=True)
            decoded = self.decode(cross, window, ask, full=True, temperature=first)
        best = self._cut(decoded, ask)
        for temperature in higher if last else ():
            if not guards.wants_fallback(best.decoded, best.text, ask.options):
                break
            fallbacks += 1
            other = self._cut(self.decode(cross, window, ask, full=full, temperature=temperature), ask)
            best = _better(best, other, ask.options)
        said = self._words(cross, window, ask, best) if last and ask.align else ()
        return replace(best, fallbacks=fallbacks, language=ask.language, languages=languages, words=said)

    def _lost(self, decoded: Decoded) -> bool:
        """Whether a decoding did not come to its end, or did not notice it."""
        return not decoded.ended or guards.said_twice(self._tokenizer.decode(decoded.tokens))

    def _cut(self, decoded: Decoded, ask: Ask) -> Found:
        """What was found, without its repetitions if it did not come to an end; but with all that stands."""
        tokens = decoded.tokens
        if not decoded.ended:
            tokens = guards.without_repeats(tokens)
            stands = len(ask.known.stable)
            if tokens[:stands] != decoded.tokens[:stands]:
                tokens = decoded.tokens[:stands]
        return Found(decoded, tokens, self._tokenizer.decode(tokens), 0)

    def encode(self, window: Window, ask: Ask, *, full: bool) -> dict[str, Any]:
        """What the decoder reads of a window: 1.3 MB a second in base."""
        ask.control.step()
        with timed(ask.watch, "encode", ask.control):
            padded = self.pad(window.mel, full=full, whole=window.whole)
            return self.model.encode(padded, ask.control.run_options())

    def decode(
        self,
        cross: dict[str, Any],
        window: Window,
        ask: Ask,
        *,
        full: bool,
        attend: bool = False,
        temperature: float = 0.0,
    ) -> Decoded:
        """Search for the text of a window once."""
        limit = window.limit if ask.options.max_new_tokens is None else ask.options.max_new_tokens
        work = Work(
            ask.language,
            ask.task,
            limit,
            ask.options,
            timestamps=ask.timestamps,
            seconds=window.seconds,
            previous=ask.previous,
            prefix=ask.prefix,
            # Somebody may really say a thing three times: over the full context a loop is one only at the cap.
            leave_loops=not full,
            known=ask.known,
            attend=attend,
            temperature=temperature,
        )
        with timed(ask.watch, "decode", ask.control):
            return self.decoder.decode(cross, work, ask.control)

    def languages(self, window: Window, ask: Ask, *, full: bool) -> tuple[tuple[str, float], ...]:
        """How probable each of the allowed languages is in a window, the most probable first."""
        return self._detect(self.encode(window, ask, full=full), ask)

    def _detect(self, cross: dict[str, Any], ask: Ask) -> tuple[tuple[str, float], ...]:
        """How probable each of the allowed languages is, the most probable first; one alone is certain."""
        if len(ask.allowed) == 1:
            return ((ask.allowed[0], 1.0),)
        with timed(ask.watch, "decode", ask.control):
            return self.decoder.languages(cross, ask.allowed, ask.control)

    def _words(self, cross: dict[str, Any], window: Window, ask: Ask, found: Found) -> tuple[words.Timed, ...]:
        """A text's words, with times: the decoder goes along it once more, and is watched where it looks."""
        if not found.tokens:
            return ()
        with timed(ask.watch, "decode", ask.control):
            # More tokens than the decoder's context are there in no text: half of it is the most.
            attention, logprobs = self.decoder.attended(cross, ask.language, ask.task, found.tokens, ask.control)
            positions = max(1, -(-window.frames // 2))
            starts = alignment.begins(attention, positions) / POSITIONS_PER_SECOND
            spaced = ask.language not in words.UNSPACED
            split = words.split(found.tokens, self._tokenizer.decode_bytes, spaced=spaced)
            return tuple(words.timed(split, [float(s) for s in starts], logprobs))


def _needed(mel: Float32Array) -> int:
    """Positions up to the last sound and the margin behind it."""
    return -(-sounding(mel, QUIET) // 2) + MARGIN_POSITIONS


def _better(best: Found, other: Found, options: Options) -> Found:
    """Of two decodings of a window, the one to go on with: it does not repeat itself, or is more probable. A text
    that repeats itself is most probable of all.
    """
    if not other.decoded.ended:
        return best
    return max(
        best,
        other,
        key=lambda found: (not guards.repeats_itself(found.text, options), found.decoded.avg_logprob),
    )


@contextmanager
def timed(watch: Stopwatch, phase: str, control: Control) -> Iterator[None]:
    begun = control.now()
    try:
        yield
    finally:
        setattr(watch, phase, getattr(watch, phase) + control.now() - begun)
