"""JSON with audio in base64, taken apart while it comes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.http.base64_json import MAX_DEPTH, MAX_REST_BYTES, Base64Json
from whisperd.http.problems import BadBody, BadField, HttpError, MissingField

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def parse(data: bytes, cuts: list[int] | None = None) -> tuple[bytes, dict[str, Any]]:
    places = sorted({cut % (len(data) + 1) for cut in cuts or []})
    parser = Base64Json("audio")
    audio = b"".join(parser.feed(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True))
    return audio, parser.finish()


def refusal(data: bytes, cuts: list[int] | None = None) -> HttpError:
    with pytest.raises(HttpError) as caught:
        parse(data, cuts)
    return caught.value


@given(
    st.binary(min_size=1, max_size=80),
    st.dictionaries(st.text(max_size=10).filter(lambda name: name != "audio"), VALUES, max_size=3),
    st.integers(0, 3),
    st.lists(st.integers(0, 10_000), max_size=20),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out_however_it_is_split(
    audio: bytes, others: dict[str, Any], place: int, cuts: list[int], slashes: bool
) -> None:
    members = list(others.items())
    members.insert(place, ("audio", base64.b64encode(audio).decode()))
    text = json.dumps(dict(members), indent=place or None)
    if slashes:  # as PHP writes them
        text = text.replace("/", "\\/")
    assert parse(text.encode(), cuts) == (audio, others)


@given(st.text('{}[]":,\\ audioQ=/x', max_size=60), st.lists(st.integers(0, 1000), max_size=10))
@settings(max_examples=250, deadline=None)
def test_garbage_is_refused_or_means_what_json_says_it_means(text: str, cuts: list[int]) -> None:
    results = []
    for where in ([], cuts):
        try:
            results.append(parse(text.encode(), where))
        except HttpError as error:
            results.append((b"", {"refused": error.code}))
    assert results[0] == results[1]
    if "refused" not in results[0][1]:
        audio, others = results[0]
        known = json.loads(text)
        assert base64.b64decode(known.pop("audio"), validate=True) == audio
        assert known == others


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ('{"audio": "QQ=="', BadBody, "the body is not JSON"),
        ('{"audio": "QQ==', BadBody, "ends within audio"),
        ("", BadBody, "the body is not JSON"),
        ('["audio"]', BadBody, "must be a JSON object"),
        ('{"x": 1}', MissingField, "audio is missing"),
        ('{"audio": null}', BadField, "audio must be a text in base64"),
        ('{"audio": 5}', BadField, "audio must be a text in base64"),
        ('{"audio": ["QQ=="]}', BadField, "audio must be a text in base64"),
        ('{"audio": ""}', BadField, "audio is empty"),
        ('{"audio": "QQ=="  , "audio": "QQ=="}', BadField, "audio comes twice"),
        ('{"audio": "QQ==", "x": 1, "x": 2}', BadField, "x comes twice"),
        ('{"x": {"audio": "QQ=="}}', MissingField, "audio is missing"),
        ('{"\\u0061udio": "QQ=="}', BadField, "audio must be a text in base64"),
        ('{"audio": "QQ"}', BadField, "ends within a group of four characters, at character 0"),
        ('{"audio": "QUFBQQ"}', BadField, "ends within a group of four characters, at character 4"),
        ('{"audio": "Q==="}', BadField, "has too much padding"),
        ('{"audio": "===="}', BadField, "has too much padding"),
        ('{"audio": "QQ==QQ=="}', BadField, "has the character '='"),
        ('{"audio": "Q=Q="}', BadField, "has the character '='"),
        ('{"audio": "QUE- "}', BadField, "has the character '-', at character 3"),
        ('{"audio": "QU E"}', BadField, "has the character ' '"),
        ('{"audio": "QUE\\n"}', BadField, "has an escape"),
        ('{"audio": "QUE\u00e9"}', BadField, "has the character"),
        ('{"audio": "QQ==", "x": NaN}', BadBody, "NaN is no JSON"),
        ('{"audio": "QQ==", "x": "\\ud800"}', BadBody, "the body is not JSON"),
        ('{"audio": "QQ=="} x', BadBody, "the body is not JSON"),
        ("[" * (MAX_DEPTH + 1), BadBody, f"nested more than {MAX_DEPTH} levels deep"),
        ('{"audio": "QQ==", "x": ' + "1" * 5000 + "}", BadBody, "the body is not JSON"),
        ('{"x": "' + "y" * MAX_REST_BYTES, BadBody, f"more than {MAX_REST_BYTES} bytes beside audio"),
    ],
)
def test_what_is_wrong_is_named(text: str, kind: type[HttpError], says: str) -> None:
    data = text.encode()
    error = refusal(data)
    assert isinstance(error, kind)
    assert says in error.text
    if len(data) < 1000:  # however it comes
        assert refusal(data, list(range(len(data)))).code == error.code
    if kind is not BadBody:
        assert error.field in ("audio", "x")


def test_padding_ends_the_audio_in_whichever_piece_it_comes() -> None:
    parser = Base64Json("audio")
    assert parser.feed(b'{"audio": "QQ==') == b"A"
    with pytest.raises(BadField, match="goes on behind its padding"):
        parser.feed(b"QQ==")


def test_a_long_audio_is_not_kept() -> None:
    parser = Base64Json("audio")
    parser.feed(b'{"audio": "')
    got = sum(len(parser.feed(b"QUFB" * 16384)) for _ in range(64))
    assert got == 64 * 3 * 16384
    assert len(parser._kept) < 100
    parser.feed(b'"}')
    assert parser.finish() == {}
