"""The streams of tests/data/wire: this codec makes of each what the C++ one makes of it, however it is split."""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from whisperd.errors import WhisperdError
from whisperd.wire import Decoder

DATA = Path(__file__).resolve().parents[1] / "data"
sys.path.insert(0, str(DATA))

import make_wire_corpus  # noqa: E402


def streams() -> list[tuple[dict[str, Any], bytes]]:
    found = []
    for listing in sorted((DATA / "wire").glob("*.json")):
        raw, start = listing.with_suffix(".bin").read_bytes(), 0
        for case in json.loads(listing.read_text("utf-8")):
            found.append((case, raw[start : start + case["bytes"]]))
            start += case["bytes"]
        assert start == len(raw), listing.name
    return found


def heard(case: dict[str, Any], parts: list[bytes]) -> dict[str, Any]:
    decoder = Decoder(**case["limits"])
    events: list[dict[str, Any]] = []
    code = None
    for part in parts:
        decoder.receive_data(part)
        try:
            while (event := decoder.next_event()) is not None:
                payload = base64.b64encode(event.payload).decode()
                events.append({"type": event.type, "data": event.data, "payload": payload})
        except WhisperdError as error:
            code = error.code
    return {"events": events, "error": code, "mid_event": decoder.mid_event}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in ("events", "error", "mid_event")}


@pytest.mark.parametrize("way", ["whole", "bytes", "random"])
def test_streams_give_their_events_however_they_are_split(way: str) -> None:
    cases = streams()
    assert len(cases) > 500
    source = random.Random(1)
    for case, stream in cases:
        cuts = {"whole": [], "bytes": list(range(len(stream)))}.get(way)
        if cuts is None:
            cuts = sorted(source.randrange(len(stream) + 1) for _ in range(5))
        parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert heard(case, parts) == expected(case), case["name"]


def test_the_corpus_has_every_error_and_much_that_is_good() -> None:
    cases = [case for case, _ in streams()]
    assert {case["error"] for case in cases} == {
        None,
        "bad-header",
        "bad-data",
        "header-too-long",
        "payload-too-long",
    }
    assert sum(len(case["events"]) for case in cases) > 300
    assert sum(case["mid_event"] for case in cases) > 20


def test_the_corpus_is_what_its_generator_makes() -> None:
    made = make_wire_corpus.corpus()
    assert made == {path.name: path.read_bytes() for path in (DATA / "wire").iterdir()}
