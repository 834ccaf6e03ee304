"""The resumable download: whatever the server does, the result is the pinned file or one clear sentence."""

from __future__ import annotations

import hashlib
import io
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import loopback
import numpy as np
import pytest
from convert_model import download as module
from convert_model.download import DiskError, FetchError, NeedsClientError, Wanted, download, make_opener
from convert_model.progress import Progress

DATA = np.random.default_rng(3).bytes(700_000)
WANTED = Wanted("model.whl", len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Loopback]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with loopback.serve() as state:
        state.files["/model.whl"] = DATA
        yield state


class Run:
    """One download into a fresh folder, with its pauses and its words recorded."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "model.whl"
        self.part = folder / "model.whl.part"
        self.pauses: list[float] = []
        self.words = io.StringIO()

    def __call__(self, url: str, wanted: Wanted = WANTED) -> None:
        progress = Progress(bar=False, stream=self.words)
        download(url, self.target, wanted, progress, sleep=self.pauses.append)

    def refused(self, url: str, wanted: Wanted = WANTED) -> str:
        with pytest.raises(FetchError) as caught:
            self(url, wanted)
        assert not self.target.exists()
        text = str(caught.value)
        assert "\n" not in text
        assert wanted.name in text
        return text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def assert_done(run: Run) -> None:
    assert run.target.read_bytes() == DATA
    assert not run.part.exists()


def test_whole_file_in_one_request(run: Run, server: loopback.Loopback) -> None:
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert server.ranges == [None]
    assert run.pauses == []


@pytest.mark.parametrize("there", [1, 300_000, len(DATA) - 1])
def test_goes_on_where_an_earlier_run_stopped(run: Run, server: loopback.Loopback, there: int) -> None:
    run.part.write_bytes(DATA[:there])
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert server.ranges == [f"bytes={there}-"]


def test_part_that_is_whole_needs_no_request(run: Run, server: loopback.Loopback) -> None:
    run.part.write_bytes(DATA)
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert server.requests == []


def test_connection_breaks_again_and_again(run: Run, server: loopback.Loopback) -> None:
    server.faults = [("cut", 100_000), ("cut", 100_000), "hang up", 503, ("cut", 1)]
    run(f"{server.url}/model.whl")
    assert_done(run)
    expected = [None, "bytes=100000-", "bytes=200000-", "bytes=200000-", "bytes=200000-", "bytes=200001-"]
    assert server.ranges == expected
    # Pauses grow while nothing comes, and are short again after an attempt that brought something.
    assert run.pauses == [0.5, 0.5, 1.0, 2.0, 0.5]


def test_server_without_ranges(run: Run, server: loopback.Loopback) -> None:
    run.part.write_bytes(DATA[:1000])
    server.every = "no range"
    run(f"{server.url}/model.whl")
    assert_done(run)


def test_answer_without_length(run: Run, server: loopback.Loopback) -> None:
    server.every = "no length"
    run(f"{server.url}/model.whl")
    assert_done(run)


def test_range_that_was_not_asked_for_is_not_appended(run: Run, server: loopback.Loopback) -> None:
    run.part.write_bytes(DATA[:1000])
    server.faults = ["other range"]
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert len(server.requests) == 2


def test_range_not_satisfiable_begins_again(run: Run, server: loopback.Loopback) -> None:
    run.part.write_bytes(DATA[:1000])
    server.faults = [416]
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("there", [5000, len(DATA), len(DATA) + 1])
def test_piece_of_another_file_is_thrown_away(run: Run, server: loopback.Loopback, there: int) -> None:
    run.part.write_bytes(b"x" * there)
    run(f"{server.url}/model.whl")
    assert_done(run)
    assert server.ranges[-1] is None


def test_wrong_bytes_are_refused_and_not_kept(run: Run, server: loopback.Loopback) -> None:
    server.files["/model.whl"] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    assert WANTED.sha256 in run.refused(f"{server.url}/model.whl")
    assert not run.part.exists()
    run.part.write_bytes(DATA[:100])
    run.refused(f"{server.url}/model.whl")
    assert not run.part.exists()


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("there", [0, 10])
def test_file_of_another_size(run: Run, server: loopback.Loopback, change: int, there: int) -> None:
    server.files["/model.whl"] = (DATA + b"x")[: len(DATA) + change]
    run.part.write_bytes(DATA[:there])
    assert f"has {len(DATA) + change} bytes instead of {len(DATA)}" in run.refused(f"{server.url}/model.whl")
    assert len(server.requests) == 1


def test_more_than_promised_is_not_stored(run: Run, server: loopback.Loopback) -> None:
    server.files["/model.whl"] = DATA + DATA
    server.every = "no length"
    assert f"sends more than {len(DATA)} bytes" in run.refused(f"{server.url}/model.whl")
    assert run.part.stat().st_size == 0


@pytest.mark.parametrize("status", [404, 410, 400])
def test_not_there_is_not_tried_again(run: Run, server: loopback.Loopback, status: int) -> None:
    server.every = status
    run.part.write_bytes(DATA[:10])
    assert f"HTTP status {status}" in run.refused(f"{server.url}/model.whl")
    assert len(server.requests) == 1
    assert run.part.read_bytes() == DATA[:10]


@pytest.mark.parametrize("status", [401, 403, 407])
def test_credentials_are_the_package_clients_business(run: Run, server: loopback.Loopback, status: int) -> None:
    server.every = status
    with pytest.raises(NeedsClientError, match=str(status)):
        run(f"{server.url}/model.whl")
    assert len(server.requests) == 1


def test_untrusted_certificate_is_the_package_clients_business(tmp_path: Path) -> None:
    class Untrusted(urllib.request.BaseHandler):
        def https_open(self, request: urllib.request.Request) -> None:
            raise urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    opener = urllib.request.OpenerDirector()
    opener.add_handler(Untrusted())
    with pytest.raises(NeedsClientError, match="certificate is not trusted"):
        download("https://127.0.0.1/x", tmp_path / "x", WANTED, Progress(bar=False), opener=opener)


def test_attempts_that_bring_nothing_are_bounded(run: Run, server: loopback.Loopback) -> None:
    server.faults = [("cut", 1234)]
    server.every = 503
    text = run.refused(f"{server.url}/model.whl")
    assert "HTTP status 503" in text
    assert f"1234 of {len(DATA)} bytes are kept" in text
    assert len(server.requests) == 1 + module.MAX_FAILURES
    assert run.part.read_bytes() == DATA[:1234]
    server.every = None
    run(f"{server.url}/model.whl")
    assert_done(run)


def test_attempts_that_bring_a_byte_each_are_bounded(run: Run, server: loopback.Loopback) -> None:
    server.every = ("cut", 1)
    assert f"broke {module.MAX_ATTEMPTS} times" in run.refused(f"{server.url}/model.whl")
    assert len(server.requests) == module.MAX_ATTEMPTS
    assert max(run.pauses) <= module.MAX_BACKOFF_SECONDS


def test_nobody_listens(run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert "no connection" in run.refused(f"http://127.0.0.1:{port}/model.whl")
    assert len(run.pauses) == module.MAX_FAILURES - 1


def test_file_address(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "source with space.whl"
    source.write_bytes(DATA)
    run.part.write_bytes(DATA[:77])
    run(source.as_uri())
    assert_done(run)


def test_file_address_of_nothing(run: Run, tmp_path: Path) -> None:
    assert "nothing.whl" in run.refused((tmp_path / "nothing.whl").as_uri())
    assert run.pauses == []


def test_other_addresses_are_refused(run: Run) -> None:
    for url in ("ftp://127.0.0.1/x", "data:,x", "x.whl"):
        assert "cannot fetch from an address" in run.refused(url)


def test_full_disk(run: Run, server: loopback.Loopback) -> None:
    run.part.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="no space left on the disk"):
        run(f"{server.url}/model.whl")
    assert len(server.requests) == 1
    assert not run.target.exists()


def test_folder_that_is_not_there(tmp_path: Path, server: loopback.Loopback) -> None:
    with pytest.raises(DiskError, match="No such file"):
        download(f"{server.url}/model.whl", tmp_path / "no" / "x", WANTED, Progress(bar=False))


def test_authorities_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(FetchError, match=r"certificate authorities .*ca\.pem"):
        make_opener(authorities=tmp_path / "ca.pem")


def test_proxy_is_used(run: Run, server: loopback.Loopback) -> None:
    server.files["http://nowhere.invalid/model.whl"] = DATA
    opener = make_opener(proxy=server.url)
    download("http://nowhere.invalid/model.whl", run.target, WANTED, Progress(bar=False), opener=opener)
    assert_done(run)


def test_plain_progress_is_a_few_lines(run: Run, server: loopback.Loopback) -> None:
    run.part.write_bytes(DATA[:350_000])
    run(f"{server.url}/model.whl")
    lines = run.words.getvalue().splitlines()
    assert lines[0] == "model.whl: 0.7 MB, 0.3 MB are there already"
    assert lines[-1] == "model.whl: 100%"
    assert 2 <= len(lines) <= 7


def test_bar_names_the_file(run: Run, server: loopback.Loopback) -> None:
    words = io.StringIO()
    download(f"{server.url}/model.whl", run.target, WANTED, Progress(bar=True, stream=words))
    assert "model.whl" in words.getvalue()
    assert_done(run)


def test_bar_only_on_a_terminal() -> None:
    assert not Progress(stream=io.StringIO()).bar
