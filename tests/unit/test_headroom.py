"""What /proc and the control groups say of memory, from files that say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from whisperd import headroom

MIB = 1 << 20


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\nHugePages_Total: 0\n")
    put(tmp_path, "proc/self/cgroup", "3:cpuset:/\n0::/system.slice/whisperd.service\n")
    return tmp_path


def group(root: Path, name: str, current: int, high: str = "max", most: str = "max", inactive: int = 0) -> None:
    folder = f"sys/fs/cgroup/{name}"
    put(root, f"{folder}/memory.current", f"{current}\n")
    put(root, f"{folder}/memory.high", f"{high}\n")
    put(root, f"{folder}/memory.max", f"{most}\n")
    put(root, f"{folder}/memory.stat", f"anon 5\ninactive_file {inactive}\nactive_file 7\n")


def test_the_machine_alone(root: Path) -> None:
    assert headroom.available(root) == 1024000 * 1024


def test_the_group_s_nearer_limit(root: Path) -> None:
    group(root, "system.slice/whisperd.service", 200 * MIB, str(576 * MIB), str(640 * MIB))
    assert headroom.available(root) == 376 * MIB


def test_pages_that_can_be_dropped_do_not_count(root: Path) -> None:
    group(root, "system.slice/whisperd.service", 200 * MIB, most=str(640 * MIB), inactive=50 * MIB)
    assert headroom.available(root) == 490 * MIB


def test_a_group_around_it(root: Path) -> None:
    group(root, "system.slice/whisperd.service", 200 * MIB, most=str(640 * MIB))
    group(root, "system.slice", 900 * MIB, most=str(1000 * MIB))
    assert headroom.available(root) == 100 * MIB


def test_over_the_limit_there_is_nothing_left(root: Path) -> None:
    group(root, "system.slice/whisperd.service", 600 * MIB, str(576 * MIB))
    assert headroom.available(root) == 0


@pytest.mark.parametrize("line", ["0::/../../elsewhere\n", "0::/\n", "1:memory:/x\n", ""])
def test_no_limit_to_be_seen(root: Path, line: str) -> None:
    put(root, "proc/self/cgroup", line)
    assert headroom.available(root) == 1024000 * 1024


def test_nobody_says_anything(tmp_path: Path) -> None:
    assert headroom.available(tmp_path) is None


def test_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = headroom.available()
    assert found is not None and found > MIB
