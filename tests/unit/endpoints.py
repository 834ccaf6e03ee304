"""What the tests of endpointing share: streams of voices in noise, and the utterances found in them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from noises import RATE, noise
from whisperd.speech.endpoint import Change, Ended, Endpointer, EndpointSettings, Started
from whisperd.speech.types import Int16Samples
from whisperd.speech.vad import VoiceDetector

MS = RATE // 1000
PRE_ROLL = 300 * MS


def changes(
    pcm: Int16Samples, voice: VoiceDetector | None, wanted: EndpointSettings | None = None
) -> list[Change]:
    """All changes of a stream."""
    endpointer = Endpointer(wanted or EndpointSettings(), voice)
    return endpointer.push(pcm) + endpointer.finish()


def utterances(found: list[Change]) -> list[tuple[int, Ended]]:
    """Where each one starts, and its end."""
    starts = [change.at for change in found if isinstance(change, Started)]
    return list(zip(starts, (change for change in found if isinstance(change, Ended)), strict=True))


def around(
    clips: list[Int16Samples], pauses_s: list[float], snr_db: float, name: str = "fan"
) -> tuple[Int16Samples, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Clips in noise, `pauses_s` before, between and behind them: the stream, where each clip begins, and the
    stream without the noise.
    """
    parts: list[npt.NDArray[np.float64]] = [np.zeros(round(pauses_s[0] * RATE))]
    for clip, pause in zip(clips, pauses_s[1:], strict=True):
        parts += [clip.astype(np.float64), np.zeros(round(pause * RATE))]
    clean = np.concatenate(parts)
    begins = np.cumsum([len(part) for part in parts])[: 2 * len(clips) : 2]
    unwanted = np.resize(noise(name, 10.0).astype(np.float64), len(clean))
    level = np.concatenate(clips).std() * 10 ** (-snr_db / 20) / unwanted.std()
    mixed = clean + unwanted * level
    scale = min(1.0, 32000 / np.abs(mixed).max())
    return (mixed * scale).astype(np.int16), begins, clean
