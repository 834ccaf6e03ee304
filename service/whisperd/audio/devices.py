"""Which capture devices there are, by ALSA's names."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..errors import NoMicrophone
from .capture import alsaaudio

KINDS: Final = {
    "default": "what ALSA is set to use",
    "sysdefault": "what ALSA uses for this card",
    "plughw": "converted by ALSA",
    "hw": "as the hardware is",
    "dsnoop": "shared with other programs",
    "pulse": "the sound server",
    "pipewire": "the sound server",
}
"""What a name means, by what stands before its colon."""

NO_MICROPHONES: Final = (
    *("null", "oss", "jack", "lavrate", "samplerate", "speexrate", "speex", "upmix", "vdownmix", "usbstream"),
    *("front", "rear", "center_lfe", "side", "surround", "iec958", "spdif", "hdmi", "modem", "dmix"),
)
"""Kinds that alsa-lib lists among the inputs: outputs, converters and bridges."""


@dataclass(frozen=True)
class Device:
    """A capture device.

    Attributes:
        name: ALSA's name, for `[microphone] device`.
        description: the card, and what this way to it does.
        default: whether it is the one that the daemon opens.
    """

    name: str
    description: str
    default: bool


def devices(configured: str = "default") -> list[Device]:
    """The capture devices, in ALSA's order; none if there is no sound card.

    Asking takes milliseconds, and longer where cards are many.

    Args:
        configured: the name that the daemon opens.

    Raises:
        NoMicrophone: pyalsaaudio is not installed, or ALSA cannot tell.
    """
    alsa = alsaaudio()
    try:
        names = alsa.pcms(alsa.PCM_CAPTURE)
    except alsa.ALSAAudioError as error:
        raise NoMicrophone(f"ALSA cannot list its devices: {error}") from error
    cards: dict[str, str] = {}
    # Who may not open a card is not told its name; the devices are listed all the same.
    with suppress(alsa.ALSAAudioError):
        cards = {card: alsa.card_name(i)[1] for card, i in zip(alsa.cards(), alsa.card_indexes(), strict=False)}
    found = []
    for name in dict.fromkeys(names):
        kind = name.partition(":")[0]
        if kind.rstrip("0123456789") not in NO_MICROPHONES:
            card = re.search(r"CARD=([^,]+)", name)
            parts = [cards.get(card[1], card[1]) if card else "", KINDS.get(kind, "")]
            found.append(Device(name, ", ".join(filter(None, parts)), name == configured))
    return found
