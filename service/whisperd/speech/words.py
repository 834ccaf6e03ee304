"""From tokens with times to words with times. Pure.

Which tokens make a word, which marks belong to it, and what is done where the alignment gives a word a pause that
is not its own, follow openai/whisper, tokenizer.py and timing.py (`split_to_word_tokens`, `add_word_timestamps`).
"""

from __future__ import annotations

import codecs
import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from . import confidence
from .types import Segment, Word

#: Languages that write no spaces: there each character that is a token of its own, or more, is a word.
UNSPACED = frozenset(("zh", "ja", "th", "lo", "my", "yue"))
#: A word's usual length is the median, but not over this; one over twice that has swallowed a pause. Seconds.
LONGEST_USUAL_S = 0.7
#: A segment's own times count where a word reaches this much further.
SEGMENT_SLACK_S = 0.5
_SENTENCE_ENDS = frozenset(".。!！?？")


@dataclass
class Timed:
    """A word while it is being made: tokens, seconds, and the log-probabilities of its tokens."""

    text: str
    tokens: tuple[int, ...]
    start_s: float
    end_s: float
    logprobs: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


def split(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], bytes], *, spaced: bool
) -> list[tuple[str, tuple[int, ...]]]:
    """Words of text tokens, in order; put end to end they are the text.

    Args:
        decode: tokens to UTF-8, which may end within a character.
        spaced: whether the language has spaces between words.
    """
    words: list[tuple[str, tuple[int, ...]]] = []
    for text, unit in _characters(tokens, decode):
        begins = not spaced or text.startswith(" ") or text.strip() in string.punctuation
        if begins or not words:
            words.append((text, unit))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + unit)
    return words


def _characters(
    tokens: Sequence[int], decode: Callable[[Sequence[int]], bytes]
) -> list[tuple[str, tuple[int, ...]]]:
    """The shortest stretches of tokens that are whole characters; bytes that are none become U+FFFD."""
    found: list[tuple[str, tuple[int, ...]]] = []
    unit: list[int] = []
    text, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        unit.append(token)
        text += decoder.decode(decode([token]))
        if not decoder.getstate()[0]:  # no byte waits for others
            found.append((text, tuple(unit)))
            text, unit = "", []
    if unit:
        found.append((text + decoder.decode(b"", final=True), tuple(unit)))
    return found


def timed(
    words: Sequence[tuple[str, tuple[int, ...]]], starts_s: Sequence[float], logprobs: Sequence[float]
) -> list[Timed]:
    """Words with the times of their tokens: each ends where the next begins.

    Args:
        starts_s: of every token of the words, and of the end of text: seconds.
        logprobs: of every token of the words.
    """
    found, at = [], 0
    for text, tokens in words:
        end = at + len(tokens)
        found.append(Timed(text, tokens, starts_s[at], starts_s[end], tuple(logprobs[at:end])))
        at = end
    return found


def merge_marks(words: Sequence[Timed], prepended: str, appended: str) -> list[Timed]:
    """Marks joined to the word behind them, or before them; the times are the word's."""
    joined: list[Timed] = []
    for word in reversed(words):
        mark = word.text.strip()
        if joined and word.text.startswith(" ") and mark and mark in prepended:
            joined[-1] = replace(
                joined[-1], text=word.text + joined[-1].text, tokens=word.tokens + joined[-1].tokens
            )
        else:
            joined.append(word)
    merged: list[Timed] = []
    for word in reversed(joined):
        if merged and word.text and word.text in appended and not merged[-1].text.endswith(" "):
            merged[-1] = replace(
                merged[-1], text=merged[-1].text + word.text, tokens=merged[-1].tokens + word.tokens
            )
        else:
            merged.append(word)
    return merged


def usual_seconds(words: Sequence[Timed]) -> float:
    """How long a word of these usually is."""
    lengths = [word.seconds for word in words if word.seconds > 0]
    return min(LONGEST_USUAL_S, median(lengths)) if lengths else 0.0


def give_back_pauses(words: Sequence[Timed], usual: float) -> None:
    """Shorten words that have swallowed the pause at the end of a sentence."""
    longest = 2 * usual
    for before, word in zip(words, words[1:], strict=False):
        if word.seconds > longest:
            if word.text in _SENTENCE_ENDS:
                word.end_s = word.start_s + longest
            elif before.text in _SENTENCE_ENDS:
                word.start_s = word.end_s - longest


def into_segments(
    segments: Sequence[Segment], words: Sequence[Timed], usual: float, spoken_until_s: float
) -> tuple[Segment, ...]:
    """Segments with their words, each beginning and ending with them.

    Args:
        segments: in order; the words' tokens are theirs, end to end.
        usual: see `usual_seconds`.
        spoken_until_s: where the last word before these ended.
    """
    made, rest, left = [], list(words), 0
    for segment in segments:
        own: list[Timed] = []
        # A word over the border of two segments is the first one's, and the next one has so many tokens less.
        left += len(segment.tokens)
        while rest and left > 0:
            own.append(rest.pop(0))
            left -= len(own[-1].tokens)
        if not own:
            made.append(segment)
            continue
        made.append(_fitted(segment, own, usual, spoken_until_s))
        spoken_until_s = made[-1].end_s
    return tuple(made)


def _fitted(segment: Segment, words: list[Timed], usual: float, spoken_until_s: float) -> Segment:
    longest, first, last = 2 * usual, words[0], words[-1]
    second = words[1] if len(words) > 1 else None
    # After a pause, the first words have often swallowed it.
    if first.end_s - spoken_until_s > 4 * usual and (
        first.seconds > longest or (second is not None and second.end_s - first.start_s > 2 * longest)
    ):
        if second is not None and second.seconds > longest:
            first.end_s = second.start_s = max(second.end_s / 2, second.end_s - longest)
        first.start_s = max(0.0, first.end_s - longest)
    start, end = segment.start_s, segment.end_s
    if first.start_s < start - SEGMENT_SLACK_S and start < first.end_s:
        # A word is only ever made shorter, or it would reach into the one beside it.
        first.start_s = max(first.start_s, min(first.end_s - usual, start))
    else:
        start = first.start_s
    if last.end_s > end + SEGMENT_SLACK_S and end > last.start_s:
        last.end_s = min(last.end_s, max(last.start_s + usual, end))
    else:
        end = last.end_s
    made = tuple(_word(word, segment.avg_logprob) for word in words)
    return replace(segment, start_s=start, end_s=end, words=made)


def _word(word: Timed, mean: float) -> Word:
    probabilities = [math.exp(logprob) for logprob in word.logprobs]
    return Word(
        start_s=word.start_s,
        end_s=max(word.start_s, word.end_s),
        text=word.text,
        tokens=word.tokens,
        probability=sum(probabilities) / max(1, len(probabilities)),
        confidence=confidence.of_word(word.logprobs, mean),
    )
