"""The install step, by each shell that it has to run in."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SERVICE = Path(__file__).resolve().parents[2] / "service"
SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"], ["sh"]]
INSTALLED = {
    "/usr/lib/systemd/system/whisperd.service",
    "/usr/lib/systemd/system/whisperd.socket",
    "/usr/lib/systemd/system/whisperd-http.socket",
    "/usr/lib/sysusers.d/whisperd.conf",
    "/usr/lib/tmpfiles.d/whisperd.conf",
    "/etc/whisperd/whisperd.toml",
    "/usr/share/doc/whisperd/whisperd-tcp.conf",
}


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    if shutil.which(found[0]) is None:
        pytest.skip(f"{found[0]} is not installed")
    return found


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A copy, to be broken."""
    (tmp_path / "service").mkdir()
    shutil.copy(SERVICE / "install-system", tmp_path / "service")
    shutil.copytree(SERVICE / "systemd", tmp_path / "service/systemd")
    return tmp_path / "service"


def install(
    shell: list[str], *arguments: str, service: Path = SERVICE, **variables: str
) -> subprocess.CompletedProcess[str]:
    names = ("DESTDIR", "PREFIX", "SYSCONFDIR", "UNITDIR", "SYSUSERSDIR", "TMPFILESDIR")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [*shell, str(service / "install-system"), *arguments],
        env={**kept, **variables},
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def files(root: Path) -> set[str]:
    return {"/" + str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_all_is_installed_for_everybody_to_read(shell: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root of the image"
    done = install(shell, DESTDIR=str(root))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(root) == INSTALLED
    for path in root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    unit = "/usr/lib/systemd/system/whisperd.service"
    assert (root / unit[1:]).read_bytes() == (SERVICE / "systemd/whisperd.service").read_bytes()
    # And again, over itself.
    assert install(shell, DESTDIR=str(root)).returncode == 0
    assert files(root) == INSTALLED


def test_the_list_and_the_folders(shell: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    variables = {
        "DESTDIR": str(root),
        "PREFIX": "/usr/local",
        "SYSCONFDIR": "/conf",
        "UNITDIR": "/lib/systemd/system",
    }
    listed = install(shell, "--list", **variables)
    assert listed.returncode == 0 and not root.exists()
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ["0644", f"{root}/lib/systemd/system/whisperd.service"],
        ["0644", f"{root}/lib/systemd/system/whisperd.socket"],
        ["0644", f"{root}/lib/systemd/system/whisperd-http.socket"],
        ["0644", f"{root}/usr/local/lib/sysusers.d/whisperd.conf"],
        ["0644", f"{root}/usr/local/lib/tmpfiles.d/whisperd.conf"],
        ["0644", f"{root}/conf/whisperd/whisperd.toml"],
        ["0644", f"{root}/usr/local/share/doc/whisperd/whisperd-tcp.conf"],
    ]
    done = install(shell, **variables)
    assert done.stdout == listed.stdout


def test_the_operator_s_configuration_is_kept(shell: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    install(shell, DESTDIR=str(root))
    config, unit = root / "etc/whisperd/whisperd.toml", root / "usr/lib/systemd/system/whisperd.service"
    config.write_text("mine\n")
    unit.write_text("old\n")
    done = install(shell, DESTDIR=str(root))
    assert done.returncode == 0
    assert config.read_text() == "mine\n" and f"kept {config}" in done.stdout
    assert unit.read_text() != "old\n"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("systemd/missing  0644  ${UNITDIR}/x", "systemd/missing is missing or cannot be read"),
        ("systemd/files.list  0644  ${NOWHERE}/x", "unknown variable in ${NOWHERE}/x"),
        ("systemd/files.list  0644  x", "the destination x is not an absolute path"),
        ("systemd/files.list  rw  /x", "rw is no mode"),
        ("systemd/files.list  0644", "not 'source mode destination'"),
        ("systemd/files.list  0644  /x  y", "not 'source mode destination'"),
        ("systemd/files.list  0644  /taken", "is a folder"),
        ("systemd/files.list  0644  /file/x", "is not a folder"),
    ],
)
def test_a_bad_line_installs_nothing(
    shell: list[str], service: Path, tmp_path: Path, line: str, complaint: str
) -> None:
    root = tmp_path / "root"
    (root / "taken").mkdir(parents=True)
    (root / "file").touch()
    with (service / "systemd/files.list").open("a") as file:
        file.write(line)
    done = install(shell, service=service, DESTDIR=str(root))
    assert done.returncode == 1
    assert complaint in done.stderr and done.stderr.startswith("install-system: ")
    assert files(root) == {"/file"}


def test_a_disk_that_is_full_installs_nothing(shell: list[str], service: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with (service / "systemd/files.list").open("a") as file:
        file.write("systemd/full  0644  ${UNITDIR}/full\n")
    # A file may not grow over so many blocks: writing it fails as on a full disk.
    limited = ["sh", "-c", 'ulimit -f 64; trap "" XFSZ; exec "$@"', "sh", *shell]
    (service / "systemd/full").write_bytes(bytes(1 << 20))
    done = install(limited, service=service, DESTDIR=str(root))
    assert done.returncode == 1 and "nothing was installed" in done.stderr
    assert files(root) == set()


def test_usage(shell: list[str], tmp_path: Path) -> None:
    assert install(shell, "--help").stdout.startswith("usage: ")
    wrong = install(shell, "--lits")
    assert wrong.returncode == 2 and wrong.stderr.startswith("usage: ")
    both = install(shell, "--venv", DESTDIR=str(tmp_path / "root"))
    assert both.returncode == 1 and "not with DESTDIR" in both.stderr


def test_every_file_of_the_folder_is_in_the_list() -> None:
    listed = (SERVICE / "systemd/files.list").read_text()
    for path in (SERVICE / "systemd").iterdir():
        assert path.name == "files.list" or f"systemd/{path.name} " in listed
