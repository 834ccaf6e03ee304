"""HTTP over TCP, where anybody may knock: who gets in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from http_daemon import Running, serve
from whisperd.config import HttpConfig

TOKEN = "a-token-of-enough-letters"


@pytest.fixture
def over_tcp(tmp_path: Path) -> Iterator[Running]:
    with serve(tmp_path / "s", settings=HttpConfig(hosts=("pi.local",)), tcp=True, token=TOKEN) as running:
        yield running


def test_a_token(over_tcp: Running) -> None:
    for head in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer \xfc".encode("latin-1")},
    ):
        for path in ("/", "/health", "/nowhere", "/stream"):
            answer = httpx.get(over_tcp.url + path, headers=head)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Bearer realm="whisperd"'
    for scheme in ("Bearer", "bearer"):
        assert httpx.get(over_tcp.url, headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200


def test_the_unix_socket_needs_none(over_tcp: Running) -> None:
    with over_tcp.client() as client:
        assert (
            client.get("/health", headers={"Host": "evil.example", "Origin": "http://evil.example"}).status_code
            == 200
        )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80", "pi.local:9000"])
def test_hosts_that_are_this_one(over_tcp: Running, host: str) -> None:
    head = {"Authorization": f"Bearer {TOKEN}", "Host": host}
    assert httpx.get(over_tcp.url, headers=head).status_code == 200
    assert httpx.get(over_tcp.url, headers={**head, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9000", "localhost.evil.example", "", "127.0.0.1.x"]
)
def test_dns_rebinding(over_tcp: Running, host: str) -> None:
    answer = httpx.get(over_tcp.url, headers={"Authorization": f"Bearer {TOKEN}", "Host": host})
    assert (answer.status_code, answer.json()["field"]) == (403, "Host")


def test_pages_of_other_sites(over_tcp: Running) -> None:
    head = {"Authorization": f"Bearer {TOKEN}"}
    for origin in ("http://evil.example", "null", over_tcp.url.replace("127.0.0.1", "localhost")):
        answer = httpx.post(f"{over_tcp.url}/transcribe", headers={**head, "Origin": origin})
        assert (answer.status_code, answer.json()["field"]) == (403, "Origin")
        assert not [name for name in answer.headers if name.startswith("access-control")]
