"""The tokens that a decoding begins with: what was said before, what is to be done, and how the text begins.

Follows the reference (openai/whisper, decoding.py, `_get_initial_tokens`), with faster-whisper's hot words in the
place of what was said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bundle import Tokens
from .options import Options
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class Start:
    """What a decoding begins with.

    Attributes:
        ids: all of its tokens.
        sot: index of the start of transcript, after which the no-speech probability and the language stand.
    """

    ids: tuple[int, ...]
    sot: int


def start(
    tokens: Tokens,
    multilingual: bool,
    language: str,
    task: str,
    *,
    timestamps: bool = False,
    previous: Sequence[int] = (),
    prefix: Sequence[int] = (),
) -> Start:
    """The beginning of a window's decoding. English-only models know neither language nor task.

    Args:
        previous: text tokens as if they had been said before.
        prefix: text tokens that the window begins with.
    """
    ids = [tokens.sot_prev, *previous] if previous else []
    sot = len(ids)
    ids.append(tokens.sot)
    if multilingual:
        ids += [tokens.languages[language], tokens.translate if task == "translate" else tokens.transcribe]
    if not timestamps:
        ids.append(tokens.no_timestamps)
    elif prefix:
        ids.append(tokens.timestamp_begin)
    return Start((*ids, *prefix), sot)


def room(n_text_ctx: int) -> int:
    """Most tokens of what was said before and of a prefix together: the reference's of each, so that half of the
    context is left.
    """
    return n_text_ctx // 2 - 1


class Prompts:
    """Turns the texts of one clip's options into tokens, once.

    Args:
        tokenizer: is loaded only if there is a text.
        options: of the clip.
        n_text_ctx: the decoder's context, in tokens.
    """

    def __init__(self, tokenizer: Tokenizer, options: Options, n_text_ctx: int) -> None:
        self._room = room(n_text_ctx)
        # With a space before it, as within a text: the tokens of a word at the beginning of a line are rare ones.
        self._initial = tokenizer.encode(" " + text) if (text := _plain(options.initial_prompt)) else []
        self._hotwords = tokenizer.encode(" " + words) if (words := _joined(options.hotwords)) else []
        self._carried = options.carry_initial_prompt
        prefix = tokenizer.encode(" " + text) if (text := _plain(options.prefix)) else []
        #: Of the first window only.
        self.prefix = tuple(prefix[: self._room])

    def previous(self, said: Sequence[int] = (), prefix: Sequence[int] = ()) -> tuple[int, ...]:
        """What is to be read as said before: hot words, then the end of the initial prompt and of what was `said`.

        A window's `prefix` takes its tokens from the same room, so that half of the context is left in any case.
        Of the remaining room, the hot words may take half, and the last tokens of the rest count; but where the
        initial prompt is carried, it comes before what was said.
        """
        room = self._room - len(prefix)
        hotwords = self._hotwords[: room // 2]
        room -= len(hotwords)
        initial = _last(self._initial, room)
        if self._carried:
            return (*hotwords, *initial, *_last(said, room - len(initial)))
        return (*hotwords, *_last([*initial, *said], room))


def _last(tokens: Sequence[int], count: int) -> Sequence[int]:
    return tokens[max(0, len(tokens) - count) :]


def _plain(text: str | None) -> str:
    return " ".join(text.split()) if text else ""


def _joined(words: Sequence[str]) -> str:
    return ", ".join(filter(None, map(_plain, words)))
