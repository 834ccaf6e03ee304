"""Segments of a window and where the next one begins: all the shapes that a decoding can have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.speech.segments import Slice, cut, slices

BEGIN = 1000


def at(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


Found = tuple[list[Slice], float | None]


def of(sequence: Sequence[int], seconds: float = 30.0, *, all_of_it: bool = False) -> Found:
    parts, back = slices(sequence, BEGIN, seconds, all_of_it=all_of_it)
    rounded = [Slice(round(p.start_s, 6), round(p.end_s, 6), p.tokens) for p in parts]
    return rounded, None if back is None else round(back, 6)


@pytest.mark.parametrize(
    ("sequence", "found"),
    [
        # One segment, to its end.
        ((at(0), 1, 2, at(2.4)), ([Slice(0.0, 2.4, (1, 2))], None)),
        ((at(0.5), 1, at(2.4)), ([Slice(0.5, 2.4, (1,))], None)),
        # Several, the last one to its end.
        (
            (at(0), 1, at(2), at(2), 2, at(5), at(6), 3, at(9)),
            ([Slice(0.0, 2.0, (1,)), Slice(2.0, 5.0, (2,)), Slice(6.0, 9.0, (3,))], None),
        ),
        # The window ends between two segments: the next begins there.
        ((at(0), 1, at(2), at(2), 2, at(5), at(5)), ([Slice(0.0, 2.0, (1,)), Slice(2.0, 5.0, (2,))], 5.0)),
        ((at(0), 1, at(2), at(2)), ([Slice(0.0, 2.0, (1,))], 2.0)),
        # It ends within one: that one is not kept, the next window begins with it.
        ((at(0), 1, at(2), at(2.5), 2, 3), ([Slice(0.0, 2.0, (1,))], 2.0)),
        ((at(0), 1, at(2), at(3), 2, at(5), at(5), 3), ([Slice(0.0, 2.0, (1,)), Slice(3.0, 5.0, (2,))], 5.0)),
        # It has no end: it is as long as the window.
        ((at(0), 1, 2), ([Slice(0.0, 30.0, (1, 2))], None)),
        ((at(1.0), 1, 2), ([Slice(1.0, 30.0, (1, 2))], None)),
        ((at(0), 1, at(0)), ([Slice(0.0, 30.0, (1,))], None)),
        # There are no times at all.
        ((1, 2, 3), ([Slice(0.0, 30.0, (1, 2, 3))], None)),
        ((1, 2, at(3)), ([Slice(0.0, 3.0, (1, 2))], None)),
        # There is no text.
        ((), ([], None)),
        ((at(0),), ([], None)),
        ((at(0), at(0)), ([], 0.0)),
        ((at(1), at(2)), ([], 1.0)),
    ],
)
def test_shapes(sequence: tuple[int, ...], found: Found) -> None:
    assert of(sequence) == found


@pytest.mark.parametrize(
    ("sequence", "parts"),
    [
        ((at(0), 1, at(2), at(2.5), 2, 3), [Slice(0.0, 2.0, (1,)), Slice(2.5, 30.0, (2, 3))]),
        ((at(0), 1, at(2), at(2)), [Slice(0.0, 2.0, (1,))]),
        ((at(0), 1, at(2), at(2), 2, at(5)), [Slice(0.0, 2.0, (1,)), Slice(2.0, 5.0, (2,))]),
        ((at(0), 1), [Slice(0.0, 30.0, (1,))]),
    ],
)
def test_all_of_it(sequence: tuple[int, ...], parts: list[Slice]) -> None:
    """With the last segment, where what is told of its end does not matter."""
    assert of(sequence, all_of_it=True) == (parts, None)


def test_no_time_lies_behind_the_window() -> None:
    # The last step of 0.02 s may end behind it.
    assert of((at(0), 1, at(2.42)), 2.411) == ([Slice(0.0, 2.411, (1,))], None)
    assert of((at(0), 1, at(1), at(2.42)), 2.411) == ([Slice(0.0, 1.0, (1,))], 1.0)
    assert of((at(0), 1), 2.411) == ([Slice(0.0, 2.411, (1,))], None)


def test_only_the_first_tokens() -> None:
    parts = [Slice(0.0, 1.0, (1, 2)), Slice(1.0, 2.0, (3, 4)), Slice(2.0, 3.0, (5,))]
    assert cut(parts, 9) == cut(parts, 5) == parts
    assert cut(parts, 3) == [parts[0], Slice(1.0, 2.0, (3,))]
    assert cut(parts, 2) == parts[:1]
    assert cut(parts, 0) == cut([], 3) == []


@st.composite
def decodings(draw: st.DrawFn) -> tuple[int, ...]:
    """As the rules let them come: pairs of times that rise, with text between, broken off anywhere."""
    marks = sorted(draw(st.lists(st.integers(0, 1500), min_size=2, max_size=12)))
    sequence: list[int] = []
    for start, end in zip(marks[::2], marks[1::2], strict=False):
        if end > start:
            sequence += [BEGIN + start, *draw(st.lists(st.integers(0, 99), min_size=1, max_size=4)), BEGIN + end]
    return tuple(sequence[: draw(st.integers(0, len(sequence)))])


@given(decodings(), st.floats(0.1, 30.0), st.booleans())
def test_nothing_is_lost_and_nothing_comes_twice(
    sequence: tuple[int, ...], seconds: float, all_of_it: bool
) -> None:
    parts, back = slices(sequence, BEGIN, seconds, all_of_it=all_of_it)
    text = [token for token in sequence if token < BEGIN]
    kept = [token for part in parts for token in part.tokens]
    # What is not kept is the end, and then the next window begins before it.
    assert text[: len(kept)] == kept
    assert (len(kept) == len(text)) or (back is not None and not all_of_it)
    assert all(part.tokens for part in parts)
    for part in parts:
        assert 0.0 <= part.start_s <= part.end_s <= seconds
    for before, after in itertools.pairwise(parts):
        assert before.end_s <= after.start_s
    if back is not None:
        assert 0.0 <= back <= seconds
        assert not parts or back >= parts[-1].end_s
