"""Is there a voice in it? Silero VAD (snakers4/silero-vad, MIT): 16 kHz, frames of 32 ms, one thread.

Whisper was trained on subtitles, and hears "you" or "thank you" in a hum or in the slam of a door. This
network is a hundred times smaller, was trained on nothing but this question, and is asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BundleError
from .features import SAMPLE_RATE
from .types import Control, Float32Array, Int16Samples

#: Samples in a frame, and of the frame before that the network sees again.
FRAME = 512
CONTEXT = 64
#: The network's recurrent state.
_STATE = (2, 1, 128)

#: A voice is so many frames in a row (96 ms) of at least this probability. Whoever speaks, in noise as loud as
#: the voice too, has a dozen; hiss, hum, road, music and slamming doors have at most one (docs/models.md).
VOICE_FRAMES = 3
VOICE_PROBABILITY = 0.3
#: Frames of a clip's end, 1 s, that are listened to for a voice there.
_LAST_FRAMES = 32

#: Quiet clips are raised to this peak, by at most 30 dB: the network was trained on speech of usual loudness.
_PEAK = 0.5
_MAX_GAIN = 31.6

_LOG_ERRORS = 3


class VoiceDetector:
    """The network, which any number of clips may share, one after the other.

    Args:
        path: Silero's `silero_vad_16k_op15.onnx`.

    Raises:
        BundleError: the file cannot be read, or is not that network.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort  # here, since what is said of frames is of use without it

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS
        options.enable_cpu_mem_arena = False
        try:
            path.open("rb").close()  # its error says more than ONNX Runtime's
            # By name: of bytes that are handed over, ONNX Runtime keeps a copy.
            self._session = ort.InferenceSession(str(path), options)
            self.probability(np.zeros(CONTEXT + FRAME, np.float32), self.silence())
        except OSError as error:
            raise BundleError(f"cannot read the voice activity detector {path}: {error.strerror}") from error
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise BundleError(f"{path} is not the voice activity detector Silero VAD, 16 kHz: {error}") from error

    @staticmethod
    def silence() -> Float32Array:
        """The state before the first frame."""
        return np.zeros(_STATE, np.float32)

    def probability(self, frame: Float32Array, state: Float32Array) -> tuple[float, Float32Array]:
        """Probability that somebody speaks in a frame, and the state after it.

        Args:
            frame: float32[64 + 512] in [-1, 1]: the end of the frame before, then the frame.
            state: of the frame before.
        """
        feeds: dict[str, Any] = {"input": frame[None], "state": state, "sr": np.array(SAMPLE_RATE, np.int64)}
        probability, after = self._session.run(None, feeds)
        return float(probability[0, 0]), after

    def heard(self, pcm: Int16Samples, control: Control) -> bool:
        """Whether somebody speaks in a clip, int16[n]: answered as soon as it is certain, with speech most often
        within its first words. A second without takes 6 ms of a PC.
        """
        row = 0
        for probability in self.probabilities(pcm, control):
            row = row + 1 if probability >= VOICE_PROBABILITY else 0
            if row == VOICE_FRAMES:
                return True
        return False

    def voiced(self, pcm: Int16Samples, control: Control) -> float:
        """Seconds of a clip, int16[n], in which somebody speaks: 0 where that is nowhere certain (see `heard`)."""
        return self.stretch(pcm, control)[1]

    def stretch(self, pcm: Int16Samples, control: Control) -> tuple[float, float]:
        """Where in a clip, int16[n], it is first certain that somebody speaks, and for how long somebody does.

        Returns:
            Seconds from the clip's start, and of voice; (0, 0) where it is nowhere certain (see `heard`).
        """
        row = count = 0
        onset: int | None = None
        for frame, probability in enumerate(self.probabilities(pcm, control)):
            row = row + 1 if probability >= VOICE_PROBABILITY else 0
            count += row > 0
            if row == VOICE_FRAMES and onset is None:
                onset = frame + 1 - VOICE_FRAMES
        if onset is None:
            return 0.0, 0.0
        return onset * FRAME / SAMPLE_RATE, count * FRAME / SAMPLE_RATE

    def ends_in_voice(self, pcm: Int16Samples, control: Control) -> bool:
        """Whether somebody speaks at the very end of a clip, int16[n]."""
        row = 0
        # Whole frames: the silence that fills up a last one is no end of a voice.
        frames = min(len(pcm) // FRAME, _LAST_FRAMES)
        for probability in self.probabilities(pcm[len(pcm) - frames * FRAME :], control):
            row = row + 1 if probability >= VOICE_PROBABILITY else 0
        return row >= VOICE_FRAMES

    def probabilities(self, pcm: Int16Samples, control: Control) -> Iterator[float]:
        """Frame by frame, at the loudness of the whole clip."""
        peak = max(int(pcm.max(initial=0)), -int(pcm.min(initial=0)), 1) / 32768
        gain = np.float32(min(_PEAK / peak, _MAX_GAIN) / 32768)
        state = self.silence()
        window = np.zeros(CONTEXT + FRAME, np.float32)
        for start in range(0, len(pcm), FRAME):
            if start % (FRAME * 32) == 0:  # each second
                control.step()
            samples = pcm[start : start + FRAME]
            window[:CONTEXT] = window[-CONTEXT:]
            window[CONTEXT : CONTEXT + len(samples)] = samples * gain
            window[CONTEXT + len(samples) :] = 0
            probability, state = self.probability(window, state)
            yield probability
