"""The Qt side: its C++ tests, built and run here; and that translations, pictures and installation are whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import wave
from pathlib import Path
from xml.etree import ElementTree

import alsa_microphone
import pytest
import rootfs
from daemon_process import VAD

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "service" / "qt"
SCREENSHOTS = ROOT / "docs" / "screenshots"
PACKAGES = (
    "qt6-base-dev qt6-declarative-dev qt6-tools-dev qt6-tools-dev-tools qt6-l10n-tools libgl1-mesa-dev"
    " qml6-module-qtquick qml6-module-qtquick-controls qml6-module-qtquick-window cmake ninja-build g++"
)
QT_CONFIG = ("Qt6Qml/Qt6QmlConfig.cmake", "Qt6LinguistTools/Qt6LinguistToolsConfig.cmake")
BUILD_SECONDS = 1200
TEST_SECONDS = 600


def missing() -> list[str]:
    """What is not installed."""
    tools = [name for name in ("cmake", "ninja", "g++") if shutil.which(name) is None]
    folders = [Path("/usr/lib/cmake"), *Path("/usr/lib").glob("*-linux-gnu*/cmake")]
    qt = [name for name in QT_CONFIG if not any((folder / name).is_file() for folder in folders)]
    return tools + qt


if lacking := missing():
    rootfs.NOT_RUN["tests/qt"] = f"{', '.join(lacking)} is not there; Debian: apt install {PACKAGES}"
    pytest.skip(rootfs.NOT_RUN["tests/qt"], allow_module_level=True)


def run(*command: str | Path, seconds: float = BUILD_SECONDS, **environment: str) -> str:
    """Run a command and return what it wrote; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def build() -> Path:
    """The build folder, kept in the clone: what is built already is not built again."""
    folder = ROOT / "build" / "qt"
    run("cmake", "-G", "Ninja", "-S", ROOT / "tests" / "qt", "-B", folder)
    output = run("cmake", "--build", folder, "--parallel", "2")
    assert "warning:" not in output, output
    return folder


def run_test(build: Path, name: str, *arguments: str, **environment: str) -> str:
    """Run one of the C++ tests without a screen; returns its output, in which something has passed."""
    output = run(
        build / name,
        *arguments,
        seconds=TEST_SECONDS,
        QT_QPA_PLATFORM="offscreen",
        QT_QUICK_BACKEND="software",
        QML_IMPORT_PATH=str(build / "qml"),
        PYTHON=sys.executable,
        LC_ALL="C.UTF-8",
        **environment,
    )
    totals = re.search(r"Totals: (\d+) passed, 0 failed, (\d+) skipped", output)
    assert totals, output
    assert int(totals[1]) > 2, output
    assert totals[2] == "0", output
    print(totals[0])
    return output


@pytest.fixture(scope="session")
def real_daemon(base: Path) -> dict[str, str]:
    """How the C++ tests start whisperd."""
    command = [sys.executable, "-m", "whisperd", "--model", str(base), "--socket", "SOCKET", "--threads", "2"]
    return {
        "META_WHISPER_DAEMON": json.dumps(command),
        "WHISPERD_SOCKET_GROUP": "",
        "WHISPERD_MODEL_VAD": str(VAD),
    }


def test_the_codec_makes_of_the_shared_streams_what_pythons_makes_of_them(build: Path) -> None:
    run_test(build, "tst_wire")


def test_the_client_against_a_scripted_and_the_real_daemon(build: Path, real_daemon: dict[str, str]) -> None:
    run_test(build, "tst_client")
    run_test(build, "tst_audio", **real_daemon)


