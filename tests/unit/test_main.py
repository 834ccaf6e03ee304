"""whisperd's own process, where no real model is needed: help, failures, and ends that are not clean."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from whisperd import __version__
from whisperd.config import options

WAIT_SECONDS = 30.0

# The daemon over an engine that hangs when it is asked, and in `--slow-load` while it is loaded.
HANGING = """
import os, signal, sys, threading
sys.path.insert(0, {helpers!r})
from fake_daemon import FakeEngine
from whisperd import __main__ as daemon

class Hanging(FakeEngine):
    def warm_up(self):
        pass
    def transcribe(self, pcm, options, control):
        threading.Event().wait()

def load(model):
    if "--swallow" in sys.argv:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(0.5)
        except BaseException:
            print("swallowed", flush=True)
    if "--slow-load" in sys.argv:
        print("loading", flush=True)
        threading.Event().wait(60)
    return Hanging()

daemon._checked_bundle = lambda model: None
daemon._load = load
sys.exit(daemon.main([a for a in sys.argv[1:] if a not in ("--slow-load", "--swallow")]))
"""


def clean_environment(**more: str) -> dict[str, str]:
    ours = ("WHISPERD_", "NOTIFY_", "LISTEN_", "WATCHDOG_", "JOURNAL_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**kept, "WHISPERD_SOCKET_GROUP": "", **more}


def whisperd(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "whisperd", *arguments],
        env=clean_environment(**environ),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


@contextmanager
def hanging(folder: Path, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    script = HANGING.format(helpers=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, "--socket", str(folder / "s"), *arguments]
    with subprocess.Popen(
        command, env=clean_environment(**environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def wait_for_line(running: subprocess.Popen[str], part: str) -> None:
    assert running.stderr is not None
    while part not in (line := running.stderr.readline()):
        assert line, f"whisperd ended before it said {part!r}"


def ask(path: Path) -> socket.socket:
    """A client whose clip is with the engine."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(WAIT_SECONDS)
    client.connect(str(path))
    form = b'"data": {"rate": 16000, "width": 2, "channels": 1}'
    client.sendall(b'{"type": "hello", "data": {"protocol": 1}}\n')
    client.sendall(b'{"type": "audio-start", ' + form + b"}\n")
    client.sendall(b'{"type": "audio-chunk", "payload_length": 4, ' + form + b"}\n\0\0\0\0")
    client.sendall(b'{"type": "audio-stop"}\n')
    received = b""
    while b"queued" not in received:
        received += client.recv(4096)
    time.sleep(0.1)  # from the queue to the engine
    return client


# --- command line ---------------------------------------------------------------------------------------------


def test_help_teaches() -> None:
    done = whisperd("--help")
    assert done.returncode == 0
    for part in ("examples:", "--check", "--config", "WHISPERD_<SECTION>_<OPTION>", "SIGTERM", "exit codes:"):
        assert part in done.stdout
    assert all(option.flag in done.stdout for option in options() if option.flag)


