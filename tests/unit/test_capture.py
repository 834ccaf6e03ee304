"""One open capture device, with a pyalsaaudio that is made up: what is negotiated, lost and refused, and how."""

from __future__ import annotations

import errno
import os
import select
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from whisperd.audio import capture
from whisperd.audio.capture import Capture, DeviceLost, Obtained, negotiate
from whisperd.audio.devices import Device, devices
from whisperd.audio.pcm import PcmConverter, PcmFormat
from whisperd.errors import NoMicrophone

CODES = {"U8": 1, "S16_LE": 2, "S24_LE": 6, "S32_LE": 10, "S24_3LE": 32}
BITS = {"U8": (8, 8), "S16_LE": (16, 16), "S24_LE": (24, 32), "S32_LE": (32, 32), "S24_3LE": (24, 24)}
"""Significant and physical."""


class FakeError(Exception):
    """alsaaudio.ALSAAudioError."""


def alsa_error(code: int, device: str = "mic") -> FakeError:
    return FakeError(f"{os.strerror(code)} [{device}]")


class FakePcm:
    """An open device. Reads give what `script` holds, then nothing."""

    def __init__(self, alsa: FakeAlsa, wanted: dict[str, Any]) -> None:
        self.alsa, self.closed, self.dropped = alsa, False, False
        form = next(name for name, code in CODES.items() if code == wanted["format"])
        self.form = form if form in alsa.forms else alsa.forms[0]
        self.rate = min(alsa.rates, key=lambda rate: abs(rate - wanted["rate"]))
        self.channels = min(alsa.channels, key=lambda n: abs(n - wanted["channels"]))
        self.period = wanted["periodsize"]
        self.periods = wanted.get("periods", 4)
        self.script: list[Any] = list(alsa.first)
        if alsa.version >= (0, 9, 1):
            self.info = self._info

    def _info(self) -> dict[str, Any]:
        found = {
            "format": CODES[self.form],
            "format_name": self.form,
            "rate": self.rate,
            "channels": self.channels,
            "period_size": self.period,
            "buffer_size": self.period * self.periods,
            "significant_bits": self.alsa.significant or BITS[self.form][0],
        }
        return {**found, "physical_bits": BITS[self.form][1]} if self.alsa.version >= (0, 11) else found

    def _deprecated(self, value: int) -> int:
        assert self.alsa.version < (0, 9, 1), "info() says it"
        warnings.warn("This function is deprecated.", DeprecationWarning, stacklevel=2)
        return value

    def setformat(self, wanted: int) -> int:
        return self._deprecated(CODES[self.form])

    def setchannels(self, wanted: int) -> int:
        return self._deprecated(self.channels)

    def setrate(self, wanted: int) -> int:
        return self._deprecated(self.rate)

    def setperiodsize(self, wanted: int) -> int:
        return self._deprecated(self.period)

    def polldescriptors(self) -> list[tuple[int, int]]:
        return [(self.alsa.descriptor, select.POLLIN)]

    def read(self) -> tuple[int, bytes]:
        assert not self.closed
        given = self.script.pop(0) if self.script else (0, b"")
        given = given() if callable(given) else given
        if isinstance(given, Exception):
            raise given
        return given

    def drop(self) -> None:
        self.dropped = True

    def close(self) -> None:
        assert self.dropped, "it would be drained"
        self.closed = True


class FakeAlsa:
    """The module, of some version, with one device, which has some formats, rates and numbers of channels."""

    PCM_CAPTURE, PCM_NONBLOCK = 1, 1
    ALSAAudioError = FakeError

    def __init__(
        self,
        version: tuple[int, ...] = (0, 11),
        forms: Sequence[str] = ("S16_LE",),
        rates: Sequence[int] = (16_000,),
        channels: Sequence[int] = (1,),
    ) -> None:
        self.version, self.forms, self.rates, self.channels = version, forms, rates, channels
        self.significant = 0  # bits, where not as usual
        self.first: list[Any] = []  # of the script of each device
        self.refuse: dict[tuple[str, int], int] = {}
        self.opened: list[FakePcm] = []
        self.descriptor = -1
        for name, code in CODES.items():
            setattr(self, f"PCM_FORMAT_{name}", code)

    def PCM(self, **wanted: Any) -> FakePcm:  # noqa: N802
        if self.version < (0, 9) or ("periods" in wanted and self.version < (0, 10)):
            raise TypeError("an invalid keyword argument for this function")
        assert wanted["type"] == self.PCM_CAPTURE and wanted["mode"] == self.PCM_NONBLOCK
        form = next(name for name, code in CODES.items() if code == wanted["format"])
        for key in ((form, wanted["rate"]), (form, 0), ("", 0)):
            if key in self.refuse:
                raise alsa_error(self.refuse[key])
        self.opened.append(FakePcm(self, wanted))
        return self.opened[-1]


