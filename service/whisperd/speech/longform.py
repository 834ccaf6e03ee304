"""A clip of any length, window by window: which stretch comes next, what is kept of its text, and the times of it.

Follows the reference (openai/whisper, transcribe.py), with two things that it does not know. Windows end in
pauses, and not after 30 s, so that words are seldom cut. And where the next window begins is not left to the
times that the decoder tells: `coverage` says which words account for the voice of a window, so that no sentence
is lost, and none comes twice. Memory does not grow with the clip: of a window only its text is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from . import confidence, guards, words
from .attempts import Ask, Attempts, Found, Stopwatch, timed
from .coverage import LEAST_ADVANCE_S, Coverage, Verdict
from .decoding import Decoded
from .features import SAMPLE_RATE, LogMel
from .hallucination import Passed, pass_over
from .options import Options
from .prompting import Prompts
from .segments import Slice, cut, slices
from .stretches import Voices, stretches
from .types import AUTO, NO_VOICE, SILENCE, Control, Float32Array, Int16Samples, Segment
from .vad import VoiceDetector
from .windows import WINDOW, window_end

#: A window whose loudest mel bin lies below this (log10 of power) holds nothing but rounding noise: some
#: 75 dB under the level of speech. It is not decoded, since Whisper hears "you" in it.
NOTHING = -6.0
#: Where the decoder is so sure, the seconds of voice are not counted.
NO_DOUBT_PROB, NO_DOUBT_LOGPROB = 0.3, -0.7


@dataclass(frozen=True)
class Stretch:
    """Where a window lies in its clip, in samples.

    Attributes:
        stop: where what is to be decoded ends.
        shortened: whether it has been cut off once already, as `coverage` may want it.
    """

    start: int
    end: int
    stop: int
    shortened: bool


@dataclass
class Clip:
    """What is known of a clip while it is decoded.

    Attributes:
        language: a code, or "auto" until the first window has been decoded.
        languages: how probable each was there.
        reason: why there is no text, while there is none.
        said: tokens of the text so far that the next window is to know.
        tokens, logprob: of the text; how many, and the sum of what their windows had in the mean.
    """

    language: str
    languages: tuple[tuple[str, float], ...] = ()
    segments: list[Segment] = field(default_factory=list)
    fallbacks: int = 0
    reason: str = SILENCE
    tokens: int = 0
    logprob: float = 0.0
    said: list[int] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Of the text; 0 while there is none."""
        return confidence.of_text(self.logprob / self.tokens) if self.tokens else 0.0


