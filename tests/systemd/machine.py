"""A Debian machine in systemd-nspawn: a real systemd as its PID 1, with the daemon installed by the install step.

Never a second systemd on the host: it would take over the host's control groups. nspawn gets groups of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = "tests/systemd"
TOOLS = ("mmdebstrap", "systemd-nspawn", "systemd-analyze", "nsenter", "chroot")
PACKAGES = ("systemd", "python3-venv", "dbus", "libasound2", "libasound2-data")

MEMBER, STRANGER = "anna", "bert"
"""A user in the group whisper, and one who is not."""

BOOT_SECONDS = 180.0
WAIT_SECONDS = 120.0
"""For anything that is to happen in the machine. Long, for a busy PC; nothing waits longer than it has to."""

GROUP_SECONDS = 20.0
"""For the last of a killed machine's processes to leave their control groups."""

COMMAND_SECONDS = 180.0
POLL_SECONDS = 0.1
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoMachine(Exception):
    """The host does not let a machine be booted."""


class Failed(AssertionError):
    """A command in the machine ended with an error."""


class Machine:
    """One machine.

    Args:
        root: its root file system, which it changes.
        log: file for what nspawn and the machine's console say.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.log = log
        self._groups: list[Path] = []
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Boot and wait until systemd has started everything; raises NoMachine where the host refuses."""
        self._groups = _own_groups(f"whisperd-test-{os.getpid()}")
        enter = 'for group; do echo $$ >"$group/cgroup.procs" || exit 99; done; exec systemd-nspawn'
        options = "--quiet --register=no --keep-unit --private-network --console=pipe --link-journal=no --boot"
        command = f"{enter} {options} --directory={self.root}"
        with self.log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", command, "sh", *map(str, self._groups)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until:
            if self._nspawn.poll() is not None:
                raise NoMachine(f"systemd-nspawn ended with {self._nspawn.returncode}: {self._said()}")
            # Anew each time: the first child only prepares, and leaves behind the one that becomes PID 1.
            self._leader = _child(self._nspawn.pid)
            if self._leader:
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(POLL_SECONDS)
        raise NoMachine(f"the machine is not up after {BOOT_SECONDS:.0f} s: {self._said()}")

    def stop(self) -> None:
        """Take the power away, and leave nothing behind."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            if self._leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._leader, signal.SIGKILL)  # with its PID 1 every process of the machine ends
            else:
                self._nspawn.kill()
            self._nspawn.wait(30)
        until = time.monotonic() + GROUP_SECONDS
        while any(not _removed(group) for group in self._groups) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    # --- commands in the machine ------------------------------------------------------------------------------

    def run(
        self, *command: str, user: str = "", check: bool = True, timeout: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as root or as a user with the user's groups."""
        done = subprocess.run(
            self._inside(command, user), capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            said = done.stdout + done.stderr
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{said}\n{self.told()}")
        return done

    def start(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Start a command and return at once."""
        inside = self._inside(command, user)
        return subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _inside(self, command: tuple[str, ...], user: str) -> list[str]:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        enter = ["nsenter", f"--target={self._leader}", "--all", "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8"]
        return [*enter, *become, *command]

    def show(self, name: str, unit: str = "whisperd.service") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def status(self) -> str:
        """What an operator sees."""
        return self.run("systemctl", "status", "--no-pager", "--full", "whisperd.service", check=False).stdout

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Entries about the service, from the daemon and from systemd, oldest first."""
        said = self.run("journalctl", "-o", "json", "--no-pager", "-u", "whisperd.service", *arguments).stdout
        return [json.loads(line) for line in said.splitlines()]

    def cursor(self) -> str:
        """Where the journal is now: `--after-cursor` gives what comes later."""
        self.run("journalctl", "--sync")
        last = self.run("journalctl", "-n", "1", "-o", "json", "--no-pager").stdout
        return str(json.loads(last)["__CURSOR"])

    def messages(self, after: str) -> str:
        """The texts of the journal after a cursor."""
        self.run("journalctl", "--sync")
        return "\n".join(str(entry.get("MESSAGE")) for entry in self.journal(f"--after-cursor={after}"))

    def told(self) -> str:
        """The end of the story, for a test that failed."""
        last = self.run("journalctl", "--no-pager", "-n", "40", "-u", "whisperd.service", check=False)
        return f"{self.status()}\n{last.stdout}"

    def wait(self, what: str, happened: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Poll until something is so."""
        until = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < until, f"not after {seconds:.0f} s: {what}\n{self.told()}"
            time.sleep(POLL_SECONDS)

    def wait_ready(self, other_than: str = "") -> str:
        """Wait until the service runs, in another process than the one named; returns the process's id."""
        found = ""

        def ready() -> bool:
            nonlocal found
            found = self.show("MainPID")
            return self.show("SubState") == "running" and found not in ("0", other_than)

        self.wait("the service runs" + (f" anew (it was process {other_than})" if other_than else ""), ready)
        return found

    # --- files ------------------------------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """A file of the machine, seen from the host."""
        return self.root / inside.lstrip("/")

    @contextlib.contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """Change the service as an operator does; it is not restarted here."""
        folder = self.path("/etc/systemd/system/whisperd.service.d")
        folder.mkdir(exist_ok=True)
        file = folder / "test.conf"
        file.write_text(text)
        self.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            file.unlink()
            self.run("systemctl", "daemon-reload")

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def _own_groups(name: str) -> list[Path]:
    """New control groups, in every hierarchy that systemd uses; raises NoMachine where there is none."""
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        parents = [top]
    else:
        parents = [top / hierarchy for hierarchy in ("systemd", "unified") if (top / hierarchy).is_dir()]
    if not parents:
        raise NoMachine("there is no control group hierarchy for systemd on this host")
    groups = []
    for parent in parents:
        group = parent / name
        try:
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise NoMachine(f"no control group can be made: {group}: {error.strerror}") from None
        groups.append(group)
    return groups


def _removed(group: Path) -> bool:
    """Remove a control group and those in it, as far as no process is left in them."""
    for folder in sorted(group.rglob("*/"), key=lambda f: -len(f.parts)) + [group]:
        with contextlib.suppress(OSError):
            folder.rmdir()
    return not group.exists()


def _child(pid: int) -> int:
    """The first child of a process, or 0."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0