class Clock:
    """Time that passes only by sleeping, and by `tick` at each look."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def always_ready() -> Iterator[int]:
    """A descriptor that no poll waits for."""
    reading, writing = os.pipe()
    os.write(writing, b"x")
    yield reading
    os.close(reading)
    os.close(writing)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, clock: Clock, always_ready: int) -> Any:
    """Gives a Capture of a FakeAlsa, and its FakePcm."""

    def give(alsa: FakeAlsa) -> tuple[Capture, FakePcm]:
        alsa.descriptor = always_ready
        monkeypatch.setattr(capture, "alsaaudio", lambda: alsa)
        monkeypatch.setattr(capture, "time", SimpleNamespace(sleep=clock.sleep))
        found = Capture("mic", clock.monotonic)
        return found, alsa.opened[-1]

    return give


def block(frames: int, value: int = 7) -> tuple[int, bytes]:
    return frames, np.full(frames, value, "<i2").tobytes()


# --- negotiation ----------------------------------------------------------------------------------------------

VERSIONS = [(0, 9, 0), (0, 9, 2), (0, 10), (0, 11)]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize(
    ("forms", "rates", "channels", "gives"),
    [
        (["U8", "S16_LE", "S32_LE"], [8000, 16_000, 44_100, 48_000], [1, 2], ("S16_LE", 16_000, 1)),
        (["S16_LE"], [44_100, 48_000], [2], ("S16_LE", 48_000, 2)),
        (["S16_LE"], [8000, 48_000, 96_000], [1], ("S16_LE", 48_000, 1)),
        (["S16_LE"], [44_100], [2, 4], ("S16_LE", 44_100, 2)),
        (["S16_LE"], [32_000], [1], ("S16_LE", 32_000, 1)),
        (["S24_3LE"], [48_000], [2], ("S24_3LE", 48_000, 2)),
        (["U8", "S24_3LE"], [16_000], [8], ("S24_3LE", 16_000, 8)),
    ],
)
def test_the_best_of_what_the_device_has(
    version: tuple[int, ...], forms: list[str], rates: list[int], channels: list[int], gives: tuple[str, int, int]
) -> None:
    alsa = FakeAlsa(version, forms, rates, channels)
    pcm, obtained = negotiate(alsa, "mic")
    assert (obtained.form, obtained.rate, obtained.channels) == gives
    assert not pcm.closed and all(other.closed for other in alsa.opened if other is not pcm)
    assert pcm is alsa.opened[-1]
    # A fifth to half a second in ALSA's buffer, whatever the version can be asked for.
    assert 0.1 <= obtained.buffer / obtained.rate <= 1.3


def test_what_needs_no_second_try_has_none() -> None:
    alsa = FakeAlsa()
    assert negotiate(alsa, "mic")[1] == Obtained(16_000, "S16_LE", 1, 800, 8000)
    assert len(alsa.opened) == 1
    assert (
        str(Obtained(48_000, "S32_LE", 2, 2400, 24_000))
        == "48000 Hz, S32_LE, 2 channels, period 50 ms, buffer 500 ms"
    )


@pytest.mark.parametrize("form", ["S32_LE", "S24_LE"])
def test_formats_that_an_old_version_would_read_past_its_buffer(form: str) -> None:
    assert negotiate(FakeAlsa((0, 11), [form]), "mic")[1].form == form
    for version in VERSIONS[:3]:
        alsa = FakeAlsa(version, [form])
        alsa.significant = 24
        with pytest.raises(NoMicrophone) as caught:
            negotiate(alsa, "mic")
        assert f"it gives {form}, which wants pyalsaaudio 0.11 or newer" in caught.value.text
        assert all(pcm.closed for pcm in alsa.opened)


def test_32_significant_bits_are_safe_wherever_they_can_be_asked_for() -> None:
    assert negotiate(FakeAlsa((0, 10), ["S32_LE"]), "mic")[1].form == "S32_LE"
    assert negotiate(FakeAlsa((0, 9, 1), ["S32_LE"]), "mic")[1].form == "S32_LE"
    with pytest.raises(NoMicrophone, match=r"it gives S32_LE, which wants pyalsaaudio 0\.11"):
        negotiate(FakeAlsa((0, 9, 0), ["S32_LE"]), "mic")


def test_a_combination_that_is_refused_is_not_the_end() -> None:
    alsa = FakeAlsa((0, 11), ["S16_LE", "S32_LE"], [16_000])
    alsa.refuse = {("S16_LE", 0): errno.EINVAL}
    assert negotiate(alsa, "mic")[1].form == "S32_LE"


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.EACCES])
def test_a_device_that_cannot_be_opened(code: int) -> None:
    alsa = FakeAlsa()
    alsa.refuse = {("", 0): code}
    with pytest.raises(NoMicrophone) as caught:
        negotiate(alsa, "hw:7,0")
    assert (caught.value.code, caught.value.retry) == ("no-microphone", True)
    told = caught.value.text
    assert told.startswith(f"cannot open the microphone 'hw:7,0': {os.strerror(code)}. ")
    for remedy in ("`arecord -L`", "[microphone] device", "group audio"):
        assert remedy in told


@pytest.mark.parametrize(
    ("alsa", "says"),
    [
        (FakeAlsa(forms=["U8"]), "'hw:0': it gives U8; under its plughw: name ALSA converts"),
        (FakeAlsa(channels=[9]), "it gives 9 channels, more than 8"),
        (FakeAlsa(rates=[1000]), "it gives 1000 Hz"),
        (FakeAlsa(version=(0, 8, 4)), "old pyalsaaudio: there must be pyalsaaudio, 0.9 or newer"),
    ],
)
def test_devices_that_give_nothing_of_use(alsa: FakeAlsa, says: str) -> None:
    with pytest.raises(NoMicrophone) as caught:
        negotiate(alsa, "hw:0")
    assert says in caught.value.text
    assert all(pcm.closed for pcm in alsa.opened)


def test_without_pyalsaaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alsaaudio", None)
    for ask in (lambda: Capture("default"), devices):
        with pytest.raises(NoMicrophone, match=r"no microphone without pyalsaaudio.*python3-pyalsaaudio"):
            ask()


# --- samples --------------------------------------------------------------------------------------------------


def test_samples_pass_as_they_are(opened: Any) -> None:
    microphone, pcm = opened(FakeAlsa())
    speech = np.random.default_rng(1).integers(-32768, 32768, 640).astype("<i2")
    pcm.script = [(0, b""), (320, speech[:320].tobytes()), (320, speech[320:].tobytes())]
    blocks = [microphone.read(), microphone.read()]
    assert [lost for _, lost in blocks] == [0, 0]
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), speech)


def test_a_short_read_of_0_9_0_has_a_long_buffer(opened: Any) -> None:
    microphone, pcm = opened(FakeAlsa((0, 9, 0)))
    pcm.script = [(2, b"\1\0\2\0" + b"\xff" * 636)]
    np.testing.assert_array_equal(microphone.read()[0], [1, 2])


@pytest.mark.parametrize(
    ("form", "width", "rate", "channels"),
    [("S16_LE", 2, 44_100, 2), ("S32_LE", 4, 48_000, 2), ("S24_3LE", 3, 48_000, 1), ("S16_LE", 2, 16_000, 2)],
)
def test_what_is_not_16_kHz_mono_is_converted(
    opened: Any, form: str, width: int, rate: int, channels: int
) -> None:
    microphone, pcm = opened(FakeAlsa((0, 11), [form], [rate], [channels]))
    raw = np.random.default_rng(2).bytes(rate // 50 * 10 * width * channels)
    step = rate // 50 * width * channels
    pcm.script = [(rate // 50, raw[i : i + step]) for i in range(0, len(raw), step)]
    got = np.concatenate([microphone.read()[0] for _ in range(10)])
    expected = PcmConverter(PcmFormat(rate, width, channels)).push(raw)
    np.testing.assert_array_equal(got, expected)
    assert expected.size > 1000 and np.abs(expected.astype(int)).max() > 1000


def test_24_bits_in_32_whatever_the_upper_byte_is(opened: Any) -> None:
    microphone, pcm = opened(FakeAlsa((0, 11), ["S24_LE"]))
    pcm.script = [(4, bytes.fromhex("00 00 40 aa  00 00 c0 00  00 01 00 ff  00 00 80 7f".replace(" ", "")))]
    np.testing.assert_array_equal(microphone.read()[0], [16384, -16384, 1, -32768])


def test_nothing_yet_is_no_loss_and_takes_a_bounded_time(opened: Any, clock: Clock) -> None:
    microphone, _ = opened(FakeAlsa())
    begun = clock.now
    pcm, lost = microphone.read()
    assert (pcm.size, pcm.dtype, lost) == (0, np.int16, 0)
    assert capture.WAIT_SECONDS <= clock.now - begun < capture.WAIT_SECONDS + 0.1
    # Ready, and nothing there: never asked without a pause.
    assert min(clock.slept) >= 0.01 and len(clock.slept) <= 30


def test_a_device_that_gives_nothing_is_lost(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    pcm.script = [block(320)]
    microphone.read()
    begun = clock.now
    with pytest.raises(DeviceLost, match="it gives no samples for 3 s"):
        for _ in range(100):
            microphone.read()
    assert 3.0 < clock.now - begun < 3.5


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EIO, errno.EBADFD])
def test_errors_of_a_read(opened: Any, code: int) -> None:
    microphone, pcm = opened(FakeAlsa())
    pcm.script = [block(320), alsa_error(code)]
    microphone.read()
    with pytest.raises(DeviceLost) as caught:
        microphone.read()
    assert str(caught.value) == os.strerror(code)


def test_an_error_of_the_start_is_an_error_of_opening(opened: Any) -> None:
    alsa = FakeAlsa()
    alsa.first = [alsa_error(errno.EIO)]
    with pytest.raises(NoMicrophone, match=r"^cannot start the microphone 'mic': Input/output error$"):
        opened(alsa)
    assert alsa.opened[-1].closed


def test_it_runs_from_its_opening_on(opened: Any) -> None:
    alsa = FakeAlsa()
    alsa.first = [block(320, 5), block(320, 6)]
    microphone, pcm = opened(alsa)
    assert len(pcm.script) == 1
    assert [microphone.read()[0][0] for _ in range(2)] == [5, 6]


def test_closing_what_is_gone(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    microphone, pcm = opened(FakeAlsa())

    def gone() -> None:
        raise alsa_error(errno.ENODEV)

    monkeypatch.setattr(pcm, "close", gone)
    monkeypatch.setattr(pcm, "drop", gone)
    microphone.close()


# --- overruns -------------------------------------------------------------------------------------------------

OVERRUN = (-errno.EPIPE, b"")


def test_an_overrun_is_counted_and_estimated_by_the_time_that_passed(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    pcm.script = [block(320), OVERRUN, block(320, 8), block(320, 9)]
    assert microphone.read()[1] == 0
    clock.now += 2.0
    samples, lost = microphone.read()
    assert (samples[0], lost, microphone.overruns) == (8, 32_000, 1)
    assert microphone.read()[1] == 0


def test_an_overrun_costs_a_buffer_at_least(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa((0, 11), ["S16_LE"], [48_000], [2]))
    assert microphone.obtained.buffer == 24_000
    pcm.script = [OVERRUN, (960, bytes(3840))]
    clock.now += 0.1
    assert microphone.read()[1] == 8000  # of 16 kHz


def test_overruns_after_each_other_are_not_counted_twice(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())

    def later() -> tuple[int, bytes]:
        clock.now += 1.0
        return OVERRUN

    pcm.script = [block(320), later, later, block(320)]
    microphone.read()
    lost = 0
    for _ in range(3):
        samples, more = microphone.read()
        lost += more
        if samples.size:
            break
    assert samples.size and lost == 32_000 and microphone.overruns == 2


def test_nothing_but_overruns_is_a_lost_device(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())

    def later() -> tuple[int, bytes]:
        clock.now += 0.1
        return OVERRUN

    pcm.script = [later] * 1000
    with pytest.raises(DeviceLost, match="overruns again and again"):
        for _ in range(100):
            microphone.read()
    assert len(pcm.script) > 980


def test_a_process_that_was_stopped_for_long_has_lost_samples_and_no_device(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    pcm.script = [block(320)]
    microphone.read()
    clock.now += 60.0
    pcm.script = [OVERRUN, (0, b""), block(320, 8)]
    lost = [microphone.read() for _ in range(2)]
    assert sum(samples.size for samples, _ in lost) == 320
    assert sum(missing for _, missing in lost) == 60 * 16_000


# --- the end of data ------------------------------------------------------------------------------------------


def test_a_device_without_a_clock_has_ended(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    pcm.script = [block(320)] * 10_000
    got = 0
    with pytest.raises(DeviceLost, match="faster than time passes"):
        for _ in range(10_000):
            got += microphone.read()[0].size
    assert 8000 <= got <= 16_000, "the buffer's half second, and another"


def test_what_gathered_while_nobody_read_is_no_end(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    for _ in range(20):
        pcm.script = [block(320)] * 25  # a full buffer at once
        got = sum(microphone.read()[0].size for _ in range(25))
        assert got == 8000
        clock.now += 0.5


def test_a_clock_that_is_a_little_fast_is_none(opened: Any, clock: Clock) -> None:
    microphone, pcm = opened(FakeAlsa())
    for _ in range(20_000):
        clock.now += 0.02 * 0.99
        pcm.script = [block(320)]
        assert microphone.read()[0].size == 320


# --- the list -------------------------------------------------------------------------------------------------


def listing(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    found = SimpleNamespace(PCM_CAPTURE=1, ALSAAudioError=FakeError, **members)
    monkeypatch.setattr("whisperd.audio.devices.alsaaudio", lambda: found)


NAMES = [
    *("null", "speex", "default", "sysdefault:CARD=Device", "front:CARD=Device,DEV=0", "surround51:CARD=Device"),
    *(
        "hw:CARD=Device,DEV=0",
        "plughw:CARD=Device,DEV=0",
        "dsnoop:CARD=Device,DEV=0",
        "hw:CARD=Other,DEV=1",
        "pulse",
    ),
]


def test_devices_by_name_and_card(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = {0: ("USB PnP", "C-Media USB PnP Sound Device at usb-1.2, full speed")}
    listing(
        monkeypatch,
        pcms=lambda kind: NAMES,
        cards=lambda: ["Device"],
        card_indexes=lambda: [0],
        card_name=lambda i: longer[i],
    )
    usb = longer[0][1]
    assert devices() == [
        Device("default", "what ALSA is set to use", True),
        Device("sysdefault:CARD=Device", f"{usb}, what ALSA uses for this card", False),
        Device("hw:CARD=Device,DEV=0", f"{usb}, as the hardware is", False),
        Device("plughw:CARD=Device,DEV=0", f"{usb}, converted by ALSA", False),
        Device("dsnoop:CARD=Device,DEV=0", f"{usb}, shared with other programs", False),
        Device("hw:CARD=Other,DEV=1", "Other, as the hardware is", False),
        Device("pulse", "the sound server", False),
    ]
    assert [d.name for d in devices("pulse") if d.default] == ["pulse"]


def test_cards_that_may_not_be_asked_are_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise alsa_error(errno.EACCES, "hw:0")

    listing(monkeypatch, pcms=lambda kind: NAMES[6:7], cards=refuse)
    assert devices() == [Device("hw:CARD=Device,DEV=0", "Device, as the hardware is", False)]


def test_no_sound_card_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    listing(monkeypatch, pcms=lambda kind: ["null", "jack"], cards=list, card_indexes=list)
    assert devices() == []
