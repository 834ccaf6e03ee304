"""What an operator does: start, use, look, stop. The daemon is the installed one, with Whisper base."""

from __future__ import annotations

import json
import re
import stat

from machine import MEMBER, STRANGER, Machine
from speech import COMMITTED, words

SAMPLE = "/srv/sample.wav"
SPOKEN = COMMITTED[0].text
LONG_CLIP = (
    "import wave; w = wave.open('/srv/sample.wav'); pcm = w.readframes(w.getnframes()); "
    "out = wave.open('/srv/long.wav', 'wb'); out.setparams(w.getparams()); "
    "[out.writeframes(pcm) for _ in range({times})]; out.close()"
)


def make_long_clip(machine: Machine, times: int) -> str:
    """The sample so many times (3.5 s each); returns its name in the machine."""
    machine.run("/usr/bin/python3", "-c", LONG_CLIP.format(times=times))
    return "/srv/long.wav"


def test_what_the_install_step_did(booted: tuple[Machine, str]) -> None:
    machine, printed = booted
    for installed in (
        "/usr/local/lib/systemd/system/whisperd.service",
        "/usr/local/lib/systemd/system/whisperd.socket",
        "/usr/local/lib/systemd/system/whisperd-http.socket",
        "/usr/local/lib/sysusers.d/whisperd.conf",
        "/usr/local/lib/tmpfiles.d/whisperd.conf",
        "/etc/whisperd/whisperd.toml",
    ):
        assert stat.S_IMODE(machine.path(installed).stat().st_mode) == 0o644
        assert installed in printed
    groups = machine.run("id", "--name", "--groups", "whisperd").stdout.split()
    assert sorted(groups) == ["audio", "whisperd"]


def test_at_boot_it_started_to_ready(booted: tuple[Machine, str]) -> None:
    machine, _ = booted
    assert (
        machine.run("systemctl", "is-active", "whisperd.service", "whisperd.socket").stdout.split()
        == ["active"] * 2
    )
    assert machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout == ""
    assert machine.show("StatusText") == "base: idle, 0 waiting, 0 connections"
    texts = [entry["MESSAGE"] for entry in machine.journal("--boot")]
    warm = next(i for i, text in enumerate(texts) if text.startswith("model base (int8)"))
    ready = texts.index("ready on /run/whisperd/whisperd.sock")
    assert warm < ready
    assert machine.run("stat", "--format=%A %U %G", "/run/whisperd/whisperd.sock").stdout.strip() == (
        "srw-rw---- root whisper"
    )


def test_a_member_of_the_group_transcribes(machine: Machine) -> None:
    done = machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER)
    assert words(done.stdout) == words(SPOKEN)


def test_others_are_refused_and_told_what_to_do(machine: Machine) -> None:
    done = machine.run("whisperctl", "transcribe", SAMPLE, user=STRANGER, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "you are not in the group whisper" in done.stderr and "usermod -aG whisper" in done.stderr


def test_a_client_starts_the_stopped_service(machine: Machine) -> None:
    machine.run("systemctl", "stop", "whisperd.service")
    assert machine.show("ActiveState") == "inactive"
    assert machine.show("ActiveState", "whisperd.socket") == "active"
    done = machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER)
    assert words(done.stdout) == words(SPOKEN)
    machine.wait_ready()


def test_a_stop_during_a_request(machine: Machine) -> None:
    clip = make_long_clip(machine, 160)
    cursor = machine.cursor()
    client = machine.start("whisperctl", "transcribe", "--json", clip, user=MEMBER)
    machine.wait("the request runs", lambda: "base: busy" in machine.show("StatusText"))
    machine.run("systemctl", "stop", "whisperd.service")
    said, complaint = client.communicate(timeout=60)
    assert json.loads(said)["error"]["code"] == "shutting-down", complaint
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    messages = machine.messages(cursor)
    assert "outcome=shutting-down" in messages and "stopped" in messages.splitlines()
    times = {
        e["MESSAGE"]: int(e["__REALTIME_TIMESTAMP"]) / 1e6 for e in machine.journal(f"--after-cursor={cursor}")
    }
    # limits.stop_seconds is 5; what is over that is for a busy PC.
    assert times["stopped"] - times["stopping"] < 8


def test_the_journal_for_a_log_shipper(machine: Machine) -> None:
    machine.run("whisperctl", "transcribe", SAMPLE, user=MEMBER)
    machine.run("journalctl", "--sync")
    uid = machine.run("id", "--user", MEMBER).stdout.strip()
    entry = [e for e in machine.journal() if e["MESSAGE"].startswith(f"request uid={uid} ")][-1]
    assert re.fullmatch(
        rf"request uid={uid} pid=\d+ id=\S+ outcome=transcribed audio=3\.48s queue=\d+ms run=\d+ms encode=\d+ms"
        r" decode=\d+ms language=en",
        entry["MESSAGE"],
    )
    assert entry["PRIORITY"] == "6"
    assert entry["_SYSTEMD_UNIT"] == "whisperd.service"
    assert entry["SYSLOG_IDENTIFIER"] == "whisperd"
    assert entry["_UID"] == machine.run("id", "--user", "whisperd").stdout.strip()
    everything = machine.run("journalctl", "--no-pager").stdout.lower()
    assert "airport" in SPOKEN and "airport" not in everything


def test_memory_of_base(machine: Machine) -> None:
    machine.run("whisperctl", "transcribe", make_long_clip(machine, 10))
    status = machine.run("cat", f"/proc/{machine.show('MainPID')}/status").stdout
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak and int(peak[1]) < 300_000
