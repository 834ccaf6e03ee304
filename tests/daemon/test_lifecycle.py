"""Start, check, notify, watchdog, socket activation, stop: what systemd and an operator see."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from daemon_process import DaemonProcess, Wire
from speech import COMMITTED, words
from whisperd.audio.files import read_audio


def whisperd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WHISPERD_", "NOTIFY_", "LISTEN_"))}
    return subprocess.run(
        [sys.executable, "-m", "whisperd", *arguments],
        env={**clean, "WHISPERD_SOCKET_GROUP": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_of_what_is_good(tiny_en: Path, vad: Path) -> None:
    done = whisperd("--check", "--model", str(tiny_en), "--vad", str(vad))
    assert done.returncode == 0
    assert "configuration: good" in done.stdout
    assert "model: good (tiny.en, int8" in done.stdout
    assert f"voice activity detector: good ({vad})" in done.stdout
    assert done.stderr == ""


def test_a_voice_activity_detector_that_is_broken_missing_or_not_wanted(tiny_en: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    for arguments in (("--check",), ("--socket", str(tmp_path / "s"))):
        done = whisperd("--model", str(tiny_en), "--vad", str(tmp_path / "broken.onnx"), *arguments)
        assert done.returncode == 1
        assert "broken.onnx is not the voice activity detector" in done.stderr
    done = whisperd("--check", "--model", str(tiny_en), "--vad", str(tmp_path / "none"))
    assert done.returncode == 0
    assert f"WARNING no voice activity detector {tmp_path}/none" in done.stderr
    done = whisperd("--check", "--model", str(tiny_en), "--vad", "")
    assert (done.returncode, done.stderr) == (0, "")


def test_check_of_a_changed_a_cut_and_a_missing_bundle(tiny_en: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_en, bundle)
    data = bytearray((bundle / "encoder.data").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "encoder.data").write_bytes(data)
    for damage, complaint in (
        (lambda: None, "encoder.data was changed"),
        (lambda: os.truncate(bundle / "encoder.data", 1000), "encoder.data has 1000 bytes"),
        (lambda: shutil.rmtree(bundle), "no model bundle"),
    ):
        damage()
        for arguments in (("--check",), ("--socket", str(tmp_path / "s"))):
            done = whisperd(*arguments, "--model", str(bundle))
            assert done.returncode == 1
            assert complaint in done.stderr
            assert "scripts/convert_model" in done.stderr
            assert "Traceback" not in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_usage_and_configuration_errors(tiny_en: Path, tmp_path: Path) -> None:
    assert whisperd("--no-such-flag").returncode == 2
    assert whisperd("--threads", "many").returncode == 2
    config = tmp_path / "whisperd.toml"
    config.write_text("[model]\nlangauge = 'en'\n")
    done = whisperd("--check", "--config", str(config))
    assert done.returncode == 1
    assert "langauge" in done.stderr and str(config) in done.stderr
    done = whisperd("--check", "--model", str(tiny_en), WHISPERD_MODEL_LANGUAGE="de")
    assert done.returncode == 1
    assert "tiny.en does not know 'de'" in done.stderr


def test_socket_mode_and_stop(tiny_en: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(tiny_en, tmp_path, {"WHISPERD_SOCKET_MODE": "0640"}).start()
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o640
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log


def test_ctrl_c_stops_cleanly(tiny_en: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(tiny_en, tmp_path).start()
    assert daemon.stop(signal.SIGINT) == 0
    assert "Traceback" not in daemon.log


def test_a_stale_socket_is_replaced_and_a_living_daemon_is_not(tiny_en: Path, tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "whisperd.sock"))
    stale.close()
    with DaemonProcess(tiny_en, tmp_path) as daemon:
        done = whisperd("--model", str(tiny_en), "--socket", str(daemon.socket))
        assert done.returncode == 1
        assert str(daemon.socket) in done.stderr
        with daemon.client() as client:
            assert client.status()["state"] == "idle"


def test_a_file_in_the_socket_s_place_is_left_alone(tiny_en: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("text")
    done = whisperd("--model", str(tiny_en), "--socket", str(precious))
    assert done.returncode == 1
    assert precious.read_text() == "text"
    assert str(precious) in done.stderr


def test_a_running_request_is_finished_before_the_stop(tiny_en: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(tiny_en, tmp_path).start()
    with Wire(daemon.connect(60)) as wire:
        wire.clip(read_audio(COMMITTED[0].path, 60).tobytes())
        time.sleep(0.02)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        kind, data = wire.receive() or ("", {})
        assert kind == "transcript", data
        assert words(data["text"]) == words(COMMITTED[0].text)
    assert daemon.stop() == 0


def test_what_cannot_be_finished_is_answered_with_shutting_down(tiny_en: Path, tmp_path: Path) -> None:
    daemon = DaemonProcess(tiny_en, tmp_path, {"WHISPERD_LIMITS_STOP_SECONDS": "1"}).start()
    with Wire(daemon.connect(60)) as running, Wire(daemon.connect(60)) as waiting:
        running.clip(np.tile(read_audio(COMMITTED[0].path, 60), 160).tobytes(), chunk=60000)
        time.sleep(0.3)
        waiting.clip(read_audio(COMMITTED[1].path, 60).tobytes())
        time.sleep(0.2)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        for wire in (waiting, running):
            kind, data = wire.receive() or ("", {})
            assert (kind, data["code"], data["retry"]) == ("error", "shutting-down", True)
    assert daemon.stop() == 0


class Notified:
    """systemd's side of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(30)
        self.messages: list[str] = []

    def wait_for(self, text: str) -> None:
        """Read until a message has this line."""
        while not any(text in message for message in self.messages):
            self.messages.append(self.socket.recv(4096).decode("ascii"))

    def count(self, text: str, seconds: float) -> int:
        """Messages with this line that come within some time."""
        until, found = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                found += text in self.socket.recv(4096).decode("ascii")
            except TimeoutError:
                break
        self.socket.settimeout(30)
        return found


