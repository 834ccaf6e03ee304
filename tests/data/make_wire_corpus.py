"""Make tests/data/wire: streams of bytes, and the events that both codecs (Python, C++) have to make of them.

    .venv/bin/python tests/data/make_wire_corpus.py

Each pair is NAME.bin, streams one behind the other, and NAME.json, a list with an entry for each stream: how many
bytes, the limits, the events (payload as base64), the code of the error that ends it or null, and whether it ends
within an event. `written` has what was thought of, with results written by hand; `random` has streams that were
made and damaged at random, with the results of service/whisperd/wire.py. Same seed, same files.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "wire"
SEED = 20260801
RANDOM_STREAMS = 400
SMALL = {"header_bytes": 256, "data_bytes": 128, "payload_bytes": 128}
"""For the random ones, so that limits are met without megabytes."""

Case = dict[str, Any]


def event(event_type: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> dict[str, Any]:
    """An expected event."""
    return {"type": event_type, "data": data or {}, "payload": base64.b64encode(payload).decode()}


def case(
    name: str,
    stream: bytes,
    *events: dict[str, Any],
    error: str | None = None,
    mid_event: bool = False,
    limits: dict[str, int] | None = None,
) -> tuple[bytes, Case]:
    """One stream and what it has to give."""
    expected = {"events": list(events), "error": error, "mid_event": mid_event}
    return stream, {"name": name, "bytes": len(stream), "limits": limits or {}, **expected}


def text_of(depth: int) -> bytes:
    """A member nested so that its innermost list is at this level; the object itself is the first."""
    return b'"a":' + b"[" * (depth - 1) + b"]" * (depth - 1)


def framing() -> list[tuple[bytes, Case]]:
    """Lengths, order, and where a stream ends."""
    chunk = b'{"type":"audio-chunk","data":{"rate":16000},"payload_length":4}\n\x00\n\xff{'
    small = {"header_bytes": 20, "data_bytes": 8, "payload_bytes": 8}
    return [
        case("nothing", b""),
        case("a header alone", b'{"type":"ping"}\n', event("ping")),
        case("a payload with a line feed in it", chunk, event("audio-chunk", {"rate": 16000}, b"\x00\n\xff{")),
        case(
            "the data block is merged over the data",
            b'{"type":"x","data":{"a":1,"b":2},"data_length":13}\n{"b":3,"c":4}',
            event("x", {"a": 1, "b": 3, "c": 4}),
        ),
        case(
            "data block and payload",
            b'{"type":"x","data_length":7,"payload_length":2}\n{"a":1}ab{"type":"y"}\n',
            event("x", {"a": 1}, b"ab"),
            event("y"),
        ),
        case("null lengths and data", b'{"type":"x","data":null,"data_length":null}\n', event("x")),
        case("minus zero is zero", b'{"type":"x","payload_length":-0}\n', event("x")),
        case("unknown members", b'{"type":"x","version":"1.5.4","more":[1]}\n', event("x")),
        case("spaces around", b' \t{ "type" :\r"x" } \n', event("x")),
        case("spaces in the data block", b'{"type":"x","data_length":6}\n\n{\r\n\t}', event("x")),
        case("half a header", b'{"type":"x"}\n{"typ', event("x"), mid_event=True),
        case("half a data block", b'{"type":"x","data_length":9}\n{"a"', mid_event=True),
        case("half a payload", b'{"type":"x","payload_length":2}\na', mid_event=True),
        case(
            "a bad block waits for its payload",
            b'{"type":"x","data_length":1,"payload_length":1}\n?',
            mid_event=True,
        ),
        case(
            "a bad block and its payload", b'{"type":"x","data_length":1,"payload_length":1}\n?a', error="bad-data"
        ),
        case("a header of just the limit", b'{"type":"x1234567" }\n', event("x1234567"), limits=small),
        case("a header over the limit", b'{"type":"x12345678" }\n', error="header-too-long", limits=small),
        case("a header over the limit without an end", b" " * 21, error="header-too-long", limits=small),
        case("a header at the limit without an end", b" " * 20, mid_event=True, limits=small),
        case(
            "a block and a payload of just the limit",
            b'{"type":"x","data_length":8,"payload_length":8}\n{"a":12}12345678',
            event("x", {"a": 12}, b"12345678"),
            limits={**small, "header_bytes": 64},
        ),
        *(
            case(
                f"{name} over the limit",
                f'{{"type":"x","{name}":9}}\n'.encode(),
                error="payload-too-long",
                limits={**small, "header_bytes": 64},
            )
            for name in ("data_length", "payload_length")
        ),
        case("the default limit", b'{"type":"x","payload_length":65537}\n', error="payload-too-long"),
        case(
            "good ones before a bad one",
            b'{"type":"a"}\n{"type":"b"}\n?\n',
            event("a"),
            event("b"),
            error="bad-header",
        ),
    ]


def headers() -> list[tuple[bytes, Case]]:
    """Headers that are refused."""
    bad = {
        "an empty line": b"",
        "no object": b'["type"]',
        "a text": b'"type"',
        "no type": b"{}",
        "type null": b'{"type":null}',
        "type empty": b'{"type":""}',
        "type a number": b'{"type":1}',
        "data a list": b'{"type":"x","data":[]}',
        "data false": b'{"type":"x","data":false}',
        "a length that is negative": b'{"type":"x","payload_length":-1}',
        "a length that is negative and huge": b'{"type":"x","payload_length":-' + b"9" * 30 + b"}",
        "a length with a point": b'{"type":"x","payload_length":1.0}',
        "a length with an exponent": b'{"type":"x","data_length":1e1}',
        "a length that is true": b'{"type":"x","data_length":true}',
        "a length that is a text": b'{"type":"x","data_length":"1"}',
        "a length in hexadecimal": b'{"type":"x","data_length":0x1}',
        "two values": b'{"type":"x"}{}',
        "a comma at the end": b'{"type":"x",}',
        "a list with a comma at the end": b'{"type":"x","a":[1,]}',
        "no colon": b'{"type" "x"}',
        "no comma": b'{"type":"x" "a":1}',
        "no name": b"{:1}",
        "single quotes": b"{'type':'x'}",
        "a comment": b'{"type":"x"/**/}',
        "no end": b'{"type":"x"',
        "no end of a text": b'{"type":"x}',
        "a leading zero": b'{"type":"x","a":01}',
        "a leading plus": b'{"type":"x","a":+1}',
        "a leading point": b'{"type":"x","a":.5}',
        "a point at the end": b'{"type":"x","a":1.}',
        "an exponent without digits": b'{"type":"x","a":1e+}',
        "a minus alone": b'{"type":"x","a":-}',
        "a number of too many digits": b'{"type":"x","a":' + b"9" * 4301 + b"}",
        "NaN": b'{"type":"x","a":NaN}',
        "Infinity": b'{"type":"x","a":[Infinity]}',
        "-Infinity": b'{"type":"x","a":{"b":-Infinity}}',
        "too large for a number": b'{"type":"x","a":1e999}',
        "True": b'{"type":"x","a":True}',
        "a byte order mark": b'\xef\xbb\xbf{"type":"x"}',
        "UTF-16": '{"type":"x"}'.encode("utf-16-le").replace(b"\n", b""),
        "a tab in a text": b'{"type":"x\ty"}',
        "a zero byte in a text": b'{"type":"x\x00"}',
        "a zero byte at the end": b'{"type":"x"}\x00',
        "a no-break space outside": b'{"type":\xc2\xa0"x"}',
        "an unknown escape": rb'{"type":"\x"}',
        "an escape without hexadecimal": rb'{"type":"\u00g0"}',
        "an escape without an end": b'{"type":"\\u00',
        "half a pair": rb'{"type":"x","a":"\ud83d"}',
        "the other half": rb'{"type":"x","a":"\ude00"}',
        "a pair the wrong way round": rb'{"type":"x","a":"\ude00\ud83d"}',
        "half a pair before a character": rb'{"type":"x","a":"\ud83dA"}',
        "half a pair in a name": rb'{"type":"x","a":{"\ud83d":1}}',
        "half a pair in the type": rb'{"type":"\ud83d"}',
        "an overlong slash": b'{"type":"x\xc0\xaf"}',
        "an overlong form of three bytes": b'{"type":"x\xe0\x9f\xbf"}',
        "a surrogate in UTF-8": b'{"type":"x\xed\xa0\x80"}',
        "above U+10FFFF": b'{"type":"x\xf4\x90\x80\x80"}',
        "a byte that is never UTF-8": b'{"type":"x\xff"}',
        "a continuation alone": b'{"type":"x\x80"}',
        "half a character": b'{"type":"x\xe2\x82"}',
        "not UTF-8 behind the value": b'{"type":"x"} \xff',
        "33 levels": b'{"type":"x",' + text_of(33) + b"}",
        "33 levels in objects": b'{"type":"x","a":'
        + b'{"a":' * 31
        + b"{}"
        + b"}" * 31
        + b',"b":[['
        + b"[" * 30
        + b"]" * 32
        + b"}",
        "8000 levels": b'{"type":"x",' + text_of(8000) + b"}",
        "a bad last one of two": b'{"type":"x","a":1,"a":NaN}',
        "a type that was good before": b'{"type":"x","type":1}',
        "a length that was good before": b'{"type":"x","data_length":0,"data_length":0.5}',
    }
    return [case(f"header: {name}", line + b"\n", error="bad-header") for name, line in bad.items()]


def values() -> list[tuple[bytes, Case]]:
    """What has to be taken, and as what."""
    # As text: a Python literal of half a pair would not be the JSON that is meant.
    good: dict[str, tuple[bytes, dict[str, Any]]] = {
        "numbers": (
            b'{"a":0,"b":-1,"c":1.5,"d":-2.5e-3,"e":1E2,"f":1e-999,"g":-0.0}',
            {"a": 0, "b": -1, "c": 1.5, "d": -0.0025, "e": 100.0, "f": 0.0, "g": 0.0},
        ),
        "large numbers": (
            b'{"a":9007199254740993,"b":9223372036854775807,"c":-9223372036854775808,"d":1.7976931348623157e308}',
            {"a": 9007199254740993, "b": 2**63 - 1, "c": -(2**63), "d": 1.7976931348623157e308},
        ),
        "words": (b'{"a":true,"b":false,"c":null}', {"a": True, "b": False, "c": None}),
        "lists and objects": (b'{"a":[],"b":{},"c":[1,[2,{"d":3}]]}', {"a": [], "b": {}, "c": [1, [2, {"d": 3}]]}),
        "escapes": (
            rb'{"a":"\"\\\/\b\f\n\r\t","b":"\u00e4\u00E4\u0000","c":"\ud83d\ude00"}',
            {"a": '"\\/\b\f\n\r\t', "b": "ää\0", "c": "\U0001f600"},
        ),
        "UTF-8": (
            '{"ä":"مرحبا","e":"😀\u2028\x7f\ufeff\uffff"}'.encode(),
            {"ä": "مرحبا", "e": "😀\u2028\x7f\ufeff\uffff"},
        ),
        "an empty name": (b'{"":1}', {"": 1}),
        "32 levels": (b"{" + text_of(32) + b"}", {"a": json.loads("[" * 31 + "]" * 31)}),
        "the last of two counts": (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        "the last of two counts, and the first may be anything": (
            rb'{"a":NaN,"a":1,"b":"\ud800","b":2,"c":' + b"[" * 40 + b"]" * 40 + b',"c":3,"d":{"e":1e999},"d":4}',
            {"a": 1, "b": 2, "c": 3, "d": 4},
        ),
    }
    cases = []
    for name, (block, data) in good.items():
        header = f'{{"type":"x","data_length":{len(block)}}}\n'.encode()
        cases.append(case(f"data block: {name}", header + block, event("x", data)))
        if name != "32 levels":  # one more, in the header
            cases.append(case(f"header: {name}", b'{"type":"x","data":' + block + b"}\n", event("x", data)))
    for name, block in {
        "empty list": b"[]",
        "number": b"1",
        "33 levels": b"{" + text_of(33) + b"}",
        "not UTF-8": b'{"a":"\xff"}',
        "NaN": b'{"a":NaN}',
        "cut": b'{"a":1',
        "more": b'{"a":1}}',
        "spaces": b"   ",
    }.items():
        header = f'{{"type":"x","data_length":{len(block)}}}\n'.encode()
        cases.append(case(f"data block: {name}", header + block, error="bad-data"))
    return cases


def random_stream(source: random.Random) -> bytes:
    """A few events as the daemon or a stranger may write them, some of them damaged."""
    parts = []
    for _ in range(source.randint(1, 4)):
        data = random_object(source, 3)
        payload = source.randbytes(source.choice((0, 0, 3, 100, 140)))
        header: dict[str, Any] = {"type": source.choice(("partial", "level", "transcript", "ä", "x"))}
        block = b""
        if source.random() < 0.6:
            block = json.dumps(data, ensure_ascii=source.random() < 0.5).encode()
            header["data_length"] = len(block)
        elif data:
            header["data"] = data
        if payload:
            header["payload_length"] = len(payload)
        parts.append(json.dumps(header, ensure_ascii=source.random() < 0.5).encode() + b"\n" + block + payload)
    stream = bytearray(b"".join(parts))
    for _ in range(source.choice((0, 0, 1, 1, 2, 4))):
        where = source.randrange(len(stream))
        damage = source.randrange(4)
        if damage == 0:
            stream[where] = source.randrange(256)
        elif damage == 1:
            stream[where] = source.choice(b'{}[]",:\\\n0123456789-+.eEtfnuNI \x00\xc3\xed\xa0\xf4')
        elif damage == 2:
            del stream[where : where + source.randint(1, 8)]
        else:
            stream[where:where] = source.choice(
                (b"\\ud83d", b"NaN", b"1e999", b"\xed\xa0\x80", b'"', b"\n", b"[[[")
            )
    if source.random() < 0.1:
        del stream[source.randrange(len(stream)) :]
    return bytes(stream)


def random_object(source: random.Random, depth: int) -> dict[str, Any]:
    """Data with values of all kinds."""
    return {random_text(source): random_value(source, depth) for _ in range(source.randint(0, 3))}


def random_value(source: random.Random, depth: int) -> Any:
    kind = source.randrange(8 if depth else 6)
    if kind < 2:
        return source.choice((0, 1, -1, 2**31, 2**53 + 1, -(2**63), source.randint(-1000, 1000)))
    if kind == 2:
        return source.uniform(-1e3, 1e3)
    if kind == 3:
        return source.choice((True, False, None))
    if kind < 6:
        return random_text(source)
    if kind == 6:
        return [random_value(source, depth - 1) for _ in range(source.randint(0, 3))]
    return random_object(source, depth - 1)


def random_text(source: random.Random) -> str:
    alphabet = 'ab "\\/\n\0é€مرحبا😀\u2028'
    return "".join(source.choice(alphabet) for _ in range(source.randint(0, 6)))


def heard(stream: bytes, limits: dict[str, int]) -> Case:
    """What wire.py makes of a stream that comes in one piece."""
    from whisperd.errors import WhisperdError
    from whisperd.wire import Decoder

    decoder = Decoder(**limits)
    decoder.receive_data(stream)
    found, code = [], None
    try:
        while (got := decoder.next_event()) is not None:
            found.append(event(got.type, got.data, got.payload))
    except WhisperdError as error:
        code = error.code
    return {"events": found, "error": code, "mid_event": decoder.mid_event}


def randoms() -> list[tuple[bytes, Case]]:
    """Streams made by a generator with a fixed seed."""
    source = random.Random(SEED)
    cases = []
    for number in range(RANDOM_STREAMS):
        stream = random_stream(source)
        result = {"name": f"random {number}", "bytes": len(stream), "limits": SMALL, **heard(stream, SMALL)}
        cases.append((stream, result))
    return cases


def corpus() -> dict[str, bytes]:
    """The files, by name."""
    files = {}
    for name, cases in (("written", [*framing(), *headers(), *values()]), ("random", randoms())):
        files[f"{name}.bin"] = b"".join(stream for stream, _ in cases)
        lines = ",\n".join(json.dumps(expected, ensure_ascii=True, sort_keys=True) for _, expected in cases)
        files[f"{name}.json"] = f"[\n{lines}\n]\n".encode()
    return files


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "service"))
    FOLDER.mkdir(exist_ok=True)
    for name, content in corpus().items():
        (FOLDER / name).write_bytes(content)
        print(f"{FOLDER / name}: {len(content)} bytes")
