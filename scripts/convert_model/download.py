"""Fetch one file of known size and SHA-256 over HTTP, going on where an earlier run or connection stopped.

The bytes gather in a ``.part`` file that outlives broken connections, errors and interrupts. Because the
content is pinned, going on needs no validators of HTTP: whatever was put together either has the right sum
or is thrown away and fetched once more from its start.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from .progress import Progress, Update
from .weights import WeightsError

TIMEOUT_SECONDS = 30.0
"""Of one network operation: connecting, or waiting for the next bytes."""

MAX_FAILURES = 6
"""Attempts in a row that brought nothing. One that brought bytes starts the count again."""

MAX_ATTEMPTS = 100
"""Attempts in all, so that a server that gives one byte at a time is given up on."""

MAX_BACKOFF_SECONDS = 16.0

_BLOCK = 256 * 1024
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be another next time."""

_NOT_OURS = frozenset({401, 403, 407})
"""HTTP statuses that ask for credentials, which the package client may have and this module has not."""


class FetchError(WeightsError):
    """Weights could not be fetched. One sentence, fit to be shown as it is."""


class NeedsClientError(FetchError):
    """It takes the package client: it may know credentials or certificate authorities, or have more time."""


class DiskError(FetchError):
    """The file system refused something."""


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched: its name for messages, size in bytes, SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class _PassingError(Exception):
    """Trying again may help."""


def download(
    url: str,
    target: Path,
    wanted: Wanted,
    progress: Progress,
    *,
    opener: urllib.request.OpenerDirector | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch ``url`` to ``target``, which appears only when it is whole and its SHA-256 is right.

    Goes on from ``target`` + ``.part`` where that exists. A broken connection is tried again with growing
    pauses, a bounded number of times. Raises `FetchError`.
    """
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise FetchError(f"{wanted.name}: cannot fetch from an address like {url!r}")
    part = target.with_name(target.name + ".part")
    opener = opener or make_opener()
    try:
        resumed = _size(part) > 0
        _gather(url, part, wanted, progress, opener, sleep)
        if not _matches(part, wanted) and resumed:
            # What an earlier run left may have been another file, or damaged: its bytes get one more chance.
            progress.say(f"{wanted.name}: the piece from an earlier run does not fit, starting over")
            part.unlink()
            _gather(url, part, wanted, progress, opener, sleep)
        if not _matches(part, wanted):
            part.unlink()
            raise FetchError(
                f"{wanted.name}: the server's file does not have the SHA-256 {wanted.sha256}; "
                "nothing of it is kept"
            )
        os.replace(part, target)
    except OSError as error:
        raise disk_error(error, part) from None


def disk_error(error: OSError, path: Path) -> DiskError:
    """The sentence for an error of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"no space left on the disk for {path}: free some, or choose another cache folder")
    return DiskError(f"{error.filename or path}: {error.strerror or error}")


def make_opener(proxy: str | None = None, authorities: Path | None = None) -> urllib.request.OpenerDirector:
    """An opener for http, https and file addresses.

    Args:
        proxy: of both schemes; where None, the environment's ``http_proxy`` and its like count.
        authorities: file or folder of certificate authorities to trust besides the system's.
    """
    context = ssl.create_default_context()
    try:
        if authorities is not None and authorities.is_dir():
            context.load_verify_locations(capath=authorities)
        elif authorities is not None:
            context.load_verify_locations(cafile=authorities)
    except OSError as error:
        raise FetchError(f"certificate authorities {authorities}: {_reason(error)}") from None
    proxies = None if proxy is None else {"http": proxy, "https": proxy}
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context)
    )


def _gather(
    url: str,
    part: Path,
    wanted: Wanted,
    progress: Progress,
    opener: urllib.request.OpenerDirector,
    sleep: Callable[[float], None],
) -> None:
    """Bring ``part`` to its full size."""
    if _size(part) > wanted.size:
        part.unlink()
    failures = attempts = 0
    with progress.task(wanted.name, wanted.size, _size(part)) as update:
        while (before := _size(part)) < wanted.size:
            if attempts == MAX_ATTEMPTS:
                raise FetchError(f"{wanted.name}: the connection broke {attempts} times; run again to go on")
            attempts += 1
            try:
                _attempt(url, part, wanted, opener, update)
                continue
            except _PassingError as error:
                reason = str(error)
            failures = failures + 1 if _size(part) <= before else 0
            if failures == MAX_FAILURES:
                raise FetchError(
                    f"{wanted.name}: {reason}, {failures} times in a row; "
                    f"{_size(part)} of {wanted.size} bytes are kept for the next run"
                )
            sleep(min(MAX_BACKOFF_SECONDS, 0.5 * 2**failures))


def _attempt(url: str, part: Path, wanted: Wanted, opener: urllib.request.OpenerDirector, update: Update) -> None:
    """One request; appends to ``part`` what it brings, and raises `_PassingError` unless it is whole then."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            start = _offset(response, start, wanted)
            with part.open("ab" if start else "wb") as file:
                _copy(response, file, start, wanted, update)
    except urllib.error.HTTPError as error:
        raise _refusal(error, part, wanted) from None
    except urllib.error.URLError as error:
        raise _unreachable(error, wanted) from None
    except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
        # urllib wraps what happens while it connects, but not while it waits for the answer's first line.
        raise _PassingError(f"the connection broke ({_reason(error)})") from None


def _copy(response: BinaryIO, file: BinaryIO, done: int, wanted: Wanted, update: Update) -> None:
    while True:
        # Only reading is tried again: an error of writing is the disk's and goes up as it is.
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"the connection broke ({_reason(error)})") from None
        if not block:
            break
        if done + len(block) > wanted.size:
            file.truncate(0)
            raise FetchError(f"{wanted.name}: the server sends more than {wanted.size} bytes: another file")
        file.write(block)
        done += len(block)
        update(done)
    if done < wanted.size:
        raise _PassingError(f"the connection ended at byte {done}")


def _offset(response: http.client.HTTPResponse, start: int, wanted: Wanted) -> int:
    """Where the body begins in the file: a server without ranges, or a file address, begins at 0."""
    whole: str | None
    if getattr(response, "status", None) == http.client.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            raise _PassingError(f"the server answered another range than bytes {start}-")
        whole = found[2]
    else:
        start, whole = 0, response.headers.get("Content-Length")
    if whole is not None and whole.isdecimal() and int(whole) != wanted.size:
        raise FetchError(
            f"{wanted.name}: the server's file has {whole} bytes instead of {wanted.size}: another file"
        )
    return start


def _refusal(error: urllib.error.HTTPError, part: Path, wanted: Wanted) -> Exception:
    text = f"HTTP status {error.code} {error.reason}"
    error.close()
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.unlink(missing_ok=True)
        return _PassingError(text)
    if error.code in _PASSING:
        return _PassingError(text)
    if error.code in _NOT_OURS:
        return NeedsClientError(f"{wanted.name}: {text}")
    return FetchError(f"{wanted.name}: {text}: the file is not where the package index says")


def _unreachable(error: urllib.error.URLError, wanted: Wanted) -> Exception:
    reason = error.reason
    if isinstance(reason, ssl.SSLCertVerificationError):
        return NeedsClientError(f"{wanted.name}: the server's certificate is not trusted: {reason}")
    if isinstance(reason, FileNotFoundError):
        return FetchError(f"{wanted.name}: {reason.filename} does not exist")
    return _PassingError(f"no connection ({_reason(reason)})")


def _reason(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _matches(path: Path, wanted: Wanted) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest() == wanted.sha256
