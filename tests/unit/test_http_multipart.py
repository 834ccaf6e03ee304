"""multipart/form-data: what browsers, curl and libraries send, split anywhere, and what nobody should."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.http.multipart import (
    MAX_HEAD_BYTES,
    MAX_PARTS,
    MAX_PREAMBLE_BYTES,
    Multipart,
    Part,
    PartEnd,
    boundary_of,
    parameters,
)
from whisperd.http.problems import BadBody, BadContentType

Parts = list[tuple[str, str | None, bytes]]

HEAD = b'Content-Disposition: form-data; name="a"'


def parse(pieces: Iterable[bytes], boundary: str = "B") -> Parts:
    parser = Multipart(boundary)
    parts: Parts = []
    ended = True
    for piece in pieces:
        for found in parser.feed(piece):
            if isinstance(found, Part):
                assert ended, "a part begins within another"
                parts.append((found.name, found.filename, b""))
                ended = False
            elif isinstance(found, PartEnd):
                ended = True
            else:
                assert not ended, "bytes outside of a part"
                assert found, "empty bytes"
                parts[-1] = (*parts[-1][:2], parts[-1][2] + found)
    parser.finish()
    assert ended
    return parts


def body(*contents: bytes, head: bytes = HEAD) -> bytes:
    return b"".join(b"--B\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for content in contents) + b"--B--\r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


# The boundary's own bytes are the likeliest to be taken for one.
CONTENT = st.one_of(st.binary(max_size=60), st.text("\r\n-B", max_size=40).map(str.encode)).filter(
    lambda content: b"\r\n--B" not in b"\r\n" + content + b"\r\n--"[:3]
)


@given(st.lists(CONTENT, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=30))
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out_however_it_is_split(contents: list[bytes], cuts: list[int]) -> None:
    assert parse(split(body(*contents), cuts)) == [("a", None, content) for content in contents]


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=10))
@settings(max_examples=150, deadline=None)
def test_garbage_is_a_bad_body_and_nothing_else(garbage: bytes, cuts: list[int]) -> None:
    mixed = body(b"x")[: len(garbage)] + garbage
    for data in (garbage, mixed):
        try:
            whole: Parts | str = parse([data])
        except BadBody as error:
            whole = error.text
        try:
            assert parse(split(data, cuts)) == whole
        except BadBody as error:
            assert error.text == whole


def test_what_a_library_sends() -> None:
    request = httpx.Request(
        "POST",
        "http://x/",
        data={"language": "de", "hotwords": 'Grüße, "a"'},
        files=[("audio_file", ('Auf nahme "1".wav', b"RIFF\r\n--", "audio/wav")), ("audio_file", ("ü.wav", b""))],
    )
    boundary = boundary_of(request.headers["content-type"])
    assert parse([request.read()], boundary) == [
        ("language", None, b"de"),
        ("hotwords", None, 'Grüße, "a"'.encode()),
        ("audio_file", "Auf nahme %221%22.wav", b"RIFF\r\n--"),
        ("audio_file", "ü.wav", b""),
    ]


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"content-disposition:form-data;name=a;filename=b.wav\r\nContent-Type: audio/wav", ("a", "b.wav", b"x")),
        (b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="a\\"b"', ('a"b', None, b"x")),
        (HEAD + b'; filename=""', ("a", "", b"x")),
        (HEAD + b"; filename=C:\\a.wav", ("a", "C:\\a.wav", b"x")),
        (HEAD + b"\r\nContent-Transfer-Encoding: binary", ("a", None, b"x")),
    ],
)
def test_heads_that_are_good(head: bytes, part: tuple[str, str | None, bytes]) -> None:
    assert parse([body(b"x", head=head)]) == [part]


def test_preamble_epilogue_blanks_and_an_empty_body() -> None:
    assert parse([b"ignored\r\n" + body(b"x") + b"ignored"]) == [("a", None, b"x")]
    assert parse([b"--B \t\r\n" + HEAD + b"\r\n\r\n\r\n--B--"]) == [("a", None, b"")]
    assert parse([b"--B--"]) == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ends before its first boundary"),
        (b"nothing", "ends before its first boundary"),
        (b"x" * (MAX_PREAMBLE_BYTES + 100), "does not begin with its boundary"),
        (b"--Bx\r\n", "followed by something else than a line break"),
        (b"--B" + b" " * 300, "followed by something else than a line break"),
        (b"--B\r\n" + HEAD, "ends before its first boundary"),
        (b"--B\r\n" + HEAD + b"\r\n\r\nxyz", "ends in part 1"),
        (body(b"x")[:-6], "ends in part 1"),
        (b"--B\r\n" + b"x" * (MAX_HEAD_BYTES + 10), "head of a part is longer than"),
        (b"--B\r\n" + b"x" * (MAX_HEAD_BYTES + 10) + b"\r\n\r\n", "head of a part is longer than"),
        (body(b"x", head=b"X: y"), "part 1 has no Content-Disposition"),
        (b"--B\r\n\r\nx\r\n--B--", "part 1 has no Content-Disposition"),
        (body(b"x", head=b"Content-Disposition: attachment; name=a"), "part 1 is no form-data with a name"),
        (body(b"x", head=b"Content-Disposition: form-data"), "part 1 is no form-data with a name"),
        (body(b"x", head=b'Content-Disposition: form-data; name=""'), "part 1 is no form-data with a name"),
        (body(b"x", head=b'Content-Disposition: form-data; name="a'), "of part 1 is not well-formed"),
        (body(b"x", head=HEAD + b"; filename=\xff"), "the head of part 1 is not UTF-8"),
        (body(b"eA==", head=HEAD + b"\r\nContent-Transfer-Encoding: base64"), "has a Content-Transfer-Encoding"),
        (body(*[b""] * (MAX_PARTS + 1)), f"more than {MAX_PARTS} parts"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, says: str) -> None:
    with pytest.raises(BadBody, match=says):
        parse([data])
    with pytest.raises(BadBody, match=says):
        parse([data[i : i + 1] for i in range(len(data))])


def test_memory_stays_bounded_within_a_part() -> None:
    parser = Multipart("B")
    parser.feed(b"--B\r\n" + HEAD + b"\r\n\r\n")
    for _ in range(64):
        given_back = sum(len(found) for found in parser.feed(b"x" * 65536) if isinstance(found, bytes))
        assert given_back >= 65536 - 2 * len(b"\r\n--B")


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', "a b:c"),
        ("multipart/form-data;boundary=" + "x" * 70, "x" * 70),
    ],
)
def test_boundaries(header: str, boundary: str) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "must be multipart/form-data, not nothing"),
        ("application/json", "must be multipart/form-data, not application/json"),
        ("multipart/mixed; boundary=a", "must be multipart/form-data, not multipart/mixed"),
        ("multipart/form-data", "names no usable boundary"),
        ("multipart/form-data; boundary=", "names no usable boundary"),
        ("multipart/form-data; boundary=" + "x" * 71, "names no usable boundary"),
        ('multipart/form-data; boundary="a "', "names no usable boundary"),
        ("multipart/form-data; boundary=ü", "names no usable boundary"),
        ('multipart/form-data; boundary="a', "is not well-formed"),
        ("multipart/form-data; ;;", "is not well-formed"),
    ],
)
def test_content_types_that_are_none(header: str, says: str) -> None:
    with pytest.raises(BadContentType, match=says) as caught:
        boundary_of(header)
    assert caught.value.field == "Content-Type"


def test_the_first_of_two_parameters_counts() -> None:
    assert parameters("form-data; name=a; name=b") == ("form-data", {"name": "a"})
