"""The text of every token as bytes: what the daemon needs of a tokenizer to write down what it heard.

A `tokenizer.json` spells each byte of a token as a printable character (GPT-2's byte-level BPE; openai/gpt-2,
encoder.py, `bytes_to_unicode`). Undone here once, decoding on the device is a join of slices: the library that
reads the file itself takes 35 MB and a tenth of a second of a PC for the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .weights import Weights, WeightsError, parse_json

FILE: Final = "vocabulary.data"
#: Byte values that stand for themselves; the others take the characters from 256 on, in order.
_PRINTABLE: Final = (*range(33, 127), *range(161, 173), *range(174, 256))


def byte_alphabet() -> list[str]:
    """The character that stands for each of the 256 byte values."""
    spare = iter(range(256, 512))
    return [chr(value) if value in _PRINTABLE else chr(next(spare)) for value in range(256)]


def text_tokens(weights: Weights) -> list[bytes]:
    """The bytes of every token below the end of text, in the order of their ids.

    Raises:
        WeightsError: a token is missing, or is not spelled in the alphabet.
    """
    to_byte = {character: value for value, character in enumerate(byte_alphabet())}
    vocabulary = parse_json(weights.tokenizer_json, where="tokenizer.json")["model"]["vocab"]
    spelling = {token: text for text, token in vocabulary.items()}
    tokens = []
    for token in range(weights.special.eot):
        try:
            tokens.append(bytes(to_byte[character] for character in spelling[token]))
        except KeyError as error:
            raise WeightsError(f"tokenizer.json: token {token} is not byte-level BPE: no {error}") from None
    return tokens


def pack(tokens: list[bytes]) -> bytes:
    """One file of them: n + 1 offsets, little-endian uint32, the first of them 0; then the bytes, end to end."""
    offsets = np.zeros(len(tokens) + 1, "<u4")
    offsets[1:] = np.cumsum([len(token) for token in tokens], dtype=np.uint64)
    return offsets.tobytes() + b"".join(tokens)
