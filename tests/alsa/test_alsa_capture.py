"""Capture through the real alsa-lib: what devices give is found out, and every sample comes as it was played."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alsa_microphone
import numpy as np
import pytest
import rootfs
from alsa_microphone import CARD, FILE, AlsaMicrophone, Heard
from whisperd.audio.capture import Capture, DeviceLost
from whisperd.audio.devices import devices
from whisperd.audio.microphone import Microphone
from whisperd.audio.pcm import PcmConverter, PcmFormat
from whisperd.errors import NoMicrophone

WAIT_SECONDS = 60.0
"""For what happens within seconds; only a failure takes so long."""

BOTH = pytest.mark.parametrize("kind", [FILE, CARD])


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AlsaMicrophone]]:
    """Makes a microphone that this process sees, not plugged in yet."""
    made: list[AlsaMicrophone] = []

    def give(kind: str, **options: Any) -> AlsaMicrophone:
        alsa_microphone.require(kind=kind)
        microphone = AlsaMicrophone(tmp_path, kind, **options)
        made.append(microphone)
        monkeypatch.setenv("ALSA_CONFIG_PATH", microphone.environment["ALSA_CONFIG_PATH"])
        return microphone

    yield give
    for microphone in made:
        microphone.unplug()


def noise(seconds: float, seed: int = 1) -> bytes:
    """Loud from the first sample on, so that silence around it can be told from it."""
    generator = np.random.default_rng(seed)
    return (
        (generator.integers(1, 32768, round(16_000 * seconds)) * generator.choice([-1, 1])).astype("<i2").tobytes()
    )


async def until(condition: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), WAIT_SECONDS)


async def play(microphone: AlsaMicrophone, pcm: bytes) -> None:
    await asyncio.to_thread(microphone.play, pcm)


# --- one device -----------------------------------------------------------------------------------------------


class Reading:
    """Reads a device on a thread until it is lost or told to stop."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.pcm: list[Any] = []
        self.lost = 0
        self.error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                pcm, lost = self.capture.read()
                self.pcm.append(pcm)
                self.lost += lost
        except DeviceLost as error:
            self.error = str(error)

    def end(self, wait: bool = False) -> bytes:
        """Stop, or wait until the device is lost; all that was read."""
        if not wait:
            time.sleep(0.2)  # for what is on its way
            self._stop.set()
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        self.capture.close()
        return b"".join(block.tobytes() for block in self.pcm)


@BOTH
def test_bit_exact(make: Callable[..., AlsaMicrophone], kind: str) -> None:
    with make(kind) as microphone:
        capture = Capture(microphone.device)
        assert (capture.obtained.form, capture.obtained.rate, capture.obtained.channels) == ("S16_LE", 16_000, 1)
        reading = Reading(capture)
        clip = noise(2.0)
        begun = time.monotonic()
        microphone.play(clip)
        took = time.monotonic() - begun
        heard = reading.end()
    assert heard.strip(b"\0") == clip.strip(b"\0") and clip in heard
    assert (reading.lost, capture.overruns, reading.error) == (0, 0, "")
    assert took > 1.8, "in real time, or this proves little"


