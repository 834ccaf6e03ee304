"""Token ids to text, by the bundle's table of the bytes of every token; and text to token ids.

Decoding is all that a transcription needs, and the table is half a megabyte. Hugging Face's `tokenizers`, which
takes 35 MB for a vocabulary of this size, is loaded with the first text that has to be encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as _Library

#: Offsets as little-endian uint32, one more than there are tokens, then the tokens' bytes, end to end.
VOCABULARY = "vocabulary.data"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Spelling:
    """The bytes of all tokens of text, as numbers.

    Attributes:
        offsets: int[count + 1], where each token's bytes begin, and at last where they end.
        data: uint8[all], end to end.
        lengths: int[count]; there may be some of no length.
    """

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.lengths)

    def of(self, token: int) -> list[int]:
        """The bytes of one token."""
        found: list[int] = self.data[self.offsets[token] : self.offsets[token + 1]].tolist()
        return found

    def byte(self, tokens: npt.NDArray[np.int64], at: int) -> npt.NDArray[np.int64]:
        """The byte number `at` of each of some tokens, which are longer than that."""
        return self.data[self.offsets[tokens] + at].astype(np.int64)


class Tokenizer:
    """Whisper's byte-level BPE.

    Args:
        bundle: model bundle folder.
        text_tokens: how many tokens are text. They come first; what lies above is special and has no text.

    Raises:
        BundleError: the vocabulary cannot be read, or is not of so many tokens.
    """

    def __init__(self, bundle: Path, text_tokens: int) -> None:
        self._bundle = bundle
        path = bundle / VOCABULARY
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror}") from error
        head = 4 * (text_tokens + 1)
        offsets = np.frombuffer(data[:head], "<u4", text_tokens + 1) if len(data) >= head else None
        if offsets is None or offsets[0] or offsets[-1] != len(data) - head or (offsets[1:] < offsets[:-1]).any():
            raise BundleError(f"{path} is not a vocabulary of {text_tokens} tokens")
        self._offsets, self._bytes = offsets, data[head:]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, special ones left out; a word's leading space is kept, as it separates segments.

        A multi-byte character cut in two becomes U+FFFD.
        """
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """UTF-8 of `tokens`, which may begin or end within a character; special ones left out."""
        offsets, text_tokens = self._offsets, len(self._offsets) - 1
        return b"".join(self._bytes[offsets[t] : offsets[t + 1]] for t in tokens if 0 <= t < text_tokens)

    @cached_property
    def spelling(self) -> Spelling:
        """Of all tokens of text; only grammars need it."""
        offsets = self._offsets.astype(np.int64)
        return Spelling(offsets, np.frombuffer(self._bytes, np.uint8), np.diff(offsets))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens neither added nor found in it.

        Raises:
            BundleError: tokenizer.json cannot be read.
        """
        ids = self._library.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token < len(self._offsets) - 1]

    @cached_property
    def _library(self) -> _Library:
        from tokenizers import Tokenizer as Library

        path = self._bundle / TOKENIZER
        try:
            return Library.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"cannot read {path}: {error}") from error
