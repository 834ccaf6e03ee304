"""The OpenAPI document against the server: schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from http_daemon import TalkingEngine, serve, wav
from whisperd.config import HttpConfig

HOOKS = """
import base64, pathlib
import schemathesis
from hypothesis import strategies as st

WAV = pathlib.Path({wav!r}).read_bytes()
# What no schema can say: that these bytes are a recording.
schemathesis.openapi.format("binary", st.just(WAV))
schemathesis.openapi.format("byte", st.just(base64.b64encode(WAV).decode()))

@schemathesis.hook
def before_call(context, case, kwargs):
    "Nor that times rise, or what a grammar is."
    if isinstance(case.body, dict):
        case.body.pop("clip_timestamps", None)
        case.body.pop("grammar", None)
"""

EXAMPLES, SEED = 12, 1
RUN_SECONDS = 300.0

#: Methods that are newer than the parser of the image's aiohttp are no HTTP to it: 400, where 405 is asked for.
OLD = ["unsupported_method"] if tuple(map(int, aiohttp.__version__.split(".")[:2])) < (3, 9) else []

FORMS = r"^/(transcribe|v1/audio/.*)$"


@pytest.mark.parametrize(
    ("which", "operations", "least", "without"),
    [
        (["--exclude-path-regex", FORMS], 8, 300, []),
        # To a form every value is a text: that `true` is wrong where a text is wanted cannot be seen in one.
        (["--include-path-regex", FORMS], 3, 300, ["negative_data_rejection"]),
    ],
    ids=["json", "forms"],
)
def test_the_document_is_true(
    tmp_path: Path, which: list[str], operations: int, least: int, without: list[str]
) -> None:
    """On valid and on invalid requests to every operation: the answers are as documented, what the document allows
    is accepted, what it forbids is refused, and nothing is a 500."""
    (tmp_path / "audio.wav").write_bytes(wav(0.2))
    (tmp_path / "hooks.py").write_text(HOOKS.format(wav=str(tmp_path / "audio.wav")))
    excluded = [*OLD, *without]
    settings = HttpConfig(max_upload_bytes=1 << 20)
    with serve(tmp_path / "s", TalkingEngine(), settings=settings, tcp=True) as running:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"),
                *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--no-color"),
                *which,
                *("--checks", "all"),
                *(("--exclude-checks", ",".join(excluded)) if excluded else ()),
            ],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        output = re.sub(r"(?m)^\s*curl .*$", "", done.stdout)  # thousands of letters each
        assert done.returncode == 0, f"{output[-16000:]}\n{done.stderr[-2000:]}"
        cases = re.search(r"(\d+) generated", done.stdout)
        assert cases and int(cases[1]) >= least, output[-2000:]
        assert re.search(rf"Tested: {operations}\n", done.stdout), output[-2000:]
        assert running.server.status()["buffered_seconds"] == 0
