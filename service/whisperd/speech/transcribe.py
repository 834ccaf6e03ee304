"""From samples to text: windows, features, encoder with the silent tail, decoder, and the fallback.

The encoder runs over the real frames and a short margin; the bundle's silent tail stands for the rest of the
30 s that Whisper was trained on. Where the decoder does not come to an end over that, the window is decoded
again over the full 30 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UnknownLanguage, UnknownTask
from .bundle import Manifest, load_manifest
from .decoding import NOTHING_KNOWN, Decoded, GreedyDecoder, max_tokens, without_loop
from .features import SAMPLE_RATE, LogMel, normalise, silence_value
from .model import WhisperModel
from .streaming import DEFAULT_POLICY, POLICIES, Policy, settle
from .tokenizer import Tokenizer
from .types import (
    TASKS,
    Control,
    Float32Array,
    Int16Samples,
    Known,
    ModelInfo,
    Options,
    Partial,
    Pass,
    Segment,
    Timings,
    Transcription,
    Unattended,
)
from .vad import VoiceDetector
from .windows import WINDOW, split_at_pauses

#: Silence kept real behind the last frame, in positions of 20 ms. 0.3 s; less lets the words' end blur into
#: the tail, more costs time and gains nothing measurable (docs/models.md).
MARGIN_POSITIONS = 15
#: A clip is scaled so that its loudest mel bin has the value for which the tail was computed. A very quiet
#: one is raised by at most this much (log10 of power; 3 is 30 dB), or noise would be taken for speech.
MAX_GAIN = 3.0
#: A window whose loudest mel bin lies below this (log10 of power) holds nothing but rounding noise: some
#: 75 dB under the level of speech. It is not decoded, since Whisper hears "you" in it.
NOTHING = -6.0
#: The reference's rule for a window without speech (openai/whisper, transcribe.py).
NO_SPEECH_PROB, NO_SPEECH_LOGPROB = 0.6, -1.0
#: Enough steps to have the decoder's weights and both of its shapes used once.
WARM_UP_TOKENS = 2
#: Windows over this many seconds are called long.
LONG_WINDOW_S = 8
AUTO = "auto"


@dataclass
class _Stopwatch:
    """Adds up where the time of one clip goes, in seconds."""

    features: float = 0.0
    encode: float = 0.0
    decode: float = 0.0

    def timings(self) -> Timings:
        """In milliseconds."""
        return Timings(1e3 * self.features, 1e3 * self.encode, 1e3 * self.decode)


@dataclass(frozen=True)
class _Window:
    """A stretch of at most 30 s: float32[n_mels, T] scaled log-mel, and the most tokens it can need."""

    mel: Float32Array
    limit: int


class Transcriber:
    """The engine behind the daemon: one model and how to use it.

    Args:
        model: the two networks.
        tokenizer: ids to text.
        language: default for clips that name none, a code or "auto".
        languages: codes that clips may use; empty for all that the model knows.
        voice: asked first whether anybody speaks in a window; None where nothing is to be asked.
        after_long_window: called when a window of more than `LONG_WINDOW_S` is done, whose tensors took tens
            of megabytes: a place to give memory back.
        policy: which part of an utterance's text stands while it lasts.

    Raises:
        UnknownLanguage: the configuration names a language that the model does not know.
    """

    def __init__(
        self,
        model: WhisperModel,
        tokenizer: Tokenizer,
        language: str,
        languages: tuple[str, ...] = (),
        voice: VoiceDetector | None = None,
        *,
        after_long_window: Callable[[], object] = lambda: None,
        policy: Policy = POLICIES[DEFAULT_POLICY],
    ) -> None:
        manifest = model.manifest
        known = tuple(manifest.tokens.languages)
        for code in languages:
            if code not in known:
                raise UnknownLanguage(f"the model {manifest.name} does not know the language {code!r}")
        self._after_long_window = after_long_window
        self._voice = voice
        self._policy = policy
        self._model = model
        self._tokenizer = tokenizer
        self._decoder = GreedyDecoder(model)
        self._mel = LogMel(manifest.dimensions.n_mels)
        self._context = manifest.dimensions.n_text_ctx
        self._silence = silence_value(manifest.loudest)
        self._info = _info(manifest, language, languages or known)
        self.check(Options())

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._info

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that this engine cannot serve."""
        info = self._info
        language = options.language or info.default_language
        if language != AUTO and language not in info.languages:
            raise UnknownLanguage(f"the model {info.name} does not know the language {language!r}")
        if language != AUTO and language not in info.allowed_languages:
            allowed = ", ".join(info.allowed_languages)
            raise UnknownLanguage(f"the language {language!r} is not allowed here; allowed: {allowed}")
        if options.task not in TASKS:
            raise UnknownTask(f"unknown task {options.task!r}; known: {', '.join(TASKS)}")
        if options.task == "translate" and not info.multilingual:
            raise UnknownTask(f"the model {info.name} knows only English and cannot translate")

    def warm_up(self) -> None:
        """Take a second of nothing through every part: the first clip then finds pages and threads in place."""
        window = _Window(self._scaled(self._mel(np.zeros(SAMPLE_RATE, np.int16))), WARM_UP_TOKENS)
        language = self._info.allowed_languages[0]
        self._decode(window, language, "transcribe", False, Unattended(), _Stopwatch())

    def transcribe(
        self, pcm: Int16Samples, options: Options, control: Control, *, full_context: bool = False
    ) -> Transcription:
        """Transcribe a clip of any length.

        Args:
            pcm: int16[n] at 16 kHz mono.
            options: language and task.
            control: asked between all steps whether to go on.
            full_context: encode 30 s of real silence instead of the tail, as the reference does.

        Raises:
            UnknownLanguage, UnknownTask: see `check`.
            Cancelled: control said so.
        """
        self.check(options)
        if options.live is not None:
            return self._follow(pcm, options, options.live, control)
        language = options.language or self._info.default_language
        watch, segments, fallbacks = _Stopwatch(), [], 0
        for start, end in split_at_pauses(pcm):
            control.step()
            with _timed(watch, "features", control):
                if self._voice and not self._voice.heard(pcm[start:end], control):
                    continue
                log_mel = self._mel(pcm[start:end])
            if log_mel.max() < NOTHING:
                continue
            window = _Window(self._scaled(log_mel), max_tokens((end - start) / SAMPLE_RATE, self._context))
            if language == AUTO:
                language = self._detect(window, control, watch)
            decoded = self._decode(window, language, options.task, full_context, control, watch)
            if not decoded.ended and not full_context:
                fallbacks += 1
                decoded = self._decode(window, language, options.task, True, control, watch)
            if not decoded.ended:
                decoded = replace(decoded, tokens=without_loop(decoded.tokens))
            if end - start > LONG_WINDOW_S * SAMPLE_RATE:
                self._after_long_window()
            if not _is_silence(decoded):
                segments.append(self._segment(decoded, start, end))
        text = "".join(segment.text for segment in segments).strip()
        # A clip with nothing in it has no language to detect; the first allowed one stands in.
        language = self._info.allowed_languages[0] if language == AUTO else language
        return Transcription(text, language, len(pcm) / SAMPLE_RATE, tuple(segments), watch.timings(), fallbacks)

    def _follow(self, pcm: Int16Samples, options: Options, live: Pass, control: Control) -> Transcription:
        """One pass over an utterance, in which a voice has been heard already; see `Options.live`."""
        if len(pcm) > WINDOW:
            raise ValueError(f"{len(pcm)} samples are more than one window")
        known, watch, fallbacks = live.known, _Stopwatch(), 0
        seconds = len(pcm) / SAMPLE_RATE
        language = options.language or self._info.default_language
        with _timed(watch, "features", control):
            log_mel = self._mel(pcm)
        window = _Window(self._scaled(log_mel), max_tokens(seconds, self._context))
        if language == AUTO:
            language = self._detect(window, control, watch)
        decoded = self._decode(
            window, language, options.task, False, control, watch, known=known, attend=self._policy.attends
        )
        standing = 0
        if decoded.ended:
            standing = self._policy.standing(known, decoded, -(-log_mel.shape[1] // 2))
        elif live.final:
            fallbacks = 1
            decoded = self._decode(window, language, options.task, True, control, watch, known=known)
        tokens = decoded.tokens if decoded.ended else without_loop(decoded.tokens)
        tokens = max(tokens, known.stable, key=len)  # a loop that is cut must not cut what stands
        count = settle(tokens, standing, known, self._tokenizer.decode_bytes)
        partial = Partial(
            stable=self._tokenizer.decode(tokens[:count]).lstrip(),
            unstable=self._tokenizer.decode(tokens[count:]),
            known=Known(tokens[:count], (*known.logprobs, *decoded.logprobs)[:count], tokens[count:]),
        )
        decoded = replace(decoded, tokens=tokens)
        segments = () if _is_silence(decoded) and not count else (self._segment(decoded, 0, len(pcm)),)
        if seconds > LONG_WINDOW_S:
            self._after_long_window()
        text = "".join(segment.text for segment in segments).strip()
        return Transcription(text, language, seconds, segments, watch.timings(), fallbacks, partial)

    def token_logprobs(
        self, pcm: Int16Samples, tokens: Sequence[int], *, full_context: bool = False
    ) -> Float32Array:
        """Natural log-probabilities over the vocabulary along given text tokens, for comparing models.

        Args:
            pcm: int16[n] at 16 kHz mono, up to 30 s, decoded in the default language.
            tokens: n text tokens, fed whatever the model would have chosen.

        Returns:
            float32[n + 1, n_vocab]: before each token, and after the last.
        """
        cross = self._model.encode(self._pad(self._scaled(self._mel(pcm)), full=full_context))
        return self._decoder.forced(cross, self._info.default_language, tokens)

    def _scaled(self, log_mel: Float32Array) -> Float32Array:
        """Normalised log-mel, float32[n_mels, T], at the loudness that the tail was computed for."""
        loudest = self._model.manifest.loudest
        gain = min(loudest - float(log_mel.max()), MAX_GAIN)
        return normalise(log_mel + np.float32(gain), loudest)

    def _pad(self, mel: Float32Array, *, full: bool) -> Float32Array:
        """Silence behind the frames: the margin, or up to 30 s."""
        context = self._model.manifest.dimensions.n_audio_ctx
        frames = mel.shape[1]
        positions = context if full else min(context, -(-frames // 2) + MARGIN_POSITIONS)
        padded = np.full((mel.shape[0], 2 * positions), self._silence, np.float32)
        padded[:, :frames] = mel[:, : 2 * positions]
        return padded

    def _detect(self, window: _Window, control: Control, watch: _Stopwatch) -> str:
        """The language of a window, among those allowed. Costs an encoder run where there is a choice."""
        allowed = self._info.allowed_languages
        if len(allowed) == 1:
            return allowed[0]
        with _timed(watch, "encode", control):
            cross = self._model.encode(self._pad(window.mel, full=False), control.run_options())
        with _timed(watch, "decode", control):
            return self._decoder.detect_language(cross, allowed, control)

    def _decode(
        self,
        window: _Window,
        language: str,
        task: str,
        full: bool,
        control: Control,
        watch: _Stopwatch,
        *,
        known: Known = NOTHING_KNOWN,
        attend: bool = False,
    ) -> Decoded:
        """Encode and decode one window. The encoder's output, 1.3 MB a second in base, ends with the call."""
        control.step()
        with _timed(watch, "encode", control):
            cross = self._model.encode(self._pad(window.mel, full=full), control.run_options())
        with _timed(watch, "decode", control):
            # Somebody may really say a thing three times: over the full context a loop is one only at the cap.
            return self._decoder.decode(
                cross,
                language,
                task,
                window.limit,
                control,
                leave_loops=not full,
                known=known,
                attend=attend,
            )

    def _segment(self, decoded: Decoded, start: int, end: int) -> Segment:
        return Segment(
            start_s=start / SAMPLE_RATE,
            end_s=end / SAMPLE_RATE,
            text=self._tokenizer.decode(decoded.tokens),
            tokens=decoded.tokens,
            avg_logprob=decoded.avg_logprob,
            no_speech_prob=decoded.no_speech_prob,
        )


def load(
    bundle: Path,
    *,
    threads: int,
    language: str,
    languages: tuple[str, ...] = (),
    vad: Path | None = None,
    after_long_window: Callable[[], object] = lambda: None,
    policy: Policy = POLICIES[DEFAULT_POLICY],
) -> Transcriber:
    """Load a bundle, whose files have been verified, and the voice activity detector, and make the engine.

    Raises:
        BundleError: the bundle or the detector cannot be loaded.
        UnknownLanguage: see `Transcriber`.
    """
    manifest = load_manifest(bundle)
    model = WhisperModel(bundle, manifest, threads)
    tokenizer = Tokenizer(bundle, manifest.tokens.eot)
    voice = VoiceDetector(vad) if vad else None
    return Transcriber(
        model, tokenizer, language, languages, voice, after_long_window=after_long_window, policy=policy
    )


@contextmanager
def _timed(watch: _Stopwatch, phase: str, control: Control) -> Iterator[None]:
    begun = control.now()
    try:
        yield
    finally:
        setattr(watch, phase, getattr(watch, phase) + control.now() - begun)


def _is_silence(decoded: Decoded) -> bool:
    return not decoded.tokens or (
        decoded.no_speech_prob > NO_SPEECH_PROB and decoded.avg_logprob < NO_SPEECH_LOGPROB
    )


def _info(manifest: Manifest, language: str, allowed: tuple[str, ...]) -> ModelInfo:
    return ModelInfo(
        name=manifest.name,
        languages=tuple(manifest.tokens.languages),
        default_language=language,
        allowed_languages=allowed,
        multilingual=manifest.multilingual,
        precision=manifest.precision,
        licence=manifest.licence,
        source=manifest.source,
    )
