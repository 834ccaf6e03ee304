"""The daemon's own socket: what is replaced, what is left alone, and who may connect from which moment on."""

from __future__ import annotations

import fcntl
import grp
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from whisperd import listen
from whisperd.config import SocketConfig
from whisperd.errors import ConfigError
from whisperd.listen import OwnSocket, bind, check
from whisperd.options import FileMode

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "whisperd.sock"


@pytest.fixture
def bound(path: Path) -> Iterator[OwnSocket]:
    with (own := bind(config(path))).socket:
        yield own


def config(path: Path, mode: int = 0o600, group: str | None = None) -> SocketConfig:
    return SocketConfig(path, FileMode(mode), group)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def refused(wanted: SocketConfig) -> str:
    """Refused by `bind`, and before by `check`, in the same words."""
    with pytest.raises(ConfigError) as early:
        check(wanted)
    with pytest.raises(ConfigError) as late:
        bind(wanted)
    assert early.value.text == late.value.text
    return late.value.text


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))


# --- binding --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_listens_with_the_mode_whatever_the_umask(path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with bind(config(path, mode)).socket:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert connects(path)
            assert os.umask(0o077) == 0o077, "the umask is as it was"
    finally:
        os.umask(before)


def test_nobody_can_connect_before_group_and_mode_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []
    give = os.chown

    def watched(given: Path, uid: int, gid: int) -> None:
        seen.append((stat.S_IMODE(given.stat().st_mode), connects(given)))
        give(given, uid, gid)

    monkeypatch.setattr(os, "chown", watched)
    own = grp.getgrgid(os.getegid()).gr_name
    with bind(config(path, 0o660, own)).socket:
        assert seen == [(0o600, False)]
        assert path.stat().st_gid == os.getegid()
        assert connects(path)


@root_only
def test_group_by_name_and_by_number(path: Path) -> None:
    other = next(g for g in grp.getgrall() if g.gr_gid != os.getegid())
    for group in (other.gr_name, str(other.gr_gid)):
        own = bind(config(path, 0o660, group))
        with own.socket:
            assert path.stat().st_gid == other.gr_gid and path.stat().st_uid == os.geteuid()
        own.remove()


def test_a_group_that_is_not_ours_to_give(unprivileged: Path) -> None:
    path = unprivileged / "s"
    mine = {os.getegid(), *os.getgroups()}
    other = next(g for g in grp.getgrall() if g.gr_gid not in mine)
    with pytest.raises(ConfigError, match="may not give the socket to the group"):
        bind(config(path, 0o660, other.gr_name))
    assert not path.exists()


@pytest.mark.parametrize("failure", [PermissionError(1, "Operation not permitted"), OSError(5, "I/O error")])
def test_nothing_is_left_where_the_group_cannot_be_given(
    path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    def fail(*arguments: object) -> None:
        raise failure

    monkeypatch.setattr(os, "chown", fail)
    with pytest.raises(ConfigError):
        bind(config(path, 0o660, str(os.getegid())))
    assert not path.exists()


@pytest.mark.parametrize("group", ["no-such-group", "4294967290", "99999999999999999999"])
def test_a_group_that_does_not_exist(path: Path, group: str) -> None:
    told = refused(config(path, group=group))
    assert told.startswith(f"socket.group: there is no group {group!r}") and "WHISPERD_SOCKET_GROUP=" in told
    assert not path.exists()


# --- what is at the path --------------------------------------------------------------------------------------


def test_a_socket_that_nobody_listens_on_is_replaced(path: Path) -> None:
    leave_stale(path)
    check(config(path))
    assert path.exists(), "looking changes nothing"
    with bind(config(path)).socket:
        assert connects(path)


def test_a_socket_that_somebody_listens_on_is_left(path: Path, bound: OwnSocket) -> None:
    assert refused(config(path)) == f"socket.path: another daemon listens on {path} already"
    assert connects(path)


def test_a_full_backlog_is_somebody_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PROBE_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(path))
            assert "another daemon" in refused(config(path))


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "link to a stale socket", "dangling link"])
def test_what_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        if kind == "link to a stale socket":
            leave_stale(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    before = path.lstat()
    assert refused(config(path)) == f"socket.path: {path} exists and is not a socket; it is left as it is"
    assert path.lstat() == before


def test_a_socket_of_another_kind_is_left(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.bind(str(path))
        assert "another daemon" in refused(config(path))
        assert path.exists()


def test_no_folder(path: Path) -> None:
    assert f"there is no folder {path}:" in refused(config(path / "s"))
    path.write_text("a file")
    assert f"there is no folder {path}:" in refused(config(path / "s"))


def test_a_path_of_107_bytes_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    longest = Path("x" * 107)
    with bind(config(longest)).socket:
        assert connects(longest)
    assert "socket.path: longer than 107 bytes" in refused(config(Path("x" * 108)))


def test_a_folder_that_is_not_ours(unprivileged: Path) -> None:
    path = unprivileged / "s"
    path.parent.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot listen on"):
            bind(config(path))
    finally:
        path.parent.chmod(0o700)


# --- two at a time --------------------------------------------------------------------------------------------


def test_of_many_that_start_together_one_gets_the_stale_path(path: Path) -> None:
    leave_stale(path)
    won: list[OwnSocket] = []
    lost: list[str] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            won.append(bind(config(path)))
        except ConfigError as error:
            lost.append(error.text)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert set(lost) == {f"socket.path: another daemon listens on {path} already"} and len(lost) == 7
    with won[0].socket:
        assert connects(path)


def test_a_lock_that_nobody_gives_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "LOCK_SECONDS", 0.1)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)  # against which only an exclusive lock helps
        with pytest.raises(ConfigError, match="another program holds a lock on"):
            bind(config(path))
    finally:
        os.close(folder)


# --- the end --------------------------------------------------------------------------------------------------


def test_our_own_socket_is_removed(path: Path, bound: OwnSocket) -> None:
    bound.remove()
    assert not path.exists()
    bound.remove()


def test_a_socket_that_is_no_longer_ours_is_left(path: Path, bound: OwnSocket) -> None:
    kept = path.with_name("kept")  # so that its inode is not given to the next
    path.rename(kept)
    with bind(config(path)).socket:
        bound.remove()
        assert connects(path)
