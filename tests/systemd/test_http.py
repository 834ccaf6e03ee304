"""HTTP on the second socket: not there unless it is enabled, and over TCP only by the drop-in that allows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import rootfs
from machine import MEMBER, STRANGER, Machine
from speech import words
from test_operating import SAMPLE, SPOKEN

SOCKET = "/run/whisperd/http.sock"
UNIT = "whisperd-http.socket"
EXAMPLE = rootfs.ROOT / "service/systemd/whisperd-tcp.conf"
TOKEN = "correct-horse-battery-staple"

#: A client of the standard library: where (a path or host:port), method, path, and perhaps a file and a token.
CLIENT = """
import http.client, socket, sys
where, method, path, *rest = sys.argv[1:]
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(where)
kind, host = (Unix, "localhost") if where.startswith("/") else (http.client.HTTPConnection, where)
client = kind(host, timeout=120)
body, headers = None, {}
if rest and rest[0]:
    body = b'--x\\r\\nContent-Disposition: form-data; name="audio_file"; filename="a.wav"\\r\\n\\r\\n'
    body += open(rest[0], "rb").read() + b"\\r\\n--x--\\r\\n"
    headers["Content-Type"] = "multipart/form-data; boundary=x"
if rest[1:]:
    headers["Authorization"] = "Bearer " + rest[1]
client.request(method, path, body, headers)
answer = client.getresponse()
print(answer.status, answer.read().decode())
"""


def ask(machine: Machine, *arguments: str, where: str = SOCKET, user: str = MEMBER) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    said = machine.run("/usr/bin/python3", "-c", CLIENT, where, *arguments, user=user).stdout
    status, _, body = said.partition(" ")
    return int(status), json.loads(body)


@pytest.fixture
def http(machine: Machine) -> Iterator[Machine]:
    """The machine with the second socket, as docs/operations.md says."""
    machine.run("systemctl", "enable", UNIT)
    try:
        restart(machine)
        yield machine
    finally:
        machine.run("systemctl", "disable", "--now", UNIT)
        restart(machine)


def there(machine: Machine) -> bool:
    """Whether the file of the socket is; /run is a file system of the machine's own."""
    return machine.run("test", "-S", SOCKET, check=False).returncode == 0


def restart(machine: Machine) -> None:
    before = machine.show("MainPID")
    machine.run("systemctl", "restart", "whisperd.service")
    machine.wait_ready(before)


def test_it_is_not_there_unless_it_is_enabled(machine: Machine) -> None:
    assert machine.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip() == "disabled"
    restart(machine)
    assert machine.run("systemctl", "is-active", UNIT, check=False).stdout.strip() == "inactive"
    assert not there(machine)


def test_both_sockets_are_one_daemon_s(http: Machine) -> None:
    assert ask(http, "GET", "/health")[0] == 200
    assert http.run("stat", "--format=%A %U %G", SOCKET).stdout.strip() == "srw-rw---- root whisper"
    status, answer = ask(http, "POST", "/transcribe", SAMPLE)
    assert status == 200 and words(answer["text"]) == words(SPOKEN)
    assert words(http.run("whisperctl", "transcribe", SAMPLE, user=MEMBER).stdout) == words(SPOKEN)
    refused = http.run("/usr/bin/python3", "-c", CLIENT, SOCKET, "GET", "/", user=STRANGER, check=False)
    assert refused.returncode == 1 and "PermissionError" in refused.stderr


def test_a_client_starts_the_daemon_and_waits_for_it(http: Machine) -> None:
    http.run("systemctl", "stop", "whisperd.service")
    assert http.show("SubState") == "dead"
    assert there(http), "it is systemd's"
    status, answer = ask(http, "POST", "/transcribe", SAMPLE)
    assert status == 200 and words(answer["text"]) == words(SPOKEN)
    assert http.show("SubState") == "running"


def test_who_stops_the_daemon_s_socket_stops_both(http: Machine) -> None:
    http.run("systemctl", "stop", "whisperd.socket", "whisperd.service")
    assert http.run("systemctl", "is-active", UNIT, check=False).stdout.strip() == "inactive"
    assert not there(http)
    http.run("systemctl", "start", "whisperd.service")
    assert ask(http, "GET", "/health")[0] == 200


def test_verify_says_nothing_of_it(http: Machine) -> None:
    with http.drop_in(EXAMPLE.read_text()):
        done = http.run("systemd-analyze", "verify", UNIT, "whisperd.socket", "whisperd.service")
        assert done.stdout + done.stderr == ""


def configure(machine: Machine, text: str) -> None:
    machine.path("/etc/whisperd/whisperd.toml").write_text(text)


def test_tcp_needs_the_drop_in(machine: Machine) -> None:
    configure(machine, '[http]\ntcp = "127.0.0.1:9000"\n')
    cursor = machine.cursor()
    try:
        assert machine.run("systemctl", "restart", "whisperd.service", check=False).returncode != 0
        assert "http.tcp: cannot listen on 127.0.0.1:9000" in machine.messages(cursor)
    finally:
        configure(machine, "")
        machine.run("systemctl", "reset-failed", "whisperd.service", check=False)
        machine.run("systemctl", "restart", "whisperd.service")
        machine.wait_ready()


def test_tcp_with_the_example_as_it_is_installed(machine: Machine) -> None:
    installed = machine.path("/usr/local/share/doc/whisperd/whisperd-tcp.conf")
    assert installed.read_text() == EXAMPLE.read_text()
    token = machine.path("/etc/whisperd/token")
    token.write_text(TOKEN + "\n")
    machine.run("sh", "-c", "chgrp whisperd /etc/whisperd/token && chmod 640 /etc/whisperd/token")
    configure(machine, '[http]\ntcp = "127.0.0.1:9000"\ntoken_file = "/etc/whisperd/token"\n')
    where = "127.0.0.1:9000"
    try:
        with machine.drop_in(installed.read_text()):
            restart(machine)
            assert ask(machine, "POST", "/transcribe", SAMPLE, where=where, user=STRANGER)[0] == 401
            status, answer = ask(machine, "POST", "/transcribe", SAMPLE, TOKEN, where=where, user=STRANGER)
            assert status == 200 and words(answer["text"]) == words(SPOKEN)
            assert machine.run("systemd-analyze", "verify", "whisperd.service").stderr == ""
    finally:
        configure(machine, "")
        token.unlink()
        restart(machine)


def test_the_example_says_what_it_widens() -> None:
    text = EXAMPLE.read_text()
    unit = EXAMPLE.with_name("whisperd.service").read_text()
    for closed, opened in (
        ("PrivateNetwork=yes", "PrivateNetwork=no"),
        ("RestrictAddressFamilies=AF_UNIX", "RestrictAddressFamilies=AF_INET AF_INET6"),
        ("IPAddressDeny=any", "IPAddressAllow=localhost"),
    ):
        assert f"\n{closed}\n" in unit and f"\n{opened}\n" in text
    settings = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    assert len(settings) == 3, "and nothing else"
