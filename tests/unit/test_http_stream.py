"""WS /stream: live speech over a WebSocket, with an engine that hears what it is told to."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from http_daemon import WAIT_SECONDS, Running, TalkingEngine, serve
from whisperd.config import HttpConfig, Limits
from whisperd.errors import WhisperdError
from whisperd.http.problems import BadBody, UnknownField
from whisperd.http.stream import read_start, read_text, samples_of

Socket = aiohttp.ClientWebSocketResponse
Talk = Callable[[Socket], Awaitable[None]]

# A second of a loud tone between two of silence: an utterance, to who goes by loudness.
TONE = np.sin(np.arange(16_000) * 0.3).astype(np.float32) * 0.5
SPOKEN = np.concatenate([np.zeros(8_000, np.float32), TONE, np.zeros(24_000, np.float32)])
SPOKEN += np.random.default_rng(1).normal(0, 1e-4, len(SPOKEN)).astype(np.float32)


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[Socket]:
    connector = aiohttp.UnixConnector(path=str(running.path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect("http://localhost/stream") as ws,
    ):
        yield ws


async def events(ws: Socket) -> list[dict[str, Any]]:
    """All that comes until the daemon closes."""
    found = []
    async for message in ws:
        assert message.type is aiohttp.WSMsgType.TEXT
        found.append(json.loads(message.data))
    return found


def talk(path: Path, story: Talk, engine: TalkingEngine | None = None, limits: Limits | None = None) -> Running:
    """Run a conversation; the server has no connection left behind it."""
    with serve(path / "s", engine or TalkingEngine(), limits) as running:

        async def run() -> None:
            async with connected(running) as ws:
                await story(ws)

        asyncio.run(asyncio.wait_for(run(), WAIT_SECONDS))
        for _ in range(500):
            if running.server.status()["connections"] == 0:
                break
            asyncio.run(asyncio.sleep(0.01))
        status = running.server.status()
        assert (status["connections"], status["buffered_seconds"]) == (0, 0.0)
        return running


async def say(ws: Socket, samples: Any, step: int = 1600) -> None:
    for start in range(0, len(samples), step):
        await ws.send_bytes(samples[start : start + step].tobytes())


def test_floats_at_16_khz_where_nothing_is_declared(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await say(ws, SPOKEN)
        await ws.send_str('{"type": "stop"}')
        found = await events(ws)
        assert ws.close_code == 1000
        kinds = [event["type"] for event in found if event["type"] != "level"]
        assert kinds[0] == "listening"
        assert kinds[-1] == "listen-stopped"
        assert [kind for kind in kinds if kind in ("voice-started", "voice-stopped", "final")] == [
            "voice-started",
            "voice-stopped",
            "final",
        ]
        [final] = [event for event in found if event["type"] == "final"]
        assert (final["text"], final["utterance"]) == ("Hello there. General Kenobi.", 0)
        assert 0 <= final["start"] < 0.6
        assert 1.4 < final["end"] <= 3.0
        assert any(event["type"] == "level" for event in found)
        assert not any("id" in event for event in found)
        assert found[-1]["utterances"] == 1

    running = talk(tmp_path, story)
    loud = max(int(np.abs(pcm).max()) for pcm, _ in running.engine.heard)
    assert loud == pytest.approx(16_384, abs=40)


@pytest.mark.parametrize(("kind", "rate", "channels"), [("s16", 16_000, 1), ("s16", 48_000, 2), ("f32", 8_000, 1)])
def test_declared_formats_mean_the_same(tmp_path: Path, kind: str, rate: int, channels: int) -> None:
    async def story(ws: Socket) -> None:
        declared = {"type": "start", "format": kind, "rate": rate, "channels": channels, "language": "de"}
        await ws.send_str(json.dumps(declared))
        places = np.arange(0, len(SPOKEN), 16_000 / rate).astype(int)
        samples = np.repeat(SPOKEN[places][:, None], channels, axis=1)
        await say(ws, (samples * 32767).astype("<i2") if kind == "s16" else samples)
        await ws.send_str('{"type": "stop"}')
        [final] = [event for event in await events(ws) if event["type"] == "final"]
        assert final["language"] == "de"
        assert final["audio_seconds"] == pytest.approx(1.5, abs=0.7)

    running = talk(tmp_path, story)
    assert max(int(np.abs(pcm).max()) for pcm, _ in running.engine.heard) == pytest.approx(16_384, rel=0.1)
    assert {options.language for _, options in running.engine.heard} == {"de"}


def test_push_to_talk_and_the_choices_for_live_speech(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        told = {"mode": "push-to-talk", "vad_sensitivity": "aggressive", "hotwords": ["Kenobi"]}
        await ws.send_str(json.dumps(told))
        await say(ws, np.concatenate([SPOKEN, SPOKEN]))
        await ws.send_str('{"type": "stop"}')
        found = await events(ws)
        assert found[0] == {"type": "listening", "mode": "push-to-talk", "device": None}
        assert len([event for event in found if event["type"] == "final"]) == 1

    running = talk(tmp_path, story)
    assert running.engine.heard[-1][1].hotwords == ("Kenobi",)


def test_a_large_message_is_cut_up(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await ws.send_bytes(SPOKEN.tobytes())
        await ws.send_str('{"type": "stop"}')
        assert [event["text"] for event in await events(ws) if event["type"] == "final"]

    talk(tmp_path, story, limits=Limits(payload_bytes=1001))


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ("no json", "bad-body", None),
        ("[]", "bad-body", None),
        ('{"format": "s24"}', "bad-option", "format"),
        ('{"rate": 100}', "bad-option", "rate"),
        ('{"rate": "16000"}', "bad-option", "rate"),
        ('{"channels": 9}', "bad-option", "channels"),
        ('{"langauge": "de"}', "unknown-field", "langauge"),
        ('{"mode": "now"}', "bad-option", "mode"),
        ('{"language": "xx"}', "unknown-language", None),
        ('{"beam_size": 2}', "unknown-field", "beam_size"),
        ('{"initial_prompt": "\\ud800"}', "bad-body", None),
        (b"\0\0\0", "bad-payload", None),
        (np.array([0.1, math.nan], np.float32).tobytes(), "bad-audio", None),
    ],
)
def test_what_is_wrong_is_named_and_ends_the_stream(
    tmp_path: Path, said: str | bytes, code: str, field: str | None
) -> None:
    async def story(ws: Socket) -> None:
        if isinstance(said, str):
            await ws.send_str(said)
        else:
            await ws.send_bytes(said)
        found = [event for event in await events(ws) if event["type"] not in ("listening", "level")]
        assert [event["type"] for event in found] == ["error"]
        assert (found[0]["code"], found[0].get("field")) == (code, field)
        assert ws.close_code == 1008

    talk(tmp_path, story)


def test_a_second_declaration_is_none(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await ws.send_str("{}")
        await ws.send_str('{"rate": 8000}')
        assert (await events(ws))[-1]["code"] == "bad-field"

    talk(tmp_path, story)


def test_a_message_over_the_limit(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        with suppress(ConnectionError):  # the daemon may have closed before it was all sent
            await ws.send_bytes(bytes((1 << 20) + 4))
        assert await events(ws) == []
        assert ws.closed

    talk(tmp_path, story)


def test_a_client_that_leaves(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await say(ws, SPOKEN[:16_000])
        await ws.receive()

    talk(tmp_path, story)


def test_silence_has_a_deadline(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await ws.send_str("{}")
        last = (await events(ws))[-1]
        assert (last["type"], last["code"], last["retry"]) == ("error", "timed-out", True)
        assert ws.close_code == 1013

    talk(tmp_path, story, limits=Limits(idle_seconds=1.0))


def test_no_second_slot_is_taken_and_a_last_one_is_enough(tmp_path: Path) -> None:
    async def story(ws: Socket) -> None:
        await say(ws, SPOKEN)
        await ws.send_str('{"type": "stop"}')
        assert [event["text"] for event in await events(ws) if event["type"] == "final"]

    talk(tmp_path, story, limits=Limits(max_connections=1))


def test_the_end_of_the_daemon_is_told(tmp_path: Path) -> None:
    async def run(running: Running) -> None:
        async with connected(running) as ws:
            await ws.send_str("{}")
            assert json.loads((await ws.receive()).data)["type"] == "listening"
            asyncio.run_coroutine_threadsafe(
                running.server.stop(), next(iter(running.server._listening)).get_loop()
            )
            last = (await events(ws))[-1]
            assert (last["code"], last["retry"]) == ("shutting-down", True)

    with serve(tmp_path / "s") as running:
        asyncio.run(asyncio.wait_for(run(running), WAIT_SECONDS))


def test_over_tcp_a_page_of_another_site_gets_no_websocket(tmp_path: Path) -> None:
    async def run(running: Running) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{running.url}/stream", origin="http://evil.example")
            assert caught.value.status == 403

    with serve(tmp_path / "s", settings=HttpConfig(), tcp=True) as running:
        asyncio.run(run(running))


# --- pure -------------------------------------------------------------------------------------------------------


def test_a_start_message() -> None:
    form = read_start({"rate": 8000, "format": "s16", "channels": 2, "language": None}, "a")
    assert (form.pcm.rate, form.pcm.width, form.pcm.channels, form.floats) == (8000, 2, 2, False)
    assert form.transcribe == {
        "id": "a",
        "live": True,
        "mode": "hands-free",
        "vad_sensitivity": "default",
        "language": None,
    }
    with pytest.raises(UnknownField):
        read_start({"x": 1}, "a")
    with pytest.raises(BadBody):
        read_text("[" * 100_000)


def test_floats_become_integers_without_overflow() -> None:
    form = read_start({}, "a")
    floats = np.array([0.0, 1.0, -1.0, 0.5, 7.0, -7.0, 1e-9], np.float32)
    found = np.frombuffer(samples_of(floats.tobytes(), form), "<i4")
    assert found.tolist() == [0, 2**31 - 1, -(2**31), 2**30, 2**31 - 1, -(2**31), 2]
    with pytest.raises(WhisperdError, match="sample 1 of a message is not a finite number"):
        samples_of(np.array([0.0, np.inf], np.float32).tobytes(), form)