@pytest.mark.parametrize(
    ("form", "width", "rates", "channels", "chosen"),
    [
        ("S16_LE", 2, [44_100], 2, 44_100),
        ("S16_LE", 2, [48_000], 2, 48_000),
        ("S32_LE", 4, [48_000], 2, 48_000),
        ("S24_3LE", 3, [48_000], 1, 48_000),
        ("S16_LE", 2, [16_000], 2, 16_000),
        ("S32_LE", 4, [16_000], 1, 16_000),
        ("S16_LE", 2, [48_000, 8_000, 44_100, 96_000], 1, 48_000),
        ("S16_LE", 2, [32_000], 4, 32_000),
    ],
)
def test_devices_that_refuse_what_is_preferred(
    make: Callable[..., AlsaMicrophone], form: str, width: int, rates: list[int], channels: int, chosen: int
) -> None:
    """The card takes its one format, its channels and its rates, and nothing else."""
    with make(CARD, rates=rates, channels=channels, form=form) as microphone:
        capture = Capture(microphone.device)
        found = capture.obtained
        assert (found.form, found.rate, found.channels) == (form, chosen, channels)
        assert 0.015 < found.period / found.rate < 0.11 and 0.3 < found.buffer / found.rate < 0.8
        reading = Reading(capture)
        frames = round(chosen * 0.6)
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(frames) / chosen)
        values = np.repeat(np.round(tone * (2 ** (8 * width - 1) - 1)).astype("<i4"), channels)
        clip = values.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
        silence = bytes(chosen // 50 * 10 * width * channels)  # for both ends of the resampler's filter
        microphone.play(silence + clip + silence)
        heard = np.frombuffer(reading.end(), np.int16)
    expected = PcmConverter(PcmFormat(chosen, width, channels)).push(silence + clip + silence)
    assert expected.max() > 16_000
    # The silence before is of whole blocks, which are whole samples at 16 kHz: so the phase is the same.
    np.testing.assert_array_equal(np.trim_zeros(heard), np.trim_zeros(expected))
    assert reading.lost == 0


def test_what_was_not_read_in_time_is_counted(make: Callable[..., AlsaMicrophone]) -> None:
    with make(CARD) as microphone:
        capture = Capture(microphone.device)
        microphone.hush(False)
        time.sleep(0.1)
        while capture.read()[0].size:
            pass
        buffer = capture.obtained.buffer / 16_000
        microphone.burst(noise(0.8 * buffer))
        assert capture.read()[1] == 0, "within the buffer"
        microphone.burst(noise(1.4 * buffer))
        time.sleep(1.0)
        lost = 0
        clip = noise(0.3, seed=2)
        heard = b""
        reading = 0
        while capture.overruns == 0 and reading < 100:
            lost += capture.read()[1]
            reading += 1
        microphone.burst(clip)
        while len(heard) < len(clip):
            pcm, more = capture.read()
            heard += pcm.tobytes()
            lost += more
        capture.close()
    assert capture.overruns == 1
    # A buffer at least; by the clock, what passed since the last samples.
    assert 16_000 * buffer <= lost < 10 * 16_000
    assert heard == clip, "and it goes on behind the gap"


@BOTH
def test_not_there(make: Callable[..., AlsaMicrophone], kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    microphone = make(kind)
    with pytest.raises(NoMicrophone) as caught:
        Capture(microphone.device)
    assert caught.value.text.startswith("cannot open the microphone 'mic': No such ")
    with pytest.raises(NoMicrophone, match="cannot open the microphone 'hw:31': No such file or directory"):
        Capture("hw:31")
    assert capfd.readouterr() == ("", ""), "alsa-lib says nothing beside, at each try"


def test_unplugged(make: Callable[..., AlsaMicrophone]) -> None:
    with make(CARD) as microphone:
        reading = Reading(Capture(microphone.device))
        clip = noise(0.5)
        microphone.play(clip)
        time.sleep(0.1)
        microphone.unplug()
        heard = reading.end(wait=True)
    assert reading.error == "No such device"
    assert heard.strip(b"\0") == clip.strip(b"\0"), "nothing that was heard is kept back"


def test_the_file_plugin_at_the_end_of_its_file(make: Callable[..., AlsaMicrophone]) -> None:
    """It goes on giving whole blocks, at once, of what was in memory."""
    with make(FILE) as microphone:
        reading = Reading(Capture(microphone.device))
        clip = noise(0.5)
        microphone.play(clip)
        time.sleep(0.1)
        microphone.unplug()
        heard = reading.end(wait=True)
    assert "its data has ended" in reading.error
    assert clip in heard
    assert len(heard) < len(clip) + 32_000 * 2.5, "a bounded rest"


def test_silence_of_a_driver(make: Callable[..., AlsaMicrophone]) -> None:
    with make(CARD) as microphone:
        reading = Reading(Capture(microphone.device))
        microphone.play(noise(0.2))
        microphone.hush(False)
        reading.end(wait=True)
    assert reading.error == "it gives no samples for 3 s"


W_XOR_X = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit(77)
from whisperd.audio.capture import Capture
capture, samples = Capture(sys.argv[1]), 0
while samples < 3200:
    samples += capture.read()[0].size
capture.close()
print("heard")
"""


def test_it_works_where_write_and_execute_memory_is_denied(make: Callable[..., AlsaMicrophone]) -> None:
    """As systemd's MemoryDenyWriteExecute= does, through the same system call."""
    with make(CARD) as microphone:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, "-c", W_XOR_X, microphone.device]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    if done.returncode == 77:
        rootfs.skip("tests/alsa, memory denied", "the kernel cannot deny it to a process: Linux 6.3 can")
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_the_list_of_devices(make: Callable[..., AlsaMicrophone]) -> None:
    microphone = make(FILE)
    listed = devices(microphone.device)
    assert [d.name for d in listed if d.default] == ["mic"]
    assert "null" not in {d.name for d in listed}


# --- the shared microphone ------------------------------------------------------------------------------------


@BOTH
def test_two_listen_and_one_leaves(make: Callable[..., AlsaMicrophone], kind: str) -> None:
    async def story() -> None:
        microphone = Microphone(speaker.device)
        stays, leaves = Heard(), Heard()
        await microphone.join(leaves)
        await microphone.join(stays)
        await play(speaker, one)
        await until(lambda: one in leaves.pcm and one in stays.pcm)
        microphone.leave(leaves)
        until_then = leaves.pcm
        await play(speaker, two)
        await until(lambda: two in stays.pcm)
        assert leaves.pcm == until_then
        assert one in stays.pcm and stays.pcm.index(one) < stays.pcm.index(two)
        assert sum(stays.lost) == 0 and stays.events == [] and microphone.lost == 0
        await microphone.stop()

    one, two = noise(1.0, seed=1), noise(1.0, seed=2)
    with make(kind) as speaker:
        asyncio.run(story())


@BOTH
def test_not_there_at_the_start_and_then(make: Callable[..., AlsaMicrophone], kind: str) -> None:
    async def story() -> None:
        microphone = Microphone(speaker.device)
        heard = Heard()
        with pytest.raises(NoMicrophone, match="cannot open the microphone 'mic'"):
            await microphone.join(heard)
        speaker.plug()
        await microphone.join(heard)
        await play(speaker, clip)
        await until(lambda: clip in heard.pcm)
        await microphone.stop()

    clip = noise(0.5)
    speaker = make(kind)
    asyncio.run(story())


@BOTH
def test_unplugged_and_plugged_in_again(make: Callable[..., AlsaMicrophone], kind: str) -> None:
    async def story() -> None:
        microphone = Microphone(speaker.device)
        heard, other = Heard(), Heard()
        await microphone.join(heard)
        await microphone.join(other)
        await play(speaker, one)
        await until(lambda: one in heard.pcm)
        speaker.unplug()
        await until(lambda: heard.events)
        event, text, retry = heard.events[0]
        assert event == "lost" and "'mic' is lost" in text and retry == "0.25"
        await asyncio.sleep(1.0)
        assert len(heard.events) == 1, "told once, not at each try"
        before = len(heard.pcm)
        speaker.plug()
        await until(lambda: len(heard.events) == 2)
        assert heard.events[1] == ("restored",)
        await play(speaker, two)
        await until(lambda: two in heard.pcm[before:])
        assert other.events == heard.events and heard.pcm.endswith(other.pcm)  # it came a little later
        assert sum(heard.lost) == 0
        await microphone.stop()

    one, two = noise(0.5, seed=1), noise(0.5, seed=2)
    with make(kind) as speaker:
        asyncio.run(story())


@BOTH
def test_leaving_and_joining_again_within_100_ms(make: Callable[..., AlsaMicrophone], kind: str) -> None:
    async def story() -> None:
        microphone = Microphone(speaker.device)
        for n in range(5):
            heard = Heard()
            await microphone.join(heard)
            clip = noise(0.1, seed=n)
            await play(speaker, clip)
            await until(lambda heard=heard, clip=clip: clip in heard.pcm)  # type: ignore[misc]
            microphone.leave(heard)
        await microphone.stop()

    with make(kind) as speaker:
        asyncio.run(story())


def test_a_writer_that_stalls_and_goes_on(make: Callable[..., AlsaMicrophone]) -> None:
    """The file plugin then hangs in its read, as a driver may. Nobody waits for it, and it is taken up again."""

    async def story() -> None:
        microphone = Microphone(speaker.device)
        heard = Heard()
        await microphone.join(heard)
        await until(lambda: heard.blocks)
        speaker.hush(False)
        await until(lambda: heard.events)
        assert "has not come back" in heard.events[0][1]
        speaker.hush(True)
        await until(lambda: len(heard.events) == 2)
        await play(speaker, clip)
        await until(lambda: clip in heard.pcm)
        await microphone.stop()

    clip = noise(0.5)
    with make(FILE) as speaker:
        asyncio.run(story())


def test_nobody_listens_and_nothing_is_open(make: Callable[..., AlsaMicrophone]) -> None:
    def readers() -> int:
        links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return links.count(str(speaker.fifo))

    async def story() -> None:
        microphone = Microphone(speaker.device)
        idle = readers()
        heard = Heard()
        await microphone.join(heard)
        assert readers() == idle + 1
        microphone.leave(heard)
        await until(lambda: readers() == idle)
        await until(lambda: not [t for t in threading.enumerate() if t.name == "microphone"])
        await microphone.stop()

    with make(CARD) as speaker:
        asyncio.run(story())
