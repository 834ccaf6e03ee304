"""A recording on its way from a memfd to the worker: decoded piece by piece, in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..audio.files import open_audio
from ..audio.pcm import SAMPLE_RATE, Int16Samples
from ..audio.pieces import pieces
from ..errors import BadAudio, WhisperdError
from . import prepare
from .problems import about

if TYPE_CHECKING:
    from ..live import Endpoints
    from .fields import Wanted
    from .uploads import Upload


@dataclass(frozen=True)
class Prepared:
    """A piece as it goes to the worker.

    Attributes:
        offset_s: where it begins in the recording.
        pcm: int16[n] at 16 kHz mono, without what was trimmed.
        end_s: where the piece ends in the recording, what was trimmed included.
    """

    offset_s: float
    pcm: Int16Samples
    end_s: float


class Recording:
    """Decodes an upload. All methods run in a thread, one at a time whatever is called when.

    Args:
        longest_s: of a piece.
        most_s: of the recording.
        new_endpoints: makes what finds speech, for trimming.
    """

    def __init__(
        self,
        upload: Upload,
        wanted: Wanted,
        *,
        longest_s: float,
        most_s: float,
        new_endpoints: Callable[[], Endpoints],
    ) -> None:
        self._upload = upload
        # Of its own: the upload's may be closed, and its number another's, while a thread is still to open this.
        self._descriptor = upload.descriptor()
        self._path = f"/proc/self/fd/{self._descriptor}"
        self._wanted = wanted
        self._longest = longest_s
        self._most = most_s
        self._new_endpoints = new_endpoints
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._closed = False

    def open(self) -> int:
        """Read the header; returns the samples that one piece has at most.

        Raises:
            WhisperdError: it is no audio, or too long; said of its field.
        """
        with self._lock:
            if self._closed:
                return 0
            try:
                if not self._upload.size:
                    raise BadAudio(f"{self._upload.name} is empty")
                audio = self._stack.enter_context(open_audio(self._path, self._most))
                self._pieces = pieces(audio.blocks(), self._longest)
            except WhisperdError as error:
                raise self._named(error) from None
            known = audio.seconds
            return round(min(self._longest, self._longest if known is None else known) * SAMPLE_RATE) + 1

    def next(self) -> Prepared | None:
        """Decode the next piece; None at the end. Raises as `open`."""
        with self._lock:
            if self._closed:
                return None
            try:
                piece = next(self._pieces, None)
            except WhisperdError as error:
                raise self._named(error) from None
            if piece is None:
                return None
            pcm, first = piece.pcm, 0
            if self._wanted.trim_silence:
                first, last = prepare.voiced_range(pcm, self._new_endpoints())
                pcm = pcm[first:last].copy()
            if self._wanted.normalize:
                pcm = prepare.normalized(pcm)
            return Prepared(piece.offset_s + first / SAMPLE_RATE, pcm, piece.end_s)

    def close(self) -> None:
        """Let go of the decoder and of the upload's memory."""
        with self._lock:
            self._closed = True
            self._stack.close()
            os.close(self._descriptor)

    def _named(self, error: WhisperdError) -> WhisperdError:
        error = about(error, self._upload.field)
        error.text = error.text.replace(self._path, self._upload.name)
        return error
