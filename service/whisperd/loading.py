"""From the configuration to an engine, at the daemon's start and at a reload."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from . import config
from .cores import Considerate, Cores
from .errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from .speech.bundle import Manifest

log = logging.getLogger("whisperd")


def checked_bundle(model: config.ModelConfig) -> Manifest:
    """Every file of the bundle is what its manifest says, and it knows the configured languages."""
    from .speech.bundle import verify

    manifest = verify(model.path)
    for key, codes in (("language", (model.language,)), ("languages", model.languages)):
        for code in codes:
            if code != config.DETECT_LANGUAGE and code not in manifest.tokens.languages:
                known = " ".join(manifest.tokens.languages)
                raise ConfigError(f"model.{key}: {manifest.name} does not know {code!r}; it knows: {known}")
    return manifest


def load(settings: config.Config) -> Considerate:
    """An engine, not warm yet; its bundle has been checked.

    Raises:
        BundleError: it cannot be loaded all the same.
    """
    from .speech.streaming import POLICIES
    from .speech.transcribe import load

    model = settings.model
    threads = config.thread_count(model.threads)
    engine = load(
        model.path,
        threads=threads,
        language=model.language,
        languages=model.languages,
        vad=vad_file(model),
        awake=model.spin == "always",
        policy=POLICIES[settings.live.policy],
    )
    return Considerate(engine, Cores(threads) if model.spin == "auto" else None)


def vad_file(model: config.ModelConfig) -> Path | None:
    """The detector's file, if it is there: an image or a PC may do without it, but not unknowingly."""
    if model.vad and not model.vad.exists():
        log.warning("no voice activity detector %s: noise goes to Whisper, which may hear words in it", model.vad)
        return None
    return model.vad
