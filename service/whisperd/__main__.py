"""whisperd: the daemon, from configuration to stop.

Read `main`, then `run`, then `_serve`: they tell the whole story. What takes long to import (numpy, the
model's run-time) is imported where it is needed, so that --help and a mistyped flag are answered at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from whisperd import __version__, config, listen, logs, memory
from whisperd.cores import Considerate
from whisperd.errors import ConfigError, WhisperdError
from whisperd.loading import checked_bundle as _checked_bundle
from whisperd.loading import load as _load
from whisperd.loading import vad_file

if TYPE_CHECKING:
    import socket

    from whisperd.http.front import Front
    from whisperd.reload import Running
    from whisperd.scheduler import Scheduler
    from whisperd.server import Server
    from whisperd.speech.bundle import Manifest
    from whisperd.speech.types import Engine
    from whisperd.systemd import Notifier

log = logging.getLogger("whisperd")

OK, FAILED, FORCED = 0, 1, 130

HTTP_SOCKET = "http"
"""FileDescriptorName= of the socket unit for HTTP."""

PAUSE_SECONDS, REST_SECONDS = 1.0, 10.0
"""How long nothing is to be done before the threads are set to the cores, and before memory is given back: who
says one thing often says another, and memory that was given back has to be cleared again."""

STATUS_SECONDS = 5.0
"""How often the line for `systemctl status` is looked at, where no watchdog asks for more."""

EPILOG = """\
examples:
  whisperd             serve as /etc/whisperd/whisperd.toml says
  whisperd --check     check the configuration and every file of the model, and say what is wrong
  WHISPERD_SOCKET_GROUP= whisperd --socket /tmp/whisper.sock --model ~/.cache/meta-whisper/base
                       serve on a PC, where there is no group "whisper" to give the socket to

Each option of the configuration file can also be set by a variable WHISPERD_<SECTION>_<OPTION>, such as
WHISPERD_LOG_LEVEL=debug. A flag overrides a variable, and a variable overrides the file.

SIGTERM and SIGINT (Ctrl-C) stop the daemon when the running request is done or limits.stop_seconds are over;
a second Ctrl-C stops it at once. SIGHUP reads the configuration again and takes over what it asks for, a changed
model too, if all of it is good; with a terminal, SIGHUP is the terminal's end and stops the daemon.

exit codes: 0 stopped or checked without an error, 1 check or start failed, 2 wrong usage,
            130 stopped by force
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parse(argv)
    logs.set_up(config.LogConfig(), os.environ)
    try:
        settings = arguments.settings()
        if arguments.check:
            return check(settings)
        run(settings, arguments.settings)
    except WhisperdError as error:
        return _failed(error.text)
    except ImportError as error:
        if (error.name or "").startswith("whisperd.http"):  # a package of its own in the image
            return _failed("HTTP is configured, and not installed: install the package whisperd-http")
        return _failed(f"a package is missing or broken ({error}): install whisperd and its dependencies again")


def _failed(text: str) -> int:
    """Say why, in the log and where `systemctl status` shows it after the end."""
    log.error("%s", text)
    with contextlib.suppress(ImportError):
        from whisperd.systemd import Notifier

        with contextlib.closing(Notifier()) as notifier:
            notifier.status(f"failed: {text}")
    return FAILED


def check(settings: config.Config) -> int:
    """Check all that can be checked without serving; prints what is good, raises for what is not."""
    listen.group_id(settings.socket.group)
    print("configuration: good")
    if settings.http.wanted:
        from whisperd.http import front

        front.check(settings)
        print("HTTP: good")
    manifest = _checked_bundle(settings.model)
    print(f"model: good ({manifest.name}, {manifest.precision}, {settings.model.path})")
    if vad := vad_file(settings.model):
        from whisperd.speech.vad import VoiceDetector

        VoiceDetector(vad)
        print(f"voice activity detector: good ({vad})")
    return OK


