"""When the network is asked: what it is given as the gate opens, and when the gate shuts again."""

from __future__ import annotations

import numpy as np
from noises import noise
from whisperd.speech.gate import WARM_UP, GatedDetector
from whisperd.speech.types import Float32Array, Int16Samples
from whisperd.speech.vad import CONTEXT, FRAME, VoiceDetector


class Recorder(VoiceDetector):
    """A network that hears nothing and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Float32Array] = []
        self.fresh: list[bool] = []

    def probability(self, frame: Float32Array, state: Float32Array) -> tuple[float, Float32Array]:
        self.given.append(frame.copy())
        self.fresh.append(not state.any())
        return 0.0, state + 1


def frames_of(pcm: Int16Samples) -> Int16Samples:
    return pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)


def test_the_gate_opens_with_the_frames_before_and_shuts_half_a_second_after() -> None:
    recorder = Recorder()
    gate = GatedDetector(recorder)
    frames = frames_of(noise("hiss", 4.0)).copy()
    frames[80] *= 6
    asked = []
    for frame in frames:
        before = gate.runs
        gate.score(frame, speaking=False)
        asked.append(gate.runs - before)
    assert asked[40:80] == [0] * 40
    assert asked[80] == WARM_UP + 1 == 10
    assert asked[81:95] == [1] * 14 and asked[95:] == [0] * (len(frames) - 95)
    opened = len(recorder.given) - (WARM_UP + 1) - 14
    assert recorder.fresh[opened] and not any(recorder.fresh[opened + 1 :])
    warm_up = recorder.given[opened : opened + WARM_UP + 1]
    joined = np.concatenate([window[CONTEXT:] for window in warm_up])
    expected = frames[80 - WARM_UP : 81].reshape(-1).astype(np.float32)
    assert np.allclose(joined / joined[-1], expected / expected[-1], rtol=1e-4)
    for before, after in zip(warm_up, warm_up[1:], strict=False):
        assert (after[:CONTEXT] == before[-CONTEXT:]).all()


def test_while_somebody_speaks_it_stays_open() -> None:
    gate = GatedDetector(Recorder())
    frames = frames_of(noise("hiss", 4.0))
    for frame in frames:
        gate.score(frame, speaking=True)
    assert gate.runs == len(frames) + 1  # and the silence that is taken to lie before the stream