class Speaker:
    """Speaks into a microphone what the C++ test asks for: the file `order` in its folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._order = folder / "order"
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._microphone = alsa_microphone.AlsaMicrophone(folder, alsa_microphone.CARD)
        self._thread = threading.Thread(target=self._obey, name="speaker-orders")
        self.environment = {**self._microphone.environment, "META_WHISPER_SPEAKER": str(folder)}

    def _obey(self) -> None:
        try:
            while not self._over.wait(0.02):
                if self._order.is_file():
                    what, _, name = self._order.read_text().partition(" ")
                    self._order.unlink()
                    if what == "play":
                        with wave.open(str(ROOT / "tests" / "data" / name)) as clip:
                            self._microphone.play(clip.readframes(clip.getnframes()))
                    else:
                        getattr(self._microphone, what)()
        except BaseException as error:  # told by __exit__
            self._error = error

    def __enter__(self) -> Speaker:
        self._microphone.plug()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(130)
        self._microphone.unplug()
        if self._error is not None:
            raise AssertionError("the speaker failed") from self._error


def test_the_gui_is_driven_and_photographed(build: Path, real_daemon: dict[str, str], tmp_path: Path) -> None:
    """Pictures go into a folder of their own; WHISPER_SCREENSHOTS=docs/screenshots renews those of the manual."""
    alsa_microphone.require("tests/qt, the GUI", alsa_microphone.CARD)
    folder = Path(os.environ.get("WHISPER_SCREENSHOTS") or tmp_path / "pictures").resolve()
    with Speaker(tmp_path / "speaker") as speaker:
        environment = {**real_daemon, **speaker.environment, "WHISPER_SCREENSHOTS": str(folder)}
        output = run_test(build, "tst_gui", **environment) + run_test(build, "tst_pictures", **environment)
    assert "ReferenceError" not in output, output
    assert "TypeError" not in output, output
    assert "Binding loop" not in output, output
    made = {path.name for path in folder.iterdir()}
    assert len(made) > 20
    assert made == {path.name for path in SCREENSHOTS.iterdir()}


def test_the_manual_shows_every_picture() -> None:
    manual = (ROOT / "docs" / "gui.md").read_text("utf-8")
    shown = set(re.findall(r"screenshots/([\w-]+\.png)", manual))
    assert shown == {path.name for path in SCREENSHOTS.iterdir()}


@pytest.mark.parametrize("language", ["de", "ar"])
def test_every_text_is_translated(language: str, tmp_path: Path) -> None:
    name = f"whisper-gui_{language}.ts"
    lupdate = shutil.which("lupdate", path="/usr/lib/qt6/bin:" + os.environ["PATH"])
    assert lupdate, PACKAGES
    copy = tmp_path / name
    shutil.copy(SOURCE / "gui" / "translations" / name, copy)
    run(lupdate, "-no-obsolete", "-locations", "none", SOURCE / "gui" / "qml", "-ts", copy)
    messages = list(ElementTree.parse(copy).iter("message"))
    assert len(messages) > 60
    for message in messages:
        translation = message.find("translation")
        source = message.findtext("source")
        assert translation is not None
        assert translation.get("type") is None, f"{name}: {source!r} is not translated: run lupdate"
        assert translation.text, f"{name}: {source!r} is empty"
        assert ("%1" in translation.text) == ("%1" in (source or "")), f"{name}: {source!r} loses its value"


def test_what_is_installed_finds_its_parts(build: Path, tmp_path: Path) -> None:
    """The program, from the folders of an image: its module is found, and the module's library."""
    run("cmake", "--install", build / "service", "--prefix", tmp_path)
    program = tmp_path / "bin" / "whisper-gui"
    module = next(tmp_path.rglob("qml/Whisper"))
    assert {path.name for path in module.iterdir()} == {
        "libwhisperclientplugin.so",
        "qmldir",
        "whisperclient.qmltypes",
    }
    assert next(tmp_path.rglob("libwhisperclient.so.0")).is_symlink()
    help_text = run(program, "--help", QT_QPA_PLATFORM="offscreen")
    assert "--socket" in help_text
    # It runs until it is stopped, so it is stopped.
    process = subprocess.Popen(
        [program, "--size", "800x480", "--socket", tmp_path / "none.sock"],
        env={
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "QT_QUICK_BACKEND": "software",
            "QML_IMPORT_PATH": str(module.parent),
            "QT_FATAL_WARNINGS": "1",
            "XDG_RUNTIME_DIR": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.wait(3)
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    process.kill()
    _, errors = process.communicate()
    assert not ended, errors
