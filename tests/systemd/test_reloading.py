"""`systemctl reload`: another model in the same process, and what happens where it is no good."""

from __future__ import annotations

import json
import shutil
from typing import Any

from machine import MEMBER, Machine
from speech import words
from test_operating import SAMPLE, SPOKEN, make_long_clip

MODELS = "/usr/share/whisper/models"


def configure(machine: Machine, text: str) -> None:
    machine.path("/etc/whisperd/whisperd.toml").write_text(text)


def status(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("whisperctl", "status", "--json").stdout)
    return found


def reload(machine: Machine) -> dict[str, Any]:
    """Reload, wait for its end, and return the status then."""
    cursor = machine.cursor()
    machine.run("systemctl", "reload", "whisperd.service")
    machine.wait(
        "the reload ends", lambda: "reloaded: " in (m := machine.messages(cursor)) or "reload refused" in m
    )
    machine.wait("the unit is active again", lambda: machine.show("ActiveState") == "active")
    return status(machine)


def test_another_model_in_the_same_process_while_a_request_runs(machine: Machine) -> None:
    before, cursor = machine.wait_ready(), machine.cursor()
    client = machine.start("whisperctl", "transcribe", "--json", make_long_clip(machine, 60), user=MEMBER)
    machine.wait("the request runs", lambda: status(machine)["running"] == 1)
    configure(machine, f'[model]\npath = "{MODELS}/tiny.en"\n')
    after = reload(machine)
    assert (after["model"], after["reload_error"]) == ("tiny.en", "")
    said, complaint = client.communicate(timeout=120)
    answer = json.loads(said)
    assert answer["audio_seconds"] > 200 and "airport" in answer["text"], complaint
    assert machine.show("MainPID") == before
    assert "tiny.en: " in machine.show("StatusText")
    messages = machine.messages(cursor)
    assert "now serving tiny.en (int8)" in messages and "reloaded: changed model.path" in messages
    assert words(machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER).stdout) == words(SPOKEN)


def test_a_wrong_configuration_keeps_the_old(machine: Machine) -> None:
    before, cursor = machine.wait_ready(), machine.cursor()
    configure(machine, '[model]\nlangauge = "en"\n')
    after = reload(machine)
    assert after["model"] == "base"
    assert "did you mean 'language'?" in after["reload_error"]
    assert "reload refused: /etc/whisperd/whisperd.toml: unknown key 'langauge'" in machine.show("StatusText")
    refusal = [e for e in machine.journal(f"--after-cursor={cursor}") if "reload refused" in e["MESSAGE"]]
    assert [e["PRIORITY"] for e in refusal] == ["3"]
    assert machine.show("MainPID") == before
    assert words(machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER).stdout) == words(SPOKEN)
    # The next good one clears it.
    configure(machine, "[limits]\nmax_connections = 3\n")
    assert reload(machine)["reload_error"] == ""
    assert machine.show("StatusText") == "base: idle, 0 waiting, 0 connections"


def test_a_corrupt_bundle_keeps_the_old(machine: Machine) -> None:
    before = machine.wait_ready()
    broken = machine.path(f"{MODELS}/broken")
    shutil.copytree(machine.path(f"{MODELS}/tiny.en"), broken)
    with (broken / "decoder.data").open("r+b") as file:
        file.truncate(1000)
    configure(machine, f'[model]\npath = "{MODELS}/broken"\n')
    try:
        after = reload(machine)
    finally:
        shutil.rmtree(broken)
    assert after["model"] == "base"
    assert "decoder.data has 1000 bytes" in after["reload_error"]
    assert "decoder.data has 1000 bytes" in machine.status()
    assert machine.show("MainPID") == before
    assert words(machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER).stdout) == words(SPOKEN)