def run(settings: config.Config, read_again: Callable[[], config.Config]) -> NoReturn:
    """Serve until a signal comes; `read_again` gives the settings that a reload is to take over."""
    from whisperd import systemd
    from whisperd.reload import Running

    logs.set_up(settings.log, os.environ)
    own: listen.OwnSocket | None = None
    front: Front | None = None

    def clean_up() -> None:
        for made in (own, front):
            if made:
                made.remove()

    def leave(signum: int, frame: Any) -> NoReturn:
        # There is nothing to finish yet. No exception: one that is raised while a module is compiled, or within
        # somebody's `except`, is swallowed there, and with it the wish to stop.
        clean_up()
        os._exit(OK)

    # Until the event loop takes over: the model takes seconds to load on the target.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, leave)
    if _has_terminal():
        signal.signal(signal.SIGHUP, leave)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # one that comes now is for later, and not lost
    notifier = systemd.Notifier()
    watchdog_seconds = systemd.watchdog_interval(os.environ, os.getpid())
    listeners = systemd.listeners(os.environ, os.getpid())
    handed_over = [listener.socket for listener in listeners if listener.name != HTTP_SOCKET]
    for_http = [listener.socket for listener in listeners if listener.name == HTTP_SOCKET]
    if not handed_over:
        listen.check(settings.socket)

    memory.tune()
    try:
        if for_http or settings.http.wanted:
            from whisperd.http.front import Front

            front = Front(settings, for_http)  # from now on it tells that the model is not there yet
        scheduler, manifest = _started(settings, notifier)
        own = None if handed_over else listen.bind(settings.socket)
        sockets = [own.socket] if own else handed_over
        maker = _Maker(Running(settings, manifest), read_again)
        asyncio.run(_serve(maker, scheduler, sockets, front, _Signs(notifier, watchdog_seconds), clean_up))
    finally:
        clean_up()


def _started(settings: config.Config, notifier: Notifier) -> tuple[Scheduler, Manifest]:
    """A scheduler over a warm engine. It alone holds the engine: a reload is to free the memory of the old one."""
    from onnxruntime import RunOptions

    from whisperd.scheduler import Rest, Scheduler

    begun = time.monotonic()
    notifier.status("checking the model")
    manifest = _checked_bundle(settings.model)
    notifier.status("loading the model")
    engine = _warm(settings)
    memory.trim()  # loading takes 30 MB more than serving
    info = engine.info
    log.info(
        "model %s (%s), %d threads, %d languages, default %s, ready after %.1f s",
        info.name,
        info.precision,
        config.thread_count(settings.model.threads),
        len(info.allowed_languages),
        info.default_language,
        time.monotonic() - begun,
    )
    limit = settings.limits.max_queue
    rests = (Rest(PAUSE_SECONDS, _pause), Rest(REST_SECONDS, lambda engine: memory.trim()))
    return Scheduler(engine, max_queue=limit, run_options=RunOptions, at_rest=rests), manifest


@dataclass(frozen=True)
class _Maker:
    """How a reload makes what the start made."""

    running: Running
    read: Callable[[], config.Config]

    def check(self, model: config.ModelConfig) -> Manifest:
        """Every file is right."""
        return _checked_bundle(model)

    def load(self, settings: config.Config) -> Considerate:
        """Loaded and warm."""
        return _warm(settings)


@dataclass
class _Signs:
    """What systemd is to hear while the daemon serves."""

    notifier: Notifier
    watchdog_seconds: float | None

    async def give(self, server: Server, scheduler: Scheduler) -> NoReturn:
        """Keep the status line and the watchdog fed. sd_watchdog_enabled(3) asks for half the interval."""
        from whisperd.systemd import Watchdog

        pause = min(STATUS_SECONDS, (self.watchdog_seconds or 2 * STATUS_SECONDS) / 2)
        watchdog = Watchdog(self.watchdog_seconds) if self.watchdog_seconds else None
        shown, was_well = "", True
        while True:
            if (status := _status_line(server)) != shown:
                self.notifier.status(status)
                shown = status
            if watchdog:
                well = watchdog.well(scheduler.progress(), time.monotonic())
                if well:
                    self.notifier.watchdog()
                elif was_well:
                    log.error("the inference worker makes no progress: the watchdog is no longer fed")
                was_well = well
            await asyncio.sleep(pause)


