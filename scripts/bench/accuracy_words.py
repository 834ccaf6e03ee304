"""What a recogniser heard, word by word: the log-probabilities of each word's tokens, and whether it was said."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .accuracy_runs import Heard
from .accuracy_score import plain_words

_WORD = re.compile(rb"[^ ]+")


@dataclass(frozen=True)
class Word:
    """A word as it stands in the text, with its punctuation.

    Attributes:
        logprobs: of the tokens that have a letter or digit of it.
        right: whether it was said there: all that the normaliser makes of it is aligned with the same words.
    """

    text: str
    logprobs: tuple[float, ...]
    right: bool


def spans(tokens: Sequence[bytes]) -> list[tuple[str, tuple[int, ...]]]:
    """The words of a text, split at spaces, and which tokens have a letter or digit of each.

    >>> spans([b" Turn", b" l", b"eft", b"."])
    [('Turn', (0,)), ('left.', (1, 2))]
    """
    text = b"".join(tokens)
    ends, at = [], 0
    for token in tokens:
        at += len(token)
        ends.append(at)
    found = []
    for match in _WORD.finditer(text):
        of_it = []
        begin = 0
        for index, end in enumerate(ends):
            part = text[max(begin, match.start()) : min(end, match.end())]
            # Part of a character of several bytes is one, too.
            if part and (any(byte >= 0x80 for byte in part) or any(chr(byte).isalnum() for byte in part)):
                of_it.append(index)
            begin = end
        word = match.group().decode("utf-8", "replace")
        if of_it and any(char.isalnum() for char in word):
            found.append((word, tuple(of_it)))
    return found


def judged(heard: Heard, said: str, language: str, token_bytes: Callable[[int], bytes]) -> list[Word]:
    """The words of a text that is delivered. [] where there is none, or its tokens are not the text.

    Args:
        said: what really was.
        token_bytes: UTF-8 of a token.
    """
    import jiwer

    pieces = [token_bytes(token) for token in heard.tokens]
    if not heard.text or b"".join(pieces).decode("utf-8", "replace").strip() != heard.text:
        return []
    words = spans(pieces)
    parts = [plain_words(word, language) for word, _ in words]
    flat = [part for of_word in parts for part in of_word]
    truth = plain_words(said, language)
    if not flat or not truth:
        return []
    equal: set[int] = set()
    for chunk in jiwer.process_words(" ".join(truth), " ".join(flat)).alignments[0]:
        if chunk.type == "equal":
            equal.update(range(chunk.hyp_start_idx, chunk.hyp_end_idx))
    result, at = [], 0
    for (word, of_it), of_word in zip(words, parts, strict=True):
        if of_word:
            right = all(index in equal for index in range(at, at + len(of_word)))
            result.append(Word(word, tuple(heard.logprobs[index] for index in of_it), right))
        at += len(of_word)
    return result