def test_systemd_is_told_ready_status_watchdog_and_stopping(tiny_en: Path, tmp_path: Path) -> None:
    systemd = Notified(tmp_path)
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "2000000"}
    daemon = DaemonProcess(tiny_en, tmp_path, environment).start()
    systemd.wait_for("READY=1")
    systemd.wait_for("STATUS=tiny.en: idle")
    systemd.wait_for("WATCHDOG=1")
    daemon.stop()
    systemd.wait_for("STOPPING=1")
    systemd.socket.close()
    order = [m for m in systemd.messages if "READY=1" in m or "STOPPING=1" in m]
    assert len(order) == 2


def test_ready_comes_when_requests_are_answered(tiny_en: Path, tmp_path: Path) -> None:
    systemd = Notified(tmp_path)
    daemon = DaemonProcess(tiny_en, tmp_path, {"NOTIFY_SOCKET": str(systemd.path)})
    with daemon.log_path.open("ab") as log:
        daemon.process = subprocess.Popen(daemon.command, env=daemon.environment, stderr=log)
    systemd.wait_for("READY=1")
    with daemon.client() as client:
        assert client.status()["model"] == "tiny.en"
    daemon.stop()
    systemd.socket.close()


def test_socket_activation(tiny_en: Path, tmp_path: Path) -> None:
    """LISTEN_FDS as systemd gives it: descriptor 3, and LISTEN_PID of the process itself."""
    path = tmp_path / "activated.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    first = socket.socket(socket.AF_UNIX)
    first.settimeout(30)
    first.connect(str(path))  # before there is a daemon
    script = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.executable, sys.argv[1:])"
    daemon = DaemonProcess(tiny_en, tmp_path, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "whisperd.socket"})
    command = [sys.executable, "-c", script, *daemon.command]

    def hand_over() -> None:
        if listening.fileno() == 3:
            os.set_inheritable(3, True)
        else:
            os.dup2(listening.fileno(), 3, inheritable=True)

    with daemon.log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            env=daemon.environment,
            stderr=log,
            preexec_fn=hand_over,  # noqa: PLW1509 - there are no other threads, and 3 must be set in the child
            close_fds=False,
        )
    daemon.process = process
    with Wire(first) as wire:
        wire.send("ping", {"text": "early"})
        assert wire.receive() == ("pong", {"text": "early"})
    assert daemon.stop() == 0
    assert path.exists()  # systemd's to remove, not ours
    listening.close()


def test_the_watchdog_is_not_fed_while_the_worker_is_stuck(tiny_en: Path, tmp_path: Path) -> None:
    """The event loop lives and answers, and still systemd hears nothing: it is the worker's health that counts."""
    systemd = Notified(tmp_path)
    program = tmp_path / "stuck.py"
    program.write_text(
        "import os, sys, threading\n"
        "from whisperd.speech import model\n"
        "real = model.WhisperModel.encode\n"
        "def encode(self, mel, run_options=None):\n"
        f"    if os.path.exists({str(tmp_path / 'hang')!r}):\n"
        "        threading.Event().wait()\n"
        "    return real(self, mel, run_options)\n"
        "model.WhisperModel.encode = encode\n"
        "from whisperd.__main__ import main\n"
        "sys.exit(main())\n"
    )
    environment = {
        "NOTIFY_SOCKET": str(systemd.path),
        "WATCHDOG_USEC": "1000000",
        "WHISPERD_LIMITS_STOP_SECONDS": "1",
    }
    daemon = DaemonProcess(tiny_en, tmp_path, environment)
    daemon.command[1:3] = [str(program)]
    daemon.start()
    systemd.wait_for("READY=1")
    with Wire(daemon.connect()) as wire:
        assert systemd.count("WATCHDOG=1", 2.5) >= 2
        (tmp_path / "hang").touch()
        wire.clip(read_audio(COMMITTED[0].path, 60).tobytes())
        time.sleep(2.5)
        systemd.count("WATCHDOG=1", 0.2)  # what was sent before it was noticed
        assert systemd.count("WATCHDOG=1", 2.5) == 0
        wire.send("ping", {"text": "alive"})
        assert wire.receive() == ("pong", {"text": "alive"})
    assert "no progress" in daemon.log
    assert daemon.stop() != 0  # it could not end its worker, and says so
    systemd.socket.close()


@pytest.mark.parametrize("variable", ["LISTEN_FDS"])
def test_garbage_from_the_service_manager(tiny_en: Path, tmp_path: Path, variable: str) -> None:
    script = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.environ[sys.argv[1]] = 'x';"
        "from whisperd.__main__ import main; sys.exit(main(sys.argv[2:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, variable, "--model", str(tiny_en), "--socket", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "LISTEN_FDS is 'x'" in done.stderr
