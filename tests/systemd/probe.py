"""What the sandbox lets a process do. Runs in the service's own process (as sitecustomize), or outside.

Prints one JSON object: the attempt, and "allowed" or the name of the error. Nothing that is allowed does harm.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
PR_CAPBSET_READ, PER_LINUX32 = 23, 8


def system(result: int) -> None:
    """Raise what a call of the C library failed with."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def write(folder: str) -> None:
    path = f"{folder}/probe-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    os.unlink(path)


def family(number: int, kind: int = socket.SOCK_STREAM) -> None:
    socket.socket(number, kind).close()


def write_and_execute() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def make_executable() -> None:
    """Write, then turn what was written into code."""
    pages = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    system(libc.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_EXEC))


def run_written(folder: str) -> None:
    path = f"{folder}/probe-{os.getpid()}.sh"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o700)
    try:
        subprocess.run([path], check=True)
    finally:
        os.unlink(path)


def set_user_id(folder: str) -> None:
    path = f"{folder}/probe-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


def real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def capabilities() -> None:
    """Allowed if there is any in any set."""
    with open("/proc/self/status") as file:
        sets = [line.split()[1] for line in file if line.startswith("Cap")]
    if not any(int(held, 16) for held in sets):
        raise OSError(errno.EPERM, "")


def other_processes() -> None:
    """Allowed if process 1 can be seen."""
    os.stat("/proc/1/status")


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write /etc": lambda: write("/etc"),
    "write /usr": lambda: write("/usr/share/whisper"),
    "write /var": lambda: write("/var/lib"),
    "write /run": lambda: write("/run"),
    "write /dev/shm": lambda: write("/dev/shm"),
    "write own folder": lambda: write("/run/whisperd"),
    "write private tmp": lambda: write("/tmp"),
    "write private var/tmp": lambda: write("/var/tmp"),
    "list /home": lambda: os.listdir("/home/anna"),
    "list /root": lambda: os.listdir("/root"),
    "socket unix": lambda: family(socket.AF_UNIX),
    "socket inet": lambda: family(socket.AF_INET),
    "socket inet6": lambda: family(socket.AF_INET6),
    "socket netlink": lambda: family(socket.AF_NETLINK, socket.SOCK_RAW),
    "socket packet": lambda: family(socket.AF_PACKET, socket.SOCK_RAW),
    "new user namespace": lambda: system(libc.unshare(CLONE_NEWUSER)),
    "new mount namespace": lambda: system(libc.unshare(CLONE_NEWNS)),
    "new network namespace": lambda: system(libc.unshare(CLONE_NEWNET)),
    "map write and execute": write_and_execute,
    "make written code executable": make_executable,
    "run what was written": lambda: run_written("/tmp"),
    "run what was written in /var/tmp": lambda: run_written("/var/tmp"),
    "run what was written in /dev/shm": lambda: run_written("/dev/shm"),
    "run what was written in /run/whisperd": lambda: run_written("/run/whisperd"),
    "set-user-id file": lambda: set_user_id("/tmp"),
    "real-time scheduling": real_time,
    "any capability": capabilities,
    "become root": lambda: os.setuid(0),
    "see other processes": other_processes,
    "trace": lambda: system(libc.ptrace(0, 0, 0, 0)),
    "host name": lambda: socket.sethostname(socket.gethostname()),
    "mount": lambda: system(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "personality": lambda: system(libc.personality(PER_LINUX32)),
    "change owner": lambda: os.chown("/run/whisperd", 0, 0),
    "kernel settings": lambda: os.close(os.open("/proc/sys/kernel/domainname", os.O_WRONLY)),
    "control groups": lambda: write("/sys/fs/cgroup"),
    "read /proc/cpuinfo": lambda: read("/proc/cpuinfo"),
    "read /proc/meminfo": lambda: read("/proc/meminfo"),
    "device nodes": lambda: os.mknod("/tmp/probe-null", 0o600 | 0o020000, os.makedev(1, 3)),
}


def attempt(call: Callable[[], object]) -> str:
    """ "allowed", or the error's name. In a child: what is allowed must not change the process for the next."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            call()
            said = "allowed"
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, "unknown")
        except subprocess.CalledProcessError:
            said = "ended with an error"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said or "killed"


if __name__ == "__main__" or "/whisperd" in read("/proc/self/cmdline"):
    print("<6>probe " + json.dumps({name: attempt(call) for name, call in ATTEMPTS.items()}), file=sys.stderr)
