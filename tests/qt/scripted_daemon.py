"""A daemon that says what it is told to say: the tests in C++ start it, and play its part line by line.

    python scripted_daemon.py SOCKET

What it is sent it prints, a JSON object a line: {"type", "data", "payload_bytes"}; besides `connected`,
`disconnected` and, first of all, `listening-on`. What it reads on standard input it does, a JSON object a line:

    {"say": TYPE, "data": {…}}    an event to every client; "$id" in data is the id of the last request
    {…, "words": COUNT}           the same, with a segment of so many words
    {"raw": TEXT}                 these bytes (latin-1)
    {"auto": [TYPE, …]}           which requests it answers by itself from now on
    {"close": true}               close the connections
    {"deaf": true}                read no more

It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "service"))

from whisperd.wire import Decoder, Event, encode

LANGUAGES = ["en", "de", "ar", "fr", "es", "it", "nl", "pl", "tr", "uk", "ja", "zh"]
MODEL = {
    "name": "base",
    "attribution": {"name": "OpenAI Whisper", "url": ""},
    "installed": True,
    "description": "Whisper base, int8, licence MIT",
    "version": None,
    "languages": LANGUAGES,
}
DEVICES = [
    {"name": "default", "description": "Default audio device", "default": True},
    {"name": "plughw:1,0", "description": "USB PnP Sound Device", "default": False},
]
LIMITS = {"payload_bytes": 65536, "max_clip_seconds": 600.0, "idle_seconds": 300.0}
HELLO = {
    "protocol": 1,
    "server": "whisperd",
    "version": "0.1.0",
    "features": ["devices", "listen"],
    "limits": LIMITS,
}

READ_BYTES = 65536


def show(event_type: str, data: dict[str, Any] | None = None, payload_bytes: int = 0) -> None:
    print(json.dumps({"type": event_type, "data": data or {}, "payload_bytes": payload_bytes}), flush=True)


def segment(count: int) -> dict[str, Any]:
    """As docs/protocol.md has it, with a field of a time to come."""
    told = {"probability": 0.5, "confidence": 0.625, "new": [None]}
    words = [{"word": f" word{i}", "start": i / 5, "end": i / 5 + 0.1, **told} for i in range(count)]
    return {"start": 0.0, "end": count / 5, "text": "".join(w["word"] for w in words), "words": words}


class ScriptedDaemon:
    """State of the part that is played."""

    def __init__(self) -> None:
        self.auto = {"hello", "describe", "devices", "ping", "listen", "listen-stop", "cancel"}
        self.writers: list[asyncio.StreamWriter] = []
        self.last_id: str | None = None
        self.deaf = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        show("connected")
        self.writers.append(writer)
        decoder = Decoder()
        try:
            while not self.deaf and (data := await reader.read(READ_BYTES)):
                decoder.receive_data(data)
                while (event := decoder.next_event()) is not None:
                    self.hear(event, writer)
            while self.deaf:
                await asyncio.sleep(0.1)
        except ConnectionError:
            pass
        finally:
            self.writers.remove(writer)
            writer.close()
            show("disconnected")

    def hear(self, event: Event, writer: asyncio.StreamWriter) -> None:
        """Show an event, and answer it where nobody else does."""
        show(event.type, event.data, len(event.payload))
        if event.type in ("listen", "transcribe"):
            self.last_id = event.data.get("id")
        if event.type not in self.auto:
            return
        answers: dict[str, tuple[str, dict[str, Any]]] = {
            "hello": ("hello", HELLO),
            "describe": ("info", {"asr": [{"name": "whisperd", "version": "0.1.0", "models": [MODEL]}]}),
            "devices": ("devices", {"devices": DEVICES}),
            "ping": ("pong", {}),
            "listen": ("listening", {"mode": event.data.get("mode"), "device": "default"}),
            "listen-stop": ("listen-stopped", {"utterances": 0}),
            "cancel": ("cancelled", {"count": 1}),
        }
        answer, data = answers[event.type]
        request = {"id": event.data["id"]} if "id" in event.data else {}
        writer.write(encode(Event(answer, {**request, **data})))

    def do(self, line: dict[str, Any]) -> None:
        """One line of the script."""
        if "auto" in line:
            self.auto = set(line["auto"])
        if "deaf" in line:
            self.deaf = True
        raw = b""
        if "say" in line:
            data = {k: self.last_id if v == "$id" else v for k, v in line.get("data", {}).items()}
            if "words" in line:
                data["segments"] = [segment(line["words"])]
            raw = encode(Event(line["say"], data))
        if "raw" in line:
            raw = line["raw"].encode("latin-1")
        for writer in list(self.writers):
            if raw:
                writer.write(raw)
            if "close" in line:
                writer.close()


async def main(path: str) -> None:
    """Serve until standard input ends."""
    daemon = ScriptedDaemon()
    Path(path).unlink(missing_ok=True)
    await asyncio.start_unix_server(daemon.serve, path)
    show("listening-on", {"path": path})
    script = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(script), sys.stdin)
    while line := await script.readline():
        daemon.do(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
