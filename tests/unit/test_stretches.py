"""Stretches with a voice: where they begin and end, at each of their bounds, and that they never overlap."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.speech.options import Options
from whisperd.speech.stretches import Voices, stretches
from whisperd.speech.vad import FRAME

V, S = 0.9, 0.1


def voices(**more: int) -> Voices:
    """Lengths in frames."""
    lengths = {name: more.get(name, 0) * FRAME for name in ("speech", "silence", "pad")}
    return Voices(0.5, 0.35, **lengths)


def found(probabilities: list[float], **more: int) -> list[tuple[float, float]]:
    """In frames."""
    spans = stretches(probabilities, voices(**more), len(probabilities) * FRAME)
    return [(start / FRAME, end / FRAME) for start, end in spans]


def test_what_a_client_chooses() -> None:
    chosen = Options(
        vad_threshold=0.6,
        vad_min_speech_duration_ms=100,
        vad_min_silence_duration_ms=500,
        vad_speech_pad_ms=1,
    )
    assert Voices.of(chosen) == Voices(0.6, pytest.approx(0.45), 1600, 8000, 16)
    assert Voices.of(Options(vad_threshold=0.02)).leave == 0.01
    assert Voices.of(Options()) == Voices(0.5, 0.35, 0, 32_000, 6_400)


@pytest.mark.parametrize(
    ("probabilities", "spans"),
    [
        ([], []),
        ([S, S], []),
        ([0.499, 0.499], []),
        ([0.5], [(0, 1)]),
        ([S, V, S], [(1, 2)]),
        ([S, V, V], [(1, 3)]),
        ([V, S, V], [(0, 1), (2, 3)]),
        ([V, 0.36, 0.36, S], [(0, 3)]),  # less sure, but not yet silent
        ([V, 0.34, S], [(0, 1)]),
    ],
)
def test_where_a_voice_begins_and_ends(probabilities: list[float], spans: list[tuple[int, int]]) -> None:
    assert found(probabilities) == spans


def test_a_pause_ends_it_that_is_long_enough() -> None:
    assert found([V, S, S, V], silence=3) == [(0, 4)]
    assert found([V, S, S, S, V], silence=3) == [(0, 1), (4, 5)]
    # What lies between the two probabilities does not end a pause that has begun.
    assert found([V, S, 0.4, S, V], silence=3) == [(0, 1), (4, 5)]
    assert found([V, S, S], silence=3) == [(0, 1)]


def test_a_voice_counts_that_is_long_enough() -> None:
    assert found([S, V, V, S, V, V, V, S], speech=3) == [(4, 7)]


def test_margins_stay_within_the_clip_and_do_not_overlap() -> None:
    assert found([S, S, V, S, S, S], pad=1) == [(1, 4)]
    assert found([S, V, S], pad=9) == [(0, 3)]
    assert found([V, S, S, S, V], pad=2) == [(0, 2.5), (2.5, 5)]
    assert found([V, S, S, S, S, V], pad=2) == [(0, 3), (3, 6)]


def test_a_clip_that_ends_within_a_frame() -> None:
    assert stretches([V, V], voices(), FRAME + 7) == [(0, FRAME + 7)]
    assert stretches([S, V], voices(speech=1), FRAME + 7) == []


@given(
    st.lists(st.floats(0, 1), max_size=60),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, FRAME - 1),
)
def test_every_certain_voice_is_in_one_and_none_overlap(
    probabilities: list[float], speech: int, silence: int, pad: int, cut: int
) -> None:
    length = max(0, len(probabilities) * FRAME - cut)
    spans = stretches(probabilities, voices(speech=speech, silence=silence, pad=pad), length)
    assert all(0 <= start < end <= length for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for frame, probability in enumerate(probabilities):
        inside = any(start <= frame * FRAME < end for start, end in spans)
        if probability >= 0.5 and speech == 0 and frame * FRAME < length:
            assert inside
    if not any(probability >= 0.5 for probability in probabilities):
        assert spans == []