class LongForm:
    """Takes clips through their windows.

    Args:
        attempts: decodes a window.
        mel: samples to features.
        voice: asked first whether anybody speaks in a window; None where nothing is to be asked.
        allowed: languages to detect among.
    """

    def __init__(
        self,
        attempts: Attempts,
        mel: LogMel,
        voice: VoiceDetector | None,
        allowed: tuple[str, ...],
    ) -> None:
        self._attempts = attempts
        self._mel = mel
        self._voice = voice
        self._allowed = allowed
        self._coverage = Coverage(voice) if voice else None

    def decode(
        self,
        pcm: Int16Samples,
        options: Options,
        language: str,
        prompts: Prompts,
        control: Control,
        watch: Stopwatch,
        *,
        full: bool,
    ) -> Clip:
        """Decode a clip.

        Args:
            pcm: int16[n] at 16 kHz mono.
            language: a code, or "auto".
            prompts: made of the options' texts.
            full: over 30 s of real silence instead of the tail.
        """
        clip = Clip(language)
        asked = options.without_timestamps
        timestamps = len(pcm) > WINDOW if asked is None else not asked
        prefix = prompts.prefix
        watched = options.hallucination_silence_threshold is not None
        whole = Ask(
            language,
            options.task,
            control,
            watch,
            options=options,
            allowed=self._allowed,
            timestamps=timestamps,
            align=timestamps or options.word_timestamps or watched,
        )
        wanted = self._wanted(pcm, whole)
        if not wanted:
            clip.reason = NO_VOICE
        if language == AUTO and options.language_detection_segments > 1 and not options.multilingual:
            self._listen(pcm, wanted, whole, clip, full=full)
        for begin, stop in wanted:
            seek, until = begin, stop
            while seek < stop:
                control.step()
                ask = replace(
                    whole,
                    language=language if options.multilingual else clip.language,
                    previous=prompts.previous(clip.said, prefix),
                    prefix=prefix,
                )
                window = Stretch(seek, window_end(pcm[:until], seek), stop, until < stop)
                seek, until = self._window(pcm, window, ask, clip, full=full)
                if seek > window.start:  # it may be the same one again, shorter
                    prefix = ()
        return clip

    def _window(self, pcm: Int16Samples, at: Stretch, ask: Ask, clip: Clip, *, full: bool) -> tuple[int, int]:
        """Decode one window; returns where the next one begins, and the latest place for it to end."""
        heard = pcm[at.start : at.end]
        log_mel = self._features(heard, ask)
        if log_mel is None:
            clip.reason = clip.reason if clip.segments else NO_VOICE
            return at.end, at.stop
        if log_mel.max() < NOTHING:
            return at.end, at.stop
        window = self._attempts.window(log_mel, len(heard) / SAMPLE_RATE, whole=ask.timestamps)
        found = self._attempts.find(window, ask, full=full)
        clip.fallbacks += found.fallbacks
        refused = self._refused(heard, window.seconds, ask, found)
        if refused:
            clip.reason = refused
            return at.end, at.stop
        # What noise was taken for says nothing of the clip's language.
        clip.languages, clip.language = clip.languages or found.languages, found.language
        parts, verdict = self._judged(heard, window.seconds, at, ask, found)
        # Only the words that stand: a mark behind the last of them would be joined to it.
        found = replace(found, words=found.words[: verdict.words])
        following = at.start + min(round(verdict.following_s * SAMPLE_RATE), len(heard))
        until = at.stop if verdict.until_s is None else at.start + round(verdict.until_s * SAMPLE_RATE)
        made = self._made(clip, found, parts, at.start / SAMPLE_RATE, ask.options)
        passed = _passed(made, at, clip, ask.options)
        if passed is not None:
            made, until = made[: passed.segments], at.stop
            following = min(round(passed.following_s * SAMPLE_RATE), at.stop)
        _keep(clip, made, found.decoded, ask.options)
        return following, until

    def _features(self, pcm: Int16Samples, ask: Ask) -> Float32Array | None:
        """Log-mel of a window, as `LogMel` gives it; None where nobody speaks in it."""
        with timed(ask.watch, "features", ask.control):
            if self._voice and not self._voice.heard(pcm, ask.control):
                return None
            return self._mel(pcm)

    def _wanted(self, pcm: Int16Samples, ask: Ask) -> list[tuple[int, int]]:
        """Starts and ends in samples of what is to be decoded."""
        options = ask.options
        wanted = ranges(options.clip_timestamps, len(pcm))
        if not options.vad_filter:
            return wanted
        assert self._voice is not None  # `Transcriber.check` has seen to that
        voices, found = Voices.of(options), []
        with timed(ask.watch, "features", ask.control):
            for start, end in wanted:
                probabilities = self._voice.probabilities(pcm[start:end], ask.control)
                for first, last in stretches(probabilities, voices, end - start):
                    found.append((start + first, start + last))
        return found

    def _listen(
        self, pcm: Int16Samples, wanted: list[tuple[int, int]], ask: Ask, clip: Clip, *, full: bool
    ) -> None:
        """Find out the clip's language from its first windows, as many as it takes and as the client allows."""
        options = ask.options
        told: list[tuple[tuple[str, float], ...]] = []
        for begin, stop in wanted:
            seek = begin
            while seek < stop:
                if len(told) == options.language_detection_segments:
                    break
                end = window_end(pcm[:stop], seek)
                heard, seek = pcm[seek:end], end
                log_mel = self._features(heard, ask)
                if log_mel is None or log_mel.max() < NOTHING:
                    continue
                window = self._attempts.window(log_mel, len(heard) / SAMPLE_RATE)
                told.append(self._attempts.languages(window, ask, full=full))
                if told[-1][0][1] > options.language_detection_threshold:
                    clip.language, clip.languages = told[-1][0][0], told[-1]
                    return
        if told:
            # The one that most windows have for theirs, and of several such, the first that was heard.
            first = [languages[0][0] for languages in told]
            clip.language = max(first, key=first.count)
            clip.languages = told[first.index(clip.language)]

    def _judged(
        self, pcm: Int16Samples, seconds: float, at: Stretch, ask: Ask, found: Found
    ) -> tuple[list[Slice], Verdict]:
        """The segments of a window that stand, and how it goes on."""
        everything = self._coverage is not None and bool(found.words)
        parts, back = [Slice(0.0, seconds, found.tokens)], None
        # Where repetitions were taken away, the times are worth nothing.
        if ask.timestamps and found.tokens == found.decoded.tokens:
            begin, sequence = self._attempts.timestamp_begin, found.decoded.sequence
            told, back = slices(sequence, begin, seconds, all_of_it=everything)
            if back is not None and back < LEAST_ADVANCE_S:
                # Nobody goes back so far: what is told from there on is kept as it is.
                told, back = slices(sequence, begin, seconds, all_of_it=True)
            parts = told or parts
        if self._coverage is None or not found.words:
            return parts, Verdict(len(found.words), seconds if back is None else back)
        with timed(ask.watch, "features", ask.control):
            verdict = self._coverage.judge(
                pcm,
                found.words,
                ask.control,
                ends=at.end == at.stop,
                whole=at.shortened,
                closing=ask.options.append_punctuations,
            )
        standing = sum(len(word.tokens) for word in found.words[: verdict.words])
        return cut(parts, standing), verdict

    def _refused(self, pcm: Int16Samples, seconds: float, ask: Ask, found: Found) -> str | None:
        """Why a window's text was not said."""
        if ask.options.no_speech_threshold is not None:
            return guards.reference_verdict(found.decoded, found.text, ask.options)
        with timed(ask.watch, "features", ask.control):
            voiced = self._voiced(pcm, found.decoded, ask.control)
        return guards.verdict(found.decoded, found.text, seconds, voiced)

    def _voiced(self, pcm: Int16Samples, decoded: Decoded, control: Control) -> float | None:
        """Seconds of voice in a window. They are counted only where there is doubt: most often all is well."""
        if self._voice is None:
            return None
        if decoded.no_speech_prob < NO_DOUBT_PROB and decoded.avg_logprob > NO_DOUBT_LOGPROB:
            return len(pcm) / SAMPLE_RATE
        return self._voice.voiced(pcm, control)

    def _made(
        self, clip: Clip, found: Found, parts: list[Slice], offset_s: float, options: Options
    ) -> tuple[Segment, ...]:
        """A window's segments, with their words if those are known."""
        made = as_segments(found, parts, self._attempts.text, offset_s)
        if not found.words:
            return tuple(made)
        return with_words(made, found.words, options, offset_s, _spoken_until(clip))


