"""From samples to text: windows, features, encoder with the silent tail, decoder, and the fallback.

The encoder runs over the real frames and a short margin; the bundle's silent tail stands for the rest of the
30 s that Whisper was trained on. Where the decoder does not come to an end over that, the window is decoded
again over the full 30 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import BadOption, UnknownLanguage, UnknownTask
from . import confidence, guards
from .attempts import Ask, Attempts, Found, Stopwatch, Window, timed
from .bundle import Manifest, load_manifest
from .features import SAMPLE_RATE, LogMel
from .longform import LongForm, as_segments, with_words
from .model import WhisperModel
from .options import Options
from .prompting import Prompts
from .segments import Slice
from .streaming import DEFAULT_POLICY, POLICIES, Policy, settle
from .tokenizer import Tokenizer
from .types import (
    AUTO,
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
from .windows import WINDOW

#: Enough steps to have the decoder's weights and both of its shapes used once.
WARM_UP_TOKENS = 2


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
        policy: Policy = POLICIES[DEFAULT_POLICY],
    ) -> None:
        manifest = model.manifest
        known = tuple(manifest.tokens.languages)
        for code in languages:
            if code not in known:
                raise UnknownLanguage(f"the model {manifest.name} does not know the language {code!r}")
        self.voice = voice
        self._policy = policy
        self._model = model
        self._tokenizer = tokenizer
        self._attempts = Attempts(model, tokenizer)
        self._mel = LogMel(manifest.dimensions.n_mels)
        self._info = _info(manifest, language, languages or known)
        self._longform = LongForm(self._attempts, self._mel, voice, self._info.allowed_languages)
        self.check(Options())

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._info

    @property
    def awake(self) -> bool:
        """How the model's threads wait for each other: see `WhisperModel.wait_awake`."""
        return self._model.awake

    def wait_awake(self, awake: bool) -> None:
        """Between two clips, change that. Errors as there."""
        self._model.wait_awake(awake)

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage, UnknownTask or BadOption for options that this engine cannot serve."""
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
        if options.vad_filter and self.voice is None:
            raise BadOption(
                "vad_filter: there is no voice activity detector, [model] vad names none", "vad_filter"
            )
        size = self._model.manifest.dimensions.n_vocab
        for token in options.suppress_tokens or ():
            if token >= size:
                raise BadOption(
                    f"suppress_tokens: {info.name} has {size} tokens, none is {token}", "suppress_tokens"
                )

    def warm_up(self) -> None:
        """Take a second of nothing through every part: the first clip then finds pages and threads in place."""
        mel = self._attempts.scaled(self._mel(np.zeros(SAMPLE_RATE, np.int16)))
        ask = Ask(self._info.allowed_languages[0], "transcribe", Unattended(), Stopwatch())
        window = Window(mel, WARM_UP_TOKENS, 1.0)
        self._attempts.decode(self._attempts.encode(window, ask, full=False), window, ask, full=False)

    def transcribe(
        self, pcm: Int16Samples, options: Options, control: Control, *, full_context: bool = False
    ) -> Transcription:
        """Transcribe a clip of any length.

        Args:
            pcm: int16[n] at 16 kHz mono.
            options: what the client chose.
            control: asked between all steps whether to go on.
            full_context: encode 30 s of real silence instead of the tail, as the reference does.

        Raises:
            UnknownLanguage, UnknownTask, BadOption: see `check`.
            Cancelled: control said so.
        """
        self.check(options)
        if options.live is not None:
            return self._follow(pcm, options, options.live, control)
        watch = Stopwatch()
        language = options.language or self._info.default_language
        clip = self._longform.decode(
            pcm, options, language, self._prompts(options), control, watch, full=full_context
        )
        text = "".join(segment.text for segment in clip.segments).strip()
        return Transcription(
            text,
            # A clip with nothing in it has no language to detect; the first allowed one stands in.
            self._info.allowed_languages[0] if clip.language == AUTO else clip.language,
            len(pcm) / SAMPLE_RATE,
            tuple(clip.segments),
            watch.timings(),
            clip.fallbacks,
            no_speech="" if text else clip.reason,
            confidence=clip.confidence if text else 0.0,
            languages=clip.languages,
        )

    def _prompts(self, options: Options) -> Prompts:
        return Prompts(self._tokenizer, options, self._model.manifest.dimensions.n_text_ctx)

    def _follow(self, pcm: Int16Samples, options: Options, live: Pass, control: Control) -> Transcription:
        """One pass over an utterance, in which a voice has been heard already; see `Options.live`."""
        if not 0 < len(pcm) <= WINDOW:
            raise ValueError(f"{len(pcm)} samples are not one window")
        known, watch = live.known, Stopwatch()
        language = options.language or self._info.default_language
        with timed(watch, "features", control):
            log_mel = self._mel(pcm)
        window = self._attempts.window(log_mel, len(pcm) / SAMPLE_RATE)
        ask = Ask(
            language,
            options.task,
            control,
            watch,
            known,
            options,
            self._info.allowed_languages,
            align=options.word_timestamps,
            previous=self._prompts(options).previous(),
        )
        found = self._attempts.find(window, ask, attend=self._policy.attends, last=live.final)
        standing = 0
        if found.decoded.ended and not found.fallbacks:
            standing = self._policy.standing(known, found.decoded, -(-window.frames // 2))
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
        segments = () if refused else self._segments(found, window.seconds, options)
        text = "" if refused else found.text.strip()
        return Transcription(
            text,
            found.language,
            window.seconds,
            segments,
            watch.timings(),
            found.fallbacks,
            partial,
            "" if text else refused or SILENCE,
            confidence.of_text(found.decoded.avg_logprob) if text else 0.0,
            found.languages,
        )

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

    def _segments(self, found: Found, seconds: float, options: Options) -> tuple[Segment, ...]:
        """An utterance is one segment."""
        whole = as_segments(found, [Slice(0.0, seconds, found.tokens)], self._attempts.text)
        return with_words(whole, found.words, options, 0.0, 0.0) if found.words else tuple(whole)


def load(
    bundle: Path,
    *,
    threads: int,
    language: str,
    languages: tuple[str, ...] = (),
    vad: Path | None = None,
    awake: bool = False,
    policy: Policy = POLICIES[DEFAULT_POLICY],
) -> Transcriber:
    """Load a bundle, whose files have been verified, and the voice activity detector, and make the engine.

    `threads` and `awake` are as of `WhisperModel`.

    Raises:
        BundleError: the bundle or the detector cannot be loaded.
        UnknownLanguage: see `Transcriber`.
    """
    manifest = load_manifest(bundle)
    model = WhisperModel(bundle, manifest, threads, awake=awake)
    tokenizer = Tokenizer(bundle, manifest.tokens.eot)
    voice = VoiceDetector(vad) if vad else None
    return Transcriber(model, tokenizer, language, languages, voice, policy=policy)


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
