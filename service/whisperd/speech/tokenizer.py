"""Token ids to text, by the bundle's own tokenizer.json (Hugging Face `tokenizers`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer as _Tokenizer

from ..errors import BundleError


class Tokenizer:
    """Whisper's byte-level BPE.

    Args:
        bundle: model bundle folder.

    Raises:
        BundleError: tokenizer.json cannot be read.
    """

    def __init__(self, bundle: Path) -> None:
        path = bundle / "tokenizer.json"
        try:
            self._tokenizer = _Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"cannot read {path}: {error}") from error

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, special ones left out; a word's leading space is kept, as it separates segments.

        A multi-byte character cut in two becomes U+FFFD.
        """
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text