def _spoken_until(clip: Clip) -> float:
    return clip.segments[-1].end_s if clip.segments else 0.0


def _passed(made: Sequence[Segment], at: Stretch, clip: Clip, options: Options) -> Passed | None:
    """What of a window was made up in a silence, if the client wants to know that."""
    threshold = options.hallucination_silence_threshold
    if threshold is None:
        return None
    return pass_over(
        made,
        threshold,
        begin_s=at.start / SAMPLE_RATE,
        end_s=at.end / SAMPLE_RATE,
        stop_s=at.stop / SAMPLE_RATE,
        spoken_until_s=_spoken_until(clip),
    )


def _keep(clip: Clip, made: Sequence[Segment], decoded: Decoded, options: Options) -> None:
    """Add a window's segments to the clip."""
    kept = sum(len(segment.tokens) for segment in made)
    # Their times are better than those that the decoder told; the words themselves only where asked for.
    clip.segments += made if options.word_timestamps else [replace(segment, words=()) for segment in made]
    clip.tokens += kept
    clip.logprob += kept * decoded.avg_logprob
    if not options.condition_on_previous_text or decoded.temperature > options.prompt_reset_on_temperature:
        clip.said = []
    else:
        clip.said += [token for segment in made for token in segment.tokens]


def ranges(times_s: Sequence[float], samples: int) -> list[tuple[int, int]]:
    """Starts and ends in samples of what is to be decoded: all of it, unless times say otherwise.

    Args:
        times_s: start, end, start … in seconds, rising; without a last end up to the clip's.
        samples: of the clip.
    """
    marks = [min(round(time * SAMPLE_RATE), samples) for time in times_s] or [0]
    if len(marks) % 2:
        marks.append(samples)
    return list(zip(marks[::2], marks[1::2], strict=True))


def as_segments(
    found: Found, parts: Sequence[Slice], text: Callable[[Sequence[int]], str], offset_s: float = 0.0
) -> list[Segment]:
    """Parts of a window as segments, without words; `text` is of tokens, `offset_s` is where the window begins."""
    decoded, ratio = found.decoded, guards.compression_ratio(found.text)
    return [
        Segment(
            start_s=offset_s + part.start_s,
            end_s=offset_s + part.end_s,
            text=text(part.tokens),
            tokens=part.tokens,
            avg_logprob=decoded.avg_logprob,
            no_speech_prob=decoded.no_speech_prob,
            compression_ratio=ratio,
            temperature=decoded.temperature,
        )
        for part in parts
    ]


def with_words(
    segments: list[Segment],
    found: tuple[words.Timed, ...],
    options: Options,
    offset_s: float,
    spoken_until_s: float,
) -> tuple[Segment, ...]:
    """Segments with their words; `offset_s` is where the words' window begins."""
    moved = [replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s) for word in found]
    usual = words.usual_seconds(moved)
    words.give_back_pauses(moved, usual)
    joined = words.merge_marks(moved, options.prepend_punctuations, options.append_punctuations)
    return words.into_segments(segments, joined, usual, spoken_until_s)