async def _serve(
    maker: _Maker,
    scheduler: Scheduler,
    sockets: Sequence[socket.socket],
    front: Front | None,
    signs: _Signs,
    clean_up: Callable[[], None],
) -> NoReturn:
    from whisperd.reload import Reloader
    from whisperd.server import Server

    def end_at_once(code: int) -> NoReturn:
        clean_up()
        logging.shutdown()
        os._exit(code)

    stop = _stop_on_signals(end_at_once)
    scheduler.start()
    settings = maker.running.settings
    server = Server(
        scheduler,
        settings.limits,
        endpoints=settings.live.endpoints,
        microphone=settings.microphone.device,
    )
    reloader = Reloader(
        maker, server, scheduler, signs.notifier, on_settings=lambda new: logs.set_up(new.log, os.environ)
    )
    if not _has_terminal():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.request)
    await server.start(sockets)
    if front:
        await front.serve(server)
    giving = asyncio.create_task(signs.give(server, scheduler))
    reloading = asyncio.create_task(reloader.serve(lambda: _status_line(server)))
    signs.notifier.ready(_status_line(server))
    listening = [*sockets, *(front.sockets if front else ())]
    log.info("ready on %s", " ".join(map(listen.name_of, listening)))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, giving, reloading}, return_when=asyncio.FIRST_COMPLETED)

    log.info("stopping")
    reloader.stop()
    signs.notifier.stopping("stopping")
    ended = await server.stop()
    if not ended:
        log.error("the inference worker does not end: leaving without it")
        # The worker's thread is inside the run-time, whose clean-up would wait for it or crash.
        end_at_once(FAILED)
    for task in (giving, reloading):
        if task.done():
            task.result()  # raises what broke it: a daemon that cannot tell its health is not well
        task.cancel()
    log.info("stopped")
    # Not by way of the loop's end: that gives SIGTERM its default back, and a second one in the last milliseconds
    # would make a clean stop look like a kill. Nor is a thread that still loads a model waited for.
    end_at_once(OK)


def _stop_on_signals(end_at_once: Callable[[int], NoReturn]) -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a SIGINT after that ends the process."""
    stop = asyncio.Event()

    def on_signal(signum: int) -> None:
        if stop.is_set() and signum == signal.SIGINT:
            log.warning("stopped by force")
            end_at_once(FORCED)
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if _has_terminal() else ())):
        loop.add_signal_handler(signum, on_signal, signum)
    return stop


def _has_terminal() -> bool:
    """Whether there is a controlling terminal: then SIGHUP says that it has gone, and is no wish for a reload."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _warm(settings: config.Config) -> Considerate:
    engine = _load(settings)
    engine.warm_up()
    return engine


def _pause(engine: Engine) -> None:
    """The last request is over, and the next one has not come yet; on the worker's thread."""
    if isinstance(engine, Considerate) and engine.rest():
        memory.trim()


def _status_line(server: Server) -> str:
    status = server.status()
    line = "{model}: {state}, {queue} waiting, {connections} connections".format_map(status)
    return f"{line}; reload refused: {error}" if (error := status["reload_error"]) else line


# --- command line -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arguments:
    file: Path | None
    flags: dict[str, str]
    check: bool

    def settings(self) -> config.Config:
        """What the file, the environment and the flags say now."""
        file = self.file or (config.DEFAULT_FILE if config.DEFAULT_FILE.exists() else None)
        return config.load(file, os.environ, self.flags)


def _parse(argv: Sequence[str] | None) -> _Arguments:
    parser = argparse.ArgumentParser(
        prog="whisperd",
        description="Offline speech recognition (OpenAI Whisper) on a Unix socket.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"configuration file; default: {config.DEFAULT_FILE}, if it is there",
    )
    flags = [option for option in config.options() if option.flag]
    for option in flags:
        choices = f" One of: {', '.join(option.meta['choices'])}." if option.meta["choices"] else ""
        parser.add_argument(
            option.flag,
            dest=option.key,
            metavar=option.name.upper(),
            help=f"{option.meta['doc']}{choices} Default: {option.default}".replace("%", "%%"),
        )
    parser.add_argument("--check", action="store_true", help="check configuration and model, and exit")
    parser.add_argument("--version", action="version", version=f"whisperd {__version__}")
    found = vars(parser.parse_args(argv))
    given = {option.flag: found[option.key] for option in flags if found[option.key] is not None}
    try:
        config.load(flags=given)
    except ConfigError as error:
        parser.error(error.text)
    return _Arguments(found["config"], given, found["check"])


if __name__ == "__main__":
    sys.exit(main())
