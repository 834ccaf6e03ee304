"""From samples to text: windows, features, encoder with the silent tail, decoder, and the fallback.

The encoder runs over the real frames and a short margin; the bundle's silent tail stands for the rest of the
30 s that Whisper was trained on. Where the decoder does not come to an end over that, the window is decoded
again over the full 30 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import UnknownLanguage, UnknownTask
from . import guards
from .attempts import Ask, Attempts, Found, Stopwatch, Window, timed
from .bundle import Manifest, load_manifest
from .decoding import Decoded
from .features import SAMPLE_RATE, LogMel
from .model import WhisperModel
from .options import Options
from .streaming import DEFAULT_POLICY, POLICIES, Policy, settle
from .tokenizer import Tokenizer
from .types import (
    NO_VOICE,
    SILENCE,
    TASKS,
    Control,
    Float32Array,
    Int16Samples,
    Known,
    ModelInfo,
    Partial,
    Pass,
    Segment,
    Transcription,
    Unattended,
)
from .vad import VoiceDetector
from .windows import WINDOW, split_at_pauses

#: A window whose loudest mel bin lies below this (log10 of power) holds nothing but rounding noise: some
#: 75 dB under the level of speech. It is not decoded, since Whisper hears "you" in it.
NOTHING = -6.0
#: Where the decoder is so sure, the seconds of voice are not counted.
NO_DOUBT_PROB, NO_DOUBT_LOGPROB = 0.3, -0.7
#: Enough steps to have the decoder's weights and both of its shapes used once.
WARM_UP_TOKENS = 2
#: Windows over this many seconds are called long.
LONG_WINDOW_S = 8
AUTO = "auto"


class Transcriber:
    """The engine behind the daemon: one model and how to use it.

    Attributes:
        voice: as given.

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
        self.voice = voice
        self._policy = policy
        self._model = model
        self._tokenizer = tokenizer
        self._attempts = Attempts(model, tokenizer)
        self._mel = LogMel(manifest.dimensions.n_mels)
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
        mel = self._attempts.scaled(self._mel(np.zeros(SAMPLE_RATE, np.int16)))
        ask = Ask(self._info.allowed_languages[0], "transcribe", Unattended(), Stopwatch())
        self._attempts.decode(Window(mel, WARM_UP_TOKENS, 1.0), ask, full=False)

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
        watch, fallbacks = Stopwatch(), 0
        segments: list[Segment] = []
        reason = SILENCE
        for start, end in split_at_pauses(pcm):
            control.step()
            with timed(watch, "features", control):
                if self.voice and not self.voice.heard(pcm[start:end], control):
                    reason = NO_VOICE if not segments else reason
                    continue
                log_mel = self._mel(pcm[start:end])
            if log_mel.max() < NOTHING:
                continue
            window = self._attempts.window(log_mel, (end - start) / SAMPLE_RATE)
            if language == AUTO:
                language = self._attempts.detect(window, self._info.allowed_languages, control, watch)
            ask = Ask(language, options.task, control, watch)
            found = self._attempts.find(window, ask, full=full_context)
            fallbacks += found.fallbacks
            with timed(watch, "features", control):
                voiced = self._voiced(pcm[start:end], found.decoded, control)
            refused = guards.verdict(found.decoded, found.text, window.seconds, voiced)
            if end - start > LONG_WINDOW_S * SAMPLE_RATE:
                self._after_long_window()
            if refused:
                reason = refused
            else:
                segments.append(self._segment(found, start, end))
        text = "".join(segment.text for segment in segments).strip()
        # A clip with nothing in it has no language to detect; the first allowed one stands in.
        language = self._info.allowed_languages[0] if language == AUTO else language
        return Transcription(
            text,
            language,
            len(pcm) / SAMPLE_RATE,
            tuple(segments),
            watch.timings(),
            fallbacks,
            no_speech="" if text else reason,
        )

    def _follow(self, pcm: Int16Samples, options: Options, live: Pass, control: Control) -> Transcription:
        """One pass over an utterance, in which a voice has been heard already; see `Options.live`."""
        if not 0 < len(pcm) <= WINDOW:
            raise ValueError(f"{len(pcm)} samples are not one window")
        known, watch = live.known, Stopwatch()
        language = options.language or self._info.default_language
        with timed(watch, "features", control):
            log_mel = self._mel(pcm)
        window = self._attempts.window(log_mel, len(pcm) / SAMPLE_RATE)
        if language == AUTO:
            language = self._attempts.detect(window, self._info.allowed_languages, control, watch)
        ask = Ask(language, options.task, control, watch, known)
        found = self._attempts.find(window, ask, attend=self._policy.attends, last=live.final)
        standing = 0
        if found.decoded.ended and not found.fallbacks:
            standing = self._policy.standing(known, found.decoded, -(-log_mel.shape[1] // 2))
        tokens = found.tokens
        count = settle(tokens, standing, known, self._tokenizer.decode_bytes)
        partial = Partial(
            stable=self._tokenizer.decode(tokens[:count]).lstrip(),
            unstable=self._tokenizer.decode(tokens[count:]),
            known=Known(tokens[:count], found.decoded.logprobs[:count], tokens[count:]),
        )
        refused = None
        if live.final and not known.stable:  # what has been shown to stand is not taken back
            refused = guards.verdict(found.decoded, found.text, window.seconds, live.voiced_s)
        if window.seconds > LONG_WINDOW_S:
            self._after_long_window()
        segments = () if refused else (self._segment(found, 0, len(pcm)),)
        text = "" if refused else found.text.strip()
        return Transcription(
            text,
            language,
            window.seconds,
            segments,
            watch.timings(),
            found.fallbacks,
            partial,
            "" if text else refused or SILENCE,
        )

    def _voiced(self, pcm: Int16Samples, decoded: Decoded, control: Control) -> float | None:
        """Seconds of voice in a window. They are counted only where there is doubt: most often all is well."""
        if self.voice is None:
            return None
        if decoded.no_speech_prob < NO_DOUBT_PROB and decoded.avg_logprob > NO_DOUBT_LOGPROB:
            return len(pcm) / SAMPLE_RATE
        return self.voice.voiced(pcm, control)

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
        cross = self._model.encode(self._attempts.pad(self._attempts.scaled(self._mel(pcm)), full=full_context))
        return self._attempts.decoder.forced(cross, self._info.default_language, tokens)

    def _segment(self, found: Found, start: int, end: int) -> Segment:
        decoded = found.decoded
        return Segment(
            start_s=start / SAMPLE_RATE,
            end_s=end / SAMPLE_RATE,
            text=found.text,
            tokens=found.tokens,
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
