"""What systemd does when the daemon dies, hangs, or cannot start."""

from __future__ import annotations

import json
import math

from machine import MEMBER, Machine
from speech import words
from test_operating import SAMPLE, SPOKEN, make_long_clip

WATCHDOG_SECONDS = 6
"""Far below the unit's, for the tests' sake, and far above the pauses of a busy PC."""

SHORT_WATCHDOG = f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}s\n"

# Read by Python at its start. The worker hangs in the run-time as a broken kernel would make it hang: in a call
# that holds no lock and gives no sign.
STUCK_WORKER = """
import time
from whisperd.speech import model

def encode(self, mel, run_options=None):
    time.sleep(100000)

if "/whisperd" in open("/proc/self/cmdline").read():
    warm, whole = model.WhisperModel.encode, encode
    def first_only(self, mel, run_options=None):
        model.WhisperModel.encode = whole
        return warm(self, mel, run_options)
    model.WhisperModel.encode = first_only
"""


def transcribes(machine: Machine) -> bool:
    done = machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER)
    return words(done.stdout) == words(SPOKEN)


def test_killed(machine: Machine) -> None:
    before = machine.wait_ready()
    machine.run("systemctl", "kill", "--signal=SIGKILL", "whisperd.service")
    machine.wait_ready(other_than=before)
    assert transcribes(machine)


def test_stopped_in_its_tracks(machine: Machine) -> None:
    with machine.drop_in(SHORT_WATCHDOG):
        machine.run("systemctl", "restart", "whisperd.service")
        before, cursor = machine.wait_ready(), machine.cursor()
        machine.run("systemctl", "kill", "--signal=SIGSTOP", "whisperd.service")
        machine.wait_ready(other_than=before)
        assert "Watchdog timeout" in machine.messages(cursor)
        assert transcribes(machine)


def test_a_stuck_worker_behind_a_living_event_loop(machine: Machine) -> None:
    machine.path("/opt/stuck").mkdir(exist_ok=True)
    machine.path("/opt/stuck/sitecustomize.py").write_text(STUCK_WORKER)
    with machine.drop_in(SHORT_WATCHDOG + "Environment=PYTHONPATH=/opt/stuck\n"):
        machine.run("systemctl", "restart", "whisperd.service")
        before, cursor = machine.wait_ready(), machine.cursor()
        client = machine.start("whisperctl", "transcribe", "--json", SAMPLE, user=MEMBER)
        machine.wait("the request runs", lambda: "base: busy" in machine.show("StatusText"))
        # The loop lives: it answers, in the process that hangs.
        assert json.loads(machine.run("whisperctl", "status", "--json").stdout)["running"] == 1
        assert machine.show("MainPID") == before
        machine.wait_ready(other_than=before)
        said, _ = client.communicate(timeout=60)
    assert json.loads(said)["error"]["code"] == "connection-lost"
    messages = machine.messages(cursor)
    assert "the inference worker makes no progress" in messages
    assert "Watchdog timeout" in messages
    # faulthandler's: the place where it hung.
    assert "sitecustomize.py" in messages and "in encode" in messages
    machine.run("systemctl", "restart", "whisperd.service")
    assert transcribes(machine)


def test_a_long_file_does_not_trip_the_watchdog(machine: Machine) -> None:
    trial = json.loads(machine.run("whisperctl", "transcribe", "--json", make_long_clip(machine, 10)).stdout)
    # Three times what the watchdog waits for, by this PC's speed, as far as a clip may be so long (600 s).
    times = 10 * 3000 * WATCHDOG_SECONDS / (trial["encode_ms"] + trial["decode_ms"])
    clip = make_long_clip(machine, min(170, math.ceil(times)))
    with machine.drop_in(SHORT_WATCHDOG):
        machine.run("systemctl", "restart", "whisperd.service")
        before = machine.wait_ready()
        said = machine.run("whisperctl", "transcribe", "--json", clip, user=MEMBER, timeout=900).stdout
        assert machine.show("MainPID") == before
    answer = json.loads(said)
    # Or it would have proved nothing.
    assert answer["encode_ms"] + answer["decode_ms"] > 1000 * WATCHDOG_SECONDS
    assert "airport" in answer["text"]


def test_a_corrupt_model_ends_in_failed_and_says_why(machine: Machine) -> None:
    encoder = machine.path("/usr/share/whisper/models/base/encoder.data")
    good = encoder.read_bytes()
    machine.run("systemctl", "stop", "whisperd.service")
    try:
        encoder.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        machine.run("systemctl", "start", "whisperd.service", check=False)
        machine.wait(
            "the restarts end", lambda: machine.show("ActiveState") == "failed" and not machine.show("Job")
        )
        status = machine.status()
        assert "Active: failed" in status
        assert 'Status: "failed: /usr/share/whisper/models/base/encoder.data was changed' in status
        assert "encoder.data was changed: its sha256 is not the manifest's; make one with" in status
        assert "Start request repeated too quickly" in status
        assert int(machine.show("NRestarts")) == 5
        # A client is not left waiting for a daemon that does not come.
        done = machine.run("whisperctl", "status", user=MEMBER, check=False, timeout=60)
        assert done.returncode == 3 and "whisperd" in done.stderr
    finally:
        encoder.write_bytes(good)
    # As docs/operations.md says.
    machine.run("systemctl", "reset-failed", "whisperd.socket", "whisperd.service", check=False)
    machine.run("systemctl", "start", "whisperd.service")
    assert transcribes(machine)


def test_a_wrong_configuration_is_in_the_status(machine: Machine) -> None:
    machine.path("/etc/whisperd/whisperd.toml").write_text('[model]\nlangauge = "en"\n')
    machine.run("systemctl", "restart", "whisperd.service", check=False)
    wrong = "unknown key 'langauge' in section [model]; did you mean 'language'?"
    machine.wait(
        "the status tells", lambda: f'Status: "failed: /etc/whisperd/whisperd.toml: {wrong}' in machine.status()
    )
    errors = machine.journal("--priority=err", "--boot")
    assert any(wrong in entry["MESSAGE"] and entry["PRIORITY"] == "3" for entry in errors)