def test_version() -> None:
    assert whisperd("--version").stdout == f"whisperd {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threads", "many"], "--threads: expected a whole number, got 'many'"),
        (["--log-level", "loud"], "--log-level: 'loud' is not one of debug, info, warning, error"),
        (["--socket", "/" + "x" * 107], "--socket: a path of 108 bytes, 107 is the most"),
        (["--thread", "1"], "unrecognized arguments: --thread 1"),
        (["file"], "unrecognized arguments: file"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    done = whisperd(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("usage: whisperd") and says in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--check", "--model", "/nowhere"], ["--config", "/nowhere"]])
def test_nothing_heavy_is_loaded_for_help_and_mistakes(arguments: list[str]) -> None:
    script = (
        "import atexit, sys; from whisperd.__main__ import main;"
        "atexit.register(lambda: print(*sys.modules, sep=','));"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    loaded = set(done.stdout.splitlines()[-1].split(","))
    assert "whisperd.config" in loaded
    assert not loaded & {"numpy", "onnxruntime", "soundfile", "tokenizers"}


# --- starts that fail: one line, exit 1 -----------------------------------------------------------------------


def failure(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert " ERROR " in line
    return line


def test_no_bundle(tmp_path: Path) -> None:
    line = failure(whisperd("--model", str(tmp_path / "none"), "--socket", str(tmp_path / "s")))
    assert str(tmp_path / "none") in line and "scripts/convert_model" in line
    assert not (tmp_path / "s").exists()


def test_no_group(tmp_path: Path) -> None:
    done = whisperd("--check", "--model", str(tmp_path), WHISPERD_SOCKET_GROUP="no-such-group")
    assert "there is no group 'no-such-group'" in failure(done)
    assert done.stdout == ""


def test_a_mistake_is_found_before_the_model_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    line = failure(whisperd("--model", str(tmp_path / "none"), "--socket", str(tmp_path / "s")))
    assert "is not a socket" in line


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("WATCHDOG_USEC", "soon", "WATCHDOG_USEC is 'soon'"), ("WHISPERD_MODEL_SPEED", "1", "WHISPERD_MODEL_SPEED")],
)
def test_a_bad_variable(tmp_path: Path, name: str, text: str, says: str) -> None:
    assert says in failure(whisperd("--socket", str(tmp_path / "s"), **{name: text}))


def test_a_package_that_is_missing(tmp_path: Path) -> None:
    broken = tmp_path / "sdnotify.py"
    broken.write_text("raise ImportError('libsomething.so: cannot open shared object file')")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    line = failure(whisperd("--socket", str(tmp_path / "s"), PYTHONPATH=path))
    assert "libsomething.so" in line and "install whisperd and its dependencies" in line


def test_systemctl_status_tells_why_it_failed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(WAIT_SECONDS)
        notify = str(tmp_path / "notify")
        failure(whisperd("--model", str(tmp_path), "--socket", str(tmp_path / "s"), NOTIFY_SOCKET=notify))
        messages = [told.recv(4096).decode() for _ in range(2)]
        assert messages[0] == "STATUS=checking the model"
        assert messages[1].startswith("STATUS=failed: no model bundle")


# --- ends that are not clean ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_the_model_is_loaded(tmp_path: Path, how: signal.Signals) -> None:
    with hanging(tmp_path, "--slow-load") as running:
        assert running.stdout is not None and running.stdout.readline() == "loading\n"
        running.send_signal(how)
        _, err = running.communicate(timeout=WAIT_SECONDS)
    assert (running.returncode, err) == (0, "")


def test_stopped_where_an_exception_would_be_swallowed(tmp_path: Path) -> None:
    with hanging(tmp_path, "--swallow") as running:
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert (running.returncode, out, err) == (0, "", "")


def test_a_stop_signal_that_is_repeated_to_the_end_is_one(tmp_path: Path) -> None:
    with hanging(tmp_path) as running:
        wait_for_line(running, "ready on")
        give_up = time.monotonic() + WAIT_SECONDS
        while running.poll() is None and time.monotonic() < give_up:
            running.send_signal(signal.SIGTERM)
            time.sleep(0.0005)
        _, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 0
    assert "stopped" in err and "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with hanging(tmp_path, WHISPERD_LIMITS_STOP_SECONDS="600") as running:
        wait_for_line(running, "ready on")
        with ask(tmp_path / "s"):
            running.send_signal(signal.SIGINT)
            wait_for_line(running, "stopping")
            time.sleep(0.2)
            assert running.poll() is None, "the first waits for the request"
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 130
    assert "stopped by force" in err and "Traceback" not in err
    assert not (tmp_path / "s").exists()


def test_a_worker_that_does_not_end_is_left_behind(tmp_path: Path) -> None:
    with hanging(tmp_path, WHISPERD_LIMITS_STOP_SECONDS="0.2") as running:
        wait_for_line(running, "ready on")
        with ask(tmp_path / "s") as client:
            running.send_signal(signal.SIGTERM)
            _, err = running.communicate(timeout=WAIT_SECONDS)
            answers = b""
            while received := client.recv(4096):
                answers += received
    assert running.returncode == 1, "not a clean stop"
    assert "the inference worker does not end" in err and "Traceback" not in err
    assert b"shutting-down" in answers, "its client is answered all the same"
    assert not (tmp_path / "s").exists()


def test_a_socket_that_another_has_taken_over_is_left(tmp_path: Path) -> None:
    with hanging(tmp_path) as running:
        wait_for_line(running, "ready on")
        (tmp_path / "s").unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(tmp_path / "s"))
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=WAIT_SECONDS)
            assert running.returncode == 0
            assert (tmp_path / "s").exists()
