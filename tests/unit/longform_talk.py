"""A clip with sentences, and a decoder that hears what it is told to, for tests of `longform`.

The features of a window are replaced by its place in the clip, so that what decodes it knows where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from whisperd.speech.attempts import Ask, Found, Stopwatch, Window
from whisperd.speech.decoding import Decoded
from whisperd.speech.features import SAMPLE_RATE
from whisperd.speech.longform import Clip, LongForm
from whisperd.speech.options import Options
from whisperd.speech.prompting import Prompts
from whisperd.speech.types import Control, Unattended
from whisperd.speech.vad import FRAME
from whisperd.speech.words import Timed

BEGIN = 10_000
"""Tokens below are text, from here on times."""


def at(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE


class Place:
    """In place of a mel spectrum: where in its clip a stretch of samples lies."""

    def __init__(self, pcm: np.ndarray) -> None:
        self.origin = pcm.__array_interface__["data"][0]

    def of(self, part: np.ndarray) -> tuple[int, int]:
        start = (part.__array_interface__["data"][0] - self.origin) // 2
        return start, start + len(part)

    def __call__(self, part: np.ndarray) -> np.ndarray:
        return np.array([self.of(part)], np.float64)


DEFAULT = Options()
Answer = Callable[[float, float, Ask], "tuple[int, ...] | Found"]
"""What is decoded from a start to an end, in seconds of the clip: tokens, times among them."""


@dataclass
class Scripted:
    """In place of `Attempts`."""

    answer: Answer
    align: Callable[[float, float, Sequence[int]], tuple[Timed, ...]] | None = None
    timestamp_begin: int = BEGIN
    asked: list[tuple[float, float, Ask]] = field(default_factory=list)
    detect: Callable[[float, float], tuple[tuple[str, float], ...]] | None = None
    listened: list[tuple[float, float]] = field(default_factory=list)

    def languages(self, window: Window, ask: Ask, *, full: bool) -> tuple[tuple[str, float], ...]:
        assert self.detect is not None
        start, end = (seconds(int(place)) for place in window.mel[0])
        self.listened.append((start, end))
        return self.detect(start, end)

    def window(self, log_mel: np.ndarray, seconds: float, *, whole: bool = False) -> Window:
        return Window(log_mel, 100, seconds)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(f" {token}" for token in tokens)

    def find(self, window: Window, ask: Ask, *, full: bool = False) -> Found:
        start, end = (seconds(int(place)) for place in window.mel[0]) if window.mel.shape == (1, 2) else (0.0, 0.0)
        self.asked.append((start, end, ask))
        answer = self.answer(start, end, ask)
        if isinstance(answer, Found):
            return answer
        found = self.found(answer, ask)
        said = self.align(start, end, found.tokens) if ask.align and self.align else ()
        return replace(found, words=said)

    def found(self, sequence: Sequence[int], ask: Ask, **more: Any) -> Found:
        tokens = tuple(token for token in sequence if token < BEGIN)
        decoded = Decoded(
            tokens, -0.2, 0.1, True, (-0.2,) * len(tokens), None, tuple(sequence), more.pop("temperature", 0.0)
        )
        return Found(decoded, tokens, self.text(tokens), 0, **{"language": ask.language, **more})


WORD_S = 0.4
"""How long each word of a `Talk` is."""
MOST_WORDS = 50


@dataclass
class Talk:
    """A clip with sentences, and the voice in it. The k-th word of the n-th sentence is the token 50 n + k.

    Attributes:
        sentences: start in seconds, and number of words, in order.
        swallows: whether a word's time reaches over what was passed over, as it does with the real thing.
    """

    sentences: list[tuple[float, int]]
    length_s: float
    swallows: bool = False
    pcm: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.words = {
            MOST_WORDS * n + k: (start + k * WORD_S, start + (k + 1) * WORD_S)
            for n, (start, count) in enumerate(self.sentences)
            for k in range(count)
        }
        self.pcm = np.zeros(round(self.length_s * SAMPLE_RATE), np.int16)
        for start, end in self.words.values():
            self.pcm[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = 1000
        self.place = Place(self.pcm)

    # The voice detector.

    def stretch(self, part: np.ndarray, control: Control) -> tuple[float, float]:
        if len(part) == 0:
            return 0.0, 0.0
        start, end = map(seconds, self.place.of(part))
        within = [(max(start, s), min(end, e)) for s, e in self.words.values() if s < end and e > start]
        voiced = sum(e - s for s, e in within)
        return (within[0][0] - start, voiced) if voiced > 0.1 else (0.0, 0.0)

    def voiced(self, part: np.ndarray, control: Control) -> float:
        return self.stretch(part, control)[1]

    def heard(self, part: np.ndarray, control: Control) -> bool:
        return self.voiced(part, control) > 0.0

    def ends_in_voice(self, part: np.ndarray, control: Control) -> bool:
        return bool(part[-1600:].min() > 0)

    def probabilities(self, part: np.ndarray, control: Control) -> Iterator[float]:
        for at in range(0, len(part), FRAME):
            yield float(part[at : at + FRAME].max() > 0)

    # A decoder without faults, and one that aligns.

    def audible(self, start: float, end: float) -> dict[int, list[int]]:
        """The words of which at least half lies in a window, by sentence."""
        found: dict[int, list[int]] = {}
        for token, (s, e) in self.words.items():
            if min(end, e) - max(start, s) >= 0.5 * WORD_S - 1e-6:
                found.setdefault(token // MOST_WORDS, []).append(token)
        return found

    def heard_right(self, start: float, end: float, ask: Ask) -> tuple[int, ...]:
        return tuple(
            token
            for sentence in self.audible(start, end).values()
            for token in self.told(sentence, start, end, ask)
        )

    def told(self, sentence: list[int], start: float, end: float, ask: Ask) -> tuple[int, ...]:
        """One sentence, between its times if there are to be some."""
        if not ask.timestamps:
            return tuple(sentence)
        first, last = self.words[sentence[0]][0] - start, self.words[sentence[-1]][1] - start
        return (at(max(0.0, first)), *sentence, at(min(end - start, last)))

    def align(self, start: float, end: float, tokens: Sequence[int]) -> tuple[Timed, ...]:
        found: list[Timed] = []
        for token in tokens:
            s, e = self.words[token]
            before = found[-1].end_s if found else 0.0
            begin = before if self.swallows else max(before, s - start)
            found.append(Timed(f" {token}", (token,), begin, max(begin, min(end, e) - start), (-0.2,)))
        return tuple(found)

    def decode(
        self, answer: Answer, options: Options = DEFAULT, control: Control | None = None, **more: Any
    ) -> tuple[Clip, Scripted]:
        scripted = Scripted(answer, self.align, detect=more.pop("detect", None))
        voice = more.pop("voice", self)
        allowed = more.pop("allowed", ("en", "de"))
        long_form = LongForm(scripted, self.place, voice, allowed)  # type: ignore[arg-type]
        prompts = Prompts(Letters(), options, 448)  # type: ignore[arg-type]
        language = more.pop("language", "en")
        clip = long_form.decode(
            self.pcm, options, language, prompts, control or Unattended(), Stopwatch(), full=False
        )
        return clip, scripted


class Letters:
    """A tokenizer with a token for each character."""

    def encode(self, text: str) -> list[int]:
        return [5000 + ord(char) for char in text]


def tokens(clip: Clip) -> list[int]:
    return [token for segment in clip.segments for token in segment.tokens]


def regular(count: int, words: int = 7, pause_s: float = 1.0) -> Talk:
    step = words * WORD_S + pause_s
    return Talk([(0.5 + n * step, words) for n in range(count)], 0.5 + count * step)


def broken(talk: Talk, fault: Callable[[list[list[int]]], Sequence[Sequence[int]]]) -> Answer:
    """A decoder that makes something else of the first window's sentences, once."""
    times: list[float] = []

    def answer(start: float, end: float, ask: Ask) -> tuple[int, ...]:
        times.append(start)
        if len(times) > 1:
            return talk.heard_right(start, end, ask)
        made = fault(list(talk.audible(start, end).values()))
        return tuple(token for sentence in made for token in talk.told(list(sentence), start, end, ask))

    return answer
