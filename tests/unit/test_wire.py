"""The codec: any split gives the same events, every bound holds, and nothing but its own errors comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.errors import BadData, BadHeader, HeaderTooLong, PayloadTooLong, WhisperdError
from whisperd.wire import DATA_BYTES, HEADER_BYTES, MAX_DEPTH, PAYLOAD_BYTES, Decoder, Event, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    type=st.text(min_size=1, max_size=20),
    data=st.dictionaries(st.text(max_size=8), values, max_size=4),
    payload=st.binary(max_size=200),
)


def drain(decoder: Decoder) -> list[Any]:
    """What there is: events, and the code of the error that ends them."""
    found: list[Any] = []
    try:
        while (event := decoder.next_event()) is not None:
            found.append(event)
    except WhisperdError as error:
        found.append(error.code)
    return found


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


@given(st.lists(events, max_size=5), st.lists(st.integers(0, 3000), max_size=12))
def test_any_split_gives_the_same_events(sent: list[Event], cuts: list[int]) -> None:
    decoder, found = Decoder(), []
    for part in split(b"".join(map(encode, sent)), cuts):
        decoder.receive_data(part)
        found += drain(decoder)
    assert found == sent
    assert decoder.events == len(sent)
    assert not decoder.mid_event


@settings(max_examples=300)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_garbage_raises_nothing_else_and_splits_alike(garbage: bytes, cuts: list[int]) -> None:
    whole = Decoder()
    whole.receive_data(garbage)
    expected = drain(whole)
    decoder, found = Decoder(), []
    for part in split(garbage, cuts):
        decoder.receive_data(part)
        found += drain(decoder)
        if found and isinstance(found[-1], str):
            break
    assert found == expected


@given(events, st.integers(0, 5000), st.integers(0, 255))
def test_one_changed_byte_is_an_error_or_another_event_but_never_a_crash(
    event: Event, where: int, to: int
) -> None:
    data = bytearray(encode(event))
    data[where % len(data)] = to
    decoder = Decoder()
    decoder.receive_data(data)
    drain(decoder)
    assert decoder.buffered <= HEADER_BYTES + DATA_BYTES + PAYLOAD_BYTES


def test_the_wyoming_package_writes_what_this_reads_and_reads_what_this_writes() -> None:
    import io

    from wyoming.event import Event as TheirEvent
    from wyoming.event import read_event, write_event

    theirs = TheirEvent("audio-chunk", {"rate": 16000, "text": "ä\n"}, b"\x00\n\xff")
    stream = io.BytesIO()
    write_event(theirs, stream)
    decoder = Decoder()
    decoder.receive_data(stream.getvalue())
    ours = decoder.next_event()
    assert ours == Event("audio-chunk", {"rate": 16000, "text": "ä\n"}, b"\x00\n\xff")
    back = read_event(io.BytesIO(encode(ours)))
    assert back is not None
    assert (back.type, back.data, back.payload) == (theirs.type, theirs.data, theirs.payload)


def header(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("limit", "length", "over"),
    [
        ("payload_length", PAYLOAD_BYTES, PayloadTooLong),
        ("data_length", DATA_BYTES, PayloadTooLong),
    ],
)
def test_lengths_at_the_limit_and_one_over(limit: str, length: int, over: type[WhisperdError]) -> None:
    decoder = Decoder()
    body = (b'{"a": "' + b"x" * (length - 9) + b'"}') if limit == "data_length" else b"\0" * length
    assert len(body) == length
    decoder.receive_data(header(type="x", **{limit: length}) + body)
    assert decoder.next_event() is not None
    # Refused as soon as it is announced: not a byte of it is waited for.
    decoder.receive_data(header(type="x", **{limit: length + 1}))
    with pytest.raises(over, match=str(length)):
        decoder.next_event()


def test_a_header_at_the_limit_and_one_over() -> None:
    line = header(type="x", y="")[:-1]
    line = line.replace(b'""', b'"' + b"y" * (HEADER_BYTES - len(line)) + b'"')
    assert len(line) == HEADER_BYTES
    decoder = Decoder()
    decoder.receive_data(line + b"\n")
    assert decoder.next_event() == Event("x")
    decoder.receive_data(b" " + line)
    with pytest.raises(HeaderTooLong):
        decoder.next_event()


def test_a_header_without_an_end_is_refused_while_it_comes() -> None:
    decoder = Decoder()
    for _ in range(HEADER_BYTES):
        decoder.receive_data(b"a")
        assert decoder.next_event() is None
    decoder.receive_data(b"a")
    with pytest.raises(HeaderTooLong):
        decoder.next_event()
    assert decoder.buffered == 0


def test_after_an_error_nothing_is_read_any_more() -> None:
    decoder = Decoder()
    decoder.receive_data(b"nonsense\n" + encode(Event("ping")))
    for _ in range(3):
        with pytest.raises(BadHeader):
            decoder.next_event()
    decoder.receive_data(b"x" * 1_000_000)
    assert decoder.buffered == 0


def nested(depth: int) -> bytes:
    return b'{"type": "x", "data": {"a": ' + b"[" * depth + b"]" * depth + b"}}\n"


def test_depth_at_the_limit_and_one_over() -> None:
    good = next(d for d in range(MAX_DEPTH, 0, -1) if not isinstance(_first(nested(d)), str))
    assert good >= MAX_DEPTH - 3
    assert _first(nested(good + 1)) == "bad-header"
    assert _first(nested(8000)) == "bad-header"


def _first(data: bytes) -> object:
    decoder = Decoder()
    decoder.receive_data(data)
    return drain(decoder)[0]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b'{"type": "x", "data_length": 5}\n{"a":', BadData),
        (b'{"type": "x", "data_length": 3}\n"a"', BadData),
        (b'{"type": "x", "data_length": 2}\n\xff\xff', BadData),
        (b'{"type": "x", "data": {"a": Infinity}}\n', BadHeader),
        (b'{"type": "x", "data": {"a": "\\ud800"}}\n', BadHeader),
        (b'{"type": "x", "payload_length": 1e3}\n', BadHeader),
        (b'{"type": "x", "payload_length": ' + b"9" * 5000 + b"}\n", WhisperdError),
        (b"\n", BadHeader),
    ],
)
def test_what_json_allows_and_the_wire_does_not(raw: bytes, error: type[WhisperdError]) -> None:
    decoder = Decoder()
    decoder.receive_data(raw)
    with pytest.raises(error):
        decoder.next_event()


def test_one_byte_reads_of_a_long_line_are_linear() -> None:
    """Counted, not timed: each byte of the line is searched for its end once."""

    class Counting(bytearray):
        searched = 0

        def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:  # type: ignore[override]
            Counting.searched += len(self) - start
            return super().find(sub, start)

    decoder = Decoder()
    decoder._buffer = Counting()
    for _ in range(10_000):
        decoder.receive_data(b"a")
        decoder.next_event()
    assert Counting.searched <= 20_000
