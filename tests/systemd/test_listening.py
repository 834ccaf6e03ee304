"""The sandboxed daemon hears a microphone: alsa-lib works behind the unit's filters, as the service's own user."""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from collections.abc import Iterator

import alsa_microphone
import numpy as np
import pytest
import rootfs
from alsa_microphone import FILE, AlsaMicrophone
from machine import MEMBER, Machine
from speech import COMMITTED, word_errors
from whisperd.audio.files import read_audio

INSIDE = "/srv/microphone"
DROP_IN = f"""\
[Service]
Environment=ALSA_CONFIG_PATH={INSIDE}/alsa.conf WHISPERD_MICROPHONE_DEVICE=mic
"""


@pytest.fixture
def microphone(machine: Machine) -> Iterator[AlsaMicrophone]:
    """One that the machine sees: the FIFO is in its files, and its writer outside."""
    alsa_microphone.require("tests/systemd")
    put_alsaaudio(machine)
    folder = machine.path(INSIDE)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    with AlsaMicrophone(folder, FILE) as made:
        made.fifo.chmod(0o644)
        config = folder / "alsa.conf"
        config.write_text(config.read_text().replace(str(folder), INSIDE))
        yield made


def put_alsaaudio(machine: Machine) -> None:
    """The module that the tests were installed with: building it in the machine would take a compiler there."""
    found = importlib.util.find_spec("alsaaudio")
    assert found is not None and found.origin is not None
    (packages,) = machine.root.glob("usr/local/lib/whisperd/lib/python3*/site-packages")
    if packages.parent.name != f"python{sysconfig.get_python_version()}":
        rootfs.skip("tests/systemd, the microphone", f"the machine's {packages.parent.name} is not this one")
    shutil.copy(found.origin, packages)


def test_a_member_listens(machine: Machine, microphone: AlsaMicrophone) -> None:
    sentence = read_audio(COMMITTED[0].path, 60)
    before = machine.cursor()
    with machine.drop_in(DROP_IN):
        machine.run("systemctl", "restart", "whisperd.service")
        machine.wait_ready()
        listening = machine.start("whisperctl", "listen", "--once", user=MEMBER)
        try:
            machine.wait("the microphone is open", lambda: "microphone mic is open" in machine.messages(before))
            silence = np.zeros(20_000, np.int16)
            microphone.play(np.concatenate([silence, sentence]).tobytes())  # silence follows by itself
            said, complained = listening.communicate(timeout=60)
        finally:
            listening.kill()
        assert listening.returncode == 0, complained + machine.told()
        assert word_errors(COMMITTED[0].text, said) == 0
        assert "microphone mic is closed" in machine.messages(before)
        assert machine.show("NRestarts") == "0"
    machine.run("systemctl", "restart", "whisperd.service")
    machine.wait_ready()
