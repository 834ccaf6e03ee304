"""One open capture device of ALSA: what it gives is found out, and its samples come out as int16 at 16 kHz mono.

Everything here blocks, for a bounded time, and belongs on a thread of its own. pyalsaaudio 0.9.0, which is the
image's (meta-python), and later are understood; they differ in ways that matter:

- None fails when the device cannot do what it is asked for: they open it with what it can do. `info()`, which
  tells what that is, came with 0.9.1; before, the deprecated setters answer.
- 0.9 cannot be asked for a number of periods and takes four, so its periods are made longer.
- Up to 0.10 the buffer of a read is as long as the *significant* bits of the samples, while ALSA writes all bits
  into it: 24 bits in 32 would destroy the heap. There, such formats are refused.
- 0.9 drains on `close`, which of a device that gives nothing never ends; one that was dropped is not drained.
- 0.9.0 gives a buffer of full length for a short read.
- All open a device with Python's lock held, so that no thread runs meanwhile. Opened as non-blocking it takes
  milliseconds, and a device that another program has fails at once instead of being waited for.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import select
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..errors import NoMicrophone
from .pcm import MAX_CHANNELS, MAX_RATE, MIN_RATE, SAMPLE_RATE, Int16Samples, PcmConverter, PcmFormat

RATES: Final = (SAMPLE_RATE, 48_000, 44_100)
"""In order of preference."""

FORMATS: Final = {"S16_LE": 2, "S32_LE": 4, "S24_3LE": 3, "S24_LE": 4}
"""In order of preference, with the bytes of a sample."""

BLOCK_SECONDS: Final = 0.05
"""Each read wakes two threads: reads of 20 ms cost 1.5% of a core more, and nobody notices 30 ms."""

BUFFER_PERIODS: Final = 10
"""Half a second that ALSA holds while this process does not get to run."""

LONG_PERIOD_SECONDS: Final = 0.1
"""Where the number of periods is fixed to four."""

WAIT_SECONDS: Final = 0.25
"""Longest wait of one `read`: so soon a thread notices that it is to stop."""

SILENT_SECONDS: Final = 3.0
"""A device that gives nothing for so long is gone, even if ALSA does not say so."""

MAX_IN_VAIN: Final = 10
"""Overruns after each other. A process that was stopped for long has one, and goes on."""

HASTE_SECONDS: Final = 0.5
"""Audio that may come before its time, beside what the buffer held. What is faster is no clock: it has ended."""

HASTE: Final = 1.1
"""Clocks of sound cards are exact to a thousandth. This only has to be above all of them."""

PACKAGE: Final = "pyalsaaudio, 0.9 or newer (pip: pyalsaaudio, Yocto: python3-pyalsaaudio)"


class DeviceLost(Exception):
    """An open device gives no more samples. The text is one clause for a person."""


@dataclass(frozen=True)
class Obtained:
    """What the device gives, which need not be what it was asked for.

    Attributes:
        rate: frames per second.
        form: ALSA's name of the sample format.
        channels: samples of a frame.
        period: frames that the device delivers at once.
        buffer: frames that it holds before it overruns.
    """

    rate: int
    form: str
    channels: int
    period: int
    buffer: int

    def __str__(self) -> str:
        channels = "mono" if self.channels == 1 else f"{self.channels} channels"
        period, buffer = (round(1000 * frames / self.rate) for frames in (self.period, self.buffer))
        return f"{self.rate} Hz, {self.form}, {channels}, period {period} ms, buffer {buffer} ms"


class Capture:
    """A capture device, open and running from construction to `close`.

    Attributes:
        obtained: what it gives.
        overruns: how often it dropped samples because nobody had read them in time.

    Args:
        device: ALSA's name of it.
        clock: seconds, monotonic.

    Raises:
        NoMicrophone: it cannot be opened or started, or gives nothing that can be converted; or pyalsaaudio is
            missing.
    """

    def __init__(self, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._alsa = alsaaudio()
        self._clock = clock
        self._pcm, self.obtained = negotiate(self._alsa, device)
        width = FORMATS[self.obtained.form]
        self._frame_bytes = width * self.obtained.channels
        self._converter = PcmConverter(PcmFormat(self.obtained.rate, width, self.obtained.channels))
        self._ours = (self.obtained.rate, self.obtained.form, self.obtained.channels) == (SAMPLE_RATE, "S16_LE", 1)
        self._poll = select.poll()
        for descriptor, events in self._pcm.polldescriptors():
            self._poll.register(descriptor, events)
        # A long period is not waited for: most devices count finer than they interrupt.
        long = self.obtained.period > 1.5 * BLOCK_SECONDS * self.obtained.rate
        self._patience = BLOCK_SECONDS if long else WAIT_SECONDS
        self._running = False  # after an overrun it has to be started again, by a read without a wait
        self.overruns = 0
        self._lost = 0  # frames, not reported yet
        self._heard_at = self._counted_to = self._alive_at = clock()
        self._in_vain = 0  # overruns since the last samples
        # Frames that may come now without being too many.
        self._allowed_most = self.obtained.buffer + HASTE_SECONDS * self.obtained.rate
        self._allowed = self._allowed_most
        # It is the first read that starts the device. Who has it open is to miss nothing from then on.
        self._early: tuple[int, bytes] | None
        try:
            self._early = self._read()
        except DeviceLost as error:
            self.close()
            raise NoMicrophone(f"cannot start the microphone {device!r}: {error}") from error

    def read(self) -> tuple[Int16Samples, int]:
        """Wait for samples, at most `WAIT_SECONDS`.

        Returns:
            (int16[n] at 16 kHz mono, samples at 16 kHz that were lost before them). n is 0 if none have come.

        Raises:
            DeviceLost: unplugged, broken, without samples for `SILENT_SECONDS`, or at the end of its data.
        """
        until = self._clock() + WAIT_SECONDS
        while True:
            early, self._early = self._early, None
            ready = early is None and self._running and self._wait()
            frames, data = early or self._read()
            now = self._clock()
            if frames > 0:
                self._running = True
                return self._take(frames, data, now)
            self._running = frames == 0
            if frames == -errno.EPIPE:
                self._overrun(now)
            if now - self._alive_at > SILENT_SECONDS:
                raise DeviceLost(f"it gives no samples for {SILENT_SECONDS:g} s")
            if now >= until:
                return np.zeros(0, np.int16), 0
            if ready:
                # Ready, and yet nothing to read: the timer of a plugin, which must not be asked without a pause.
                time.sleep(BLOCK_SECONDS / 2)

    def close(self) -> None:
        """Give the device back. Harmless when it is gone already."""
        _shut(self._alsa, self._pcm)

    def _read(self) -> tuple[int, bytes]:
        try:
            frames, data = self._pcm.read()
        except self._alsa.ALSAAudioError as error:
            raise DeviceLost(_reason(error)) from error
        return frames, data

    def _take(self, frames: int, data: bytes, now: float) -> tuple[Int16Samples, int]:
        rate = self.obtained.rate
        earned = (now - self._heard_at) * rate * HASTE
        self._allowed = min(self._allowed_most, self._allowed + earned) - frames
        if self._allowed < 0:
            raise DeviceLost("its data has ended: it gives samples faster than time passes")
        self._heard_at = self._counted_to = self._alive_at = now
        self._in_vain = 0
        data = data[: frames * self._frame_bytes]
        if self.obtained.form == "S24_LE":  # the upper byte of four means nothing
            data = (np.frombuffer(data, "<i4") << 8).tobytes()
        lost, self._lost = self._lost, 0
        # What needs no conversion is spared the way through float32: this happens all day long.
        pcm = np.frombuffer(data, "<i2") if self._ours else self._converter.push(data)
        return pcm, round(lost * SAMPLE_RATE / rate)

    def _overrun(self, now: float) -> None:
        # The buffer was full, and the recovery has emptied it: everything since the last samples is gone.
        self.overruns += 1
        self._lost += max(self.obtained.buffer, round((now - self._counted_to) * self.obtained.rate))
        self._counted_to = self._alive_at = now
        self._in_vain += 1
        if self._in_vain > MAX_IN_VAIN:
            raise DeviceLost("it overruns again and again, and gives no samples")

    def _wait(self) -> bool:
        return bool(self._poll.poll(1000 * self._patience))


def negotiate(alsa: Any, device: str) -> tuple[Any, Obtained]:
    """Open a device in the format and rate that it has and that come first in FORMATS and RATES.

    A device with none of the rates gives its nearest to 48 kHz. Of channels it gives what it has nearest to one.

    Returns:
        (the open alsaaudio.PCM, non-blocking; what it gives)

    Raises:
        NoMicrophone: naming the device, ALSA's reason and what to do.
    """
    problem = ""
    for form in FORMATS:
        for rate, exact in (*((rate, True) for rate in RATES), (48_000, False)):
            try:
                pcm, obtained = _ask(alsa, device, form, rate)
            except _NotThis as error:
                problem = problem or str(error)
                break  # no rate makes it better
            if not exact or obtained.rate == rate:
                if MIN_RATE <= obtained.rate <= MAX_RATE:
                    return pcm, obtained
                problem = problem or f"it gives {obtained.rate} Hz"
            _shut(alsa, pcm)
    raise NoMicrophone(f"cannot use the microphone {device!r}: {problem}; under its plughw: name ALSA converts")


class _NotThis(Exception):
    """The device opens, but not so."""


def _ask(alsa: Any, device: str, form: str, rate: int) -> tuple[Any, Obtained]:
    wanted: dict[str, Any] = {
        "type": alsa.PCM_CAPTURE,
        "mode": alsa.PCM_NONBLOCK,
        "device": device,
        "rate": rate,
        "channels": 1,
        "format": getattr(alsa, f"PCM_FORMAT_{form}"),
    }
    try:
        try:
            pcm = alsa.PCM(**wanted, periodsize=round(rate * BLOCK_SECONDS), periods=BUFFER_PERIODS)
        except TypeError:  # before 0.10
            pcm = alsa.PCM(**wanted, periodsize=round(rate * LONG_PERIOD_SECONDS))
    except TypeError as error:
        raise NoMicrophone(f"no microphone with this old pyalsaaudio: there must be {PACKAGE}") from error
    except alsa.ALSAAudioError as error:
        reason = _reason(error)
        if reason == os.strerror(errno.EINVAL):
            raise _NotThis(f"it takes none of the settings of {form} at {rate} Hz") from error
        raise NoMicrophone(
            f"cannot open the microphone {device!r}: {reason}. `arecord -L` lists what"
            " [microphone] device may name; the user of whisperd must be in the group audio"
        ) from error
    try:
        obtained, safe = _obtained(alsa, pcm, wanted)
        if obtained.form != form or not safe:
            raise _NotThis(
                f"it gives {obtained.form}" + ("" if safe else ", which wants pyalsaaudio 0.11 or newer")
            )
        if not 1 <= obtained.channels <= MAX_CHANNELS:
            raise _NotThis(f"it gives {obtained.channels} channels, more than {MAX_CHANNELS}")
    except BaseException:
        _shut(alsa, pcm)
        raise
    return pcm, obtained


def _obtained(alsa: Any, pcm: Any, wanted: dict[str, Any]) -> tuple[Obtained, bool]:
    """What the device gives, and whether it is safe to read from it."""
    names = {getattr(alsa, f"PCM_FORMAT_{form}"): form for form in FORMATS}
    if hasattr(pcm, "info"):
        info = pcm.info()
        form = names.get(info["format"], info["format_name"])
        obtained = Obtained(info["rate"], form, info["channels"], info["period_size"], info["buffer_size"])
        allotted = info.get("physical_bits", info["significant_bits"])
        return obtained, form not in FORMATS or allotted == 8 * FORMATS[form]
    # 0.9.0: the setters are deprecated, set what is set already, and return what there is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        code = pcm.setformat(wanted["format"])
        channels, rate = pcm.setchannels(wanted["channels"]), pcm.setrate(wanted["rate"])
        period = pcm.setperiodsize(round(rate * LONG_PERIOD_SECONDS))
    form = names.get(code, f"format {code}")
    return Obtained(rate, form, channels, period, 4 * period), form not in FORMATS or form in ("S16_LE", "S24_3LE")


def _shut(alsa: Any, pcm: Any) -> None:
    for last in (pcm.drop, pcm.close):
        with suppress(alsa.ALSAAudioError):  # of a device that has vanished, ALSA may say so once more
            last()


def alsaaudio() -> Any:
    """The module alsaaudio, made quiet: alsa-lib writes to standard error, at every try, what errors say as well.

    Raises:
        NoMicrophone: it is not installed.
    """
    try:
        import alsaaudio as module
    except ImportError as error:
        raise NoMicrophone(f"no microphone without {PACKAGE}: {error}") from error
    # A function of C that does nothing with any arguments; one of Python's would need memory that is writable and
    # executable, which the service is denied.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(ctypes.CDLL(None).getpid)
    return module


def _reason(error: Exception) -> str:
    """What ALSA says, without the device's name, which pyalsaaudio puts behind it."""
    return re.sub(r" \[.*\]$", "", str(error))
