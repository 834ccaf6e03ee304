"""The daemon's configuration: one frozen tree of dataclasses, and the one way to fill it.

Values come from four places, each overriding the one before: the defaults below, a TOML file, the
environment (`WHISPERD_<SECTION>_<FIELD>`), command line flags. Everything about an option (type, default,
range, unit, meaning) stands in its field and nowhere else: the loader walks the fields, and there is code
for each type of value but none for any single option. An unknown name or a bad value raises ConfigError and
says where it stands: a daemon that runs on a guess is worse than one that does not start.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from whisperd.errors import ConfigError
from whisperd.options import ENVIRONMENT_PREFIX, FileMode, Option, check, check_text, option, plain

if TYPE_CHECKING:
    from whisperd.speech.endpoint import EndpointSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path("/etc/whisperd/whisperd.toml")
MAX_FILE_BYTES = 256 * 1024
"""The documented file is under 10 KiB; anything near this bound is not a configuration file."""

MAX_LISTED = 16
"""A message lists what is known up to so many names."""

MAX_SOCKET_PATH_BYTES = 107
"""`sun_path` of unix(7) holds 108 bytes with the closing NUL."""

MAX_THREADS = 4
"""The target has four cores, and Whisper base stops getting faster before it has more."""

DEFAULT_POLICY = "local-agreement"
ALL_LANGUAGES = "*"
DETECT_LANGUAGE = "auto"


@dataclass(frozen=True)
class SocketConfig:
    """Where clients connect. Not used when systemd hands the socket over: then the socket unit decides."""

    path: Path = option(
        Path("/run/whisperd/whisperd.sock"),
        "Unix socket to listen on; its folder must exist.",
        max_bytes=MAX_SOCKET_PATH_BYTES,
        flag="--socket",
    )
    mode: FileMode = option(
        FileMode(0o660),
        "Permissions of the socket, in octal: to connect is to be able to write to it.",
        low=0o600,
        high=0o777,
    )
    group: str | None = option(
        "whisper",
        'Group that owns the socket; "" leaves the group of the daemon.',
        pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}",
        form="the name or number of a group",
    )


@dataclass(frozen=True)
class ModelConfig:
    """What transcribes, and in which languages."""

    path: Path = option(
        Path("/usr/share/whisper/models/base"),
        "Folder of the model bundle, as scripts/convert_model writes it.",
        max_bytes=4095,
        flag="--model",
    )
    threads: int = option(
        0,
        f"Threads of one inference; 0 takes every core that the daemon may use, at most {MAX_THREADS}.",
        low=0,
        high=64,
        flag="--threads",
    )
    spin: str = option(
        "auto",
        "How these threads wait for each other while they work. Spinning is faster on cores that nobody else "
        "wants, and slower on others; auto spins while nobody does.",
        choices=("auto", "always", "never"),
    )
    language: str = option(
        "en",
        'Language of a request that names none; "auto" detects it among the allowed ones.',
        pattern=r"[a-z]{2,3}|auto",
        form='a language code such as "en", nor "auto"',
    )
    languages: tuple[str, ...] = option(
        (),
        'Languages that a request may ask for or detection may find; [] or ["*"] allows all the model knows.',
        pattern=r"[a-z]{2,3}|\*",
        form='a language code such as "en", nor "*"',
    )
    vad: Path | None = option(
        Path("/usr/share/whisper/vad/silero_vad_16k_op15.onnx"),
        'Silero VAD, asked whether there is a voice in a clip before Whisper is; "" does without.',
        max_bytes=4095,
        flag="--vad",
    )


@dataclass(frozen=True)
class MicrophoneConfig:
    """What the daemon listens to when a client asks it to. It is only open while one does."""

    device: str = option(
        "default",
        'ALSA\'s name of the capture device; `arecord -L` lists them. "plughw:..." names are converted by ALSA.',
        pattern=r"[ -~]{1,255}",
        form="the name of an ALSA device",
    )


@dataclass(frozen=True)
class LiveConfig:
    """How speech is followed while it lasts."""

    policy: str = option(
        DEFAULT_POLICY,
        "What decides which words stand before the utterance is over (docs/models.md).",
        choices=("local-agreement", "alignatt"),
    )
    end_silence_seconds: float = option(
        0.6,
        "Silence after which an utterance is over, where the client asks for no other sensitivity.",
        unit="seconds",
        low=0.2,
        high=10,
    )
    max_utterance_seconds: float = option(
        60.0, "An utterance that is longer is cut, and goes on as the next one.", unit="seconds", low=5, high=60
    )

    @property
    def endpoints(self) -> EndpointSettings:
        """For the endpointer."""
        from whisperd.speech.endpoint import EndpointSettings

        return EndpointSettings(end_silence_s=self.end_silence_seconds, max_utterance_s=self.max_utterance_seconds)


@dataclass(frozen=True)
class HttpConfig:
    """REST, WebSocket and the OpenAI audio API, for programs that speak HTTP. Off unless a socket is named."""

    socket: Path | None = option(
        None,
        'Unix socket of the HTTP server, with the group and permissions of [socket]; "" for none. Not used when'
        " systemd hands one over.",
        max_bytes=MAX_SOCKET_PATH_BYTES,
        flag="--http-socket",
    )
    tcp: str | None = option(
        None,
        'Address and port to listen on too, such as "127.0.0.1:9000"; one that other machines reach needs'
        " token_file.",
        pattern=r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]|localhost):\d{1,5}",
        form='an address and a port such as "127.0.0.1:9000" or "[::1]:9000"',
    )
    token_file: Path | None = option(
        None,
        "File with the token that clients over TCP have to send (Authorization: Bearer ...); the Unix socket needs"
        " none.",
        max_bytes=4095,
    )
    hosts: tuple[str, ...] = option(
        (),
        "Names by which clients over TCP may call this machine, beside localhost and the address itself.",
        pattern=r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})",
        form="the name of a host",
    )
    max_upload_bytes: int = option(64 << 20, "Largest body of a request.", unit="bytes", low=65536, high=1 << 30)
    max_buffered_bytes: int = option(
        128 << 20, "Bodies held in memory for all requests together.", unit="bytes", low=65536, high=1 << 32
    )
    max_audio_seconds: float = option(
        14400.0,
        "Longest recording; one that is longer than limits.max_clip_seconds is transcribed in pieces.",
        unit="seconds of audio",
        low=1,
        high=360000,
    )
    max_files: int = option(16, "Files in one request.", low=1, high=1000)
    head_seconds: float = option(
        10.0, "The head of a request must be whole by then.", unit="seconds", low=0.1, high=3600
    )
    upload_seconds: float = option(
        120.0, "The body of a request must be whole by then.", unit="seconds", low=0.1, high=3600
    )
    keepalive_seconds: float = option(
        30.0, "A connection on which no further request comes is closed.", unit="seconds", low=0.1, high=3600
    )

    @property
    def wanted(self) -> bool:
        """Whether a socket is configured."""
        return self.socket is not None or self.tcp is not None


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients can make the daemon hold, and for how long."""

    max_connections: int = option(16, "Connections at once.", low=1, high=1024)
    max_queue: int = option(32, "Jobs that wait, of all connections together.", low=1, high=1024)
    max_jobs_per_connection: int = option(
        4, "Jobs that one connection may have waiting and running.", low=1, high=1024
    )
    max_clip_seconds: float = option(
        600.0, "Longest clip that a client may send.", unit="seconds of audio", low=1, high=7200
    )
    max_buffered_seconds: float = option(
        1800.0,
        "Audio held in memory for all connections together; one second is 32 kB.",
        unit="seconds of audio",
        low=1,
        high=86400,
    )
    header_bytes: int = option(16384, "Longest header line of an event.", unit="bytes", low=512, high=1 << 20)
    data_bytes: int = option(16384, "Longest data block of an event.", unit="bytes", low=512, high=1 << 20)
    payload_bytes: int = option(65536, "Longest payload of an event.", unit="bytes", low=512, high=1 << 24)
    idle_seconds: float = option(
        300.0,
        "A connection that sends nothing and waits for nothing is closed.",
        unit="seconds",
        low=1,
        high=86400,
    )
    event_seconds: float = option(
        30.0, "An event that has begun must be whole by then.", unit="seconds", low=0.1, high=3600
    )
    write_seconds: float = option(
        10.0,
        "A client that takes none of its answers for so long is dropped.",
        unit="seconds",
        low=0.1,
        high=3600,
    )
    write_buffer_bytes: int = option(
        262144, "Answers held for one slow client.", unit="bytes", low=16384, high=1 << 24
    )
    stop_seconds: float = option(
        5.0, "Time that a running job gets to end when the daemon stops.", unit="seconds", low=0, high=600
    )


@dataclass(frozen=True)
class LogConfig:
    """What is written to standard error."""

    level: str = option(
        "info",
        "Least important line to write; only debug shows transcripts.",
        choices=("debug", "info", "warning", "error"),
        flag="--log-level",
    )
    format: str = option(
        "auto",
        "journal: lines with <N> priorities; plain: time, level and text; auto: journal under systemd.",
        choices=("auto", "journal", "plain"),
    )


@dataclass(frozen=True)
class Config:
    """Everything that can be configured, by section."""

    socket: SocketConfig = field(default_factory=SocketConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    microphone: MicrophoneConfig = field(default_factory=MicrophoneConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    limits: Limits = field(default_factory=Limits)
    log: LogConfig = field(default_factory=LogConfig)


def options() -> Iterator[Option]:
    """Every option, in the order of declaration."""
    for section, cls in _sections().items():
        kinds = get_type_hints(cls)
        for declared in fields(cls):
            yield Option(section, declared.name, kinds[declared.name], _default(declared), declared.metadata)


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration.

    Args:
        file: TOML file, which must exist; None for none.
        environ: environment; of it only names that begin with WHISPERD_ are looked at.
        flags: command line, from flag (`--threads`) to text.

    Raises:
        ConfigError: for the first unknown name or bad value, naming file or variable, and key.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_toml(file))
    values.update(_from_texts(environ or {}, lambda o: o.variable, ENVIRONMENT_PREFIX))
    values.update(_from_texts(flags or {}, lambda o: o.flag, "--"))
    if ALL_LANGUAGES in values.get("model.languages", ()):
        values["model.languages"] = ()
    trees = {
        section: cls(**{o.name: values[o.key] for o in options() if o.section == section and o.key in values})
        for section, cls in _sections().items()
    }
    config = Config(**trees)
    _check_together(config)
    return config


def thread_count(configured: int) -> int:
    """Threads to run with: `configured`, or for 0 the cores this process may use, at most MAX_THREADS."""
    return configured or min(MAX_THREADS, len(os.sched_getaffinity(0)))


# --- from the three sources to values -----------------------------------------------------------------------


def _sections() -> dict[str, Any]:
    return get_type_hints(Config)


def _default(declared: Field[Any]) -> Any:
    if declared.default is MISSING:
        raise TypeError(f"option {declared.name} has no default")
    return declared.default


def _from_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the configuration: {error.strerror}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}: longer than {MAX_FILE_BYTES} bytes: this is no configuration file")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8") from error
    except ValueError as error:  # beside TOMLDecodeError, an integer of more digits than Python converts
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid TOML: nested too deeply") from error
    known = {o.key: o for o in options()}
    values: dict[str, Any] = {}
    for section, body in document.items():
        if section not in _sections():
            what = "section" if isinstance(body, dict) else "key"
            raise ConfigError(f"{file}: unknown {what} {section!r}{_hint(section, _sections())}")
        if not isinstance(body, dict):
            raise ConfigError(f"{file}: {section!r} is a section, written as [{section}]")
        for name, value in body.items():
            key = f"{section}.{name}"
            if key not in known:
                names = [o.name for o in known.values() if o.section == section]
                raise ConfigError(f"{file}: unknown key {name!r} in section [{section}]{_hint(name, names)}")
            values[key] = check(known[key], value, f"{file}: {key}")
    return values


def _from_texts(texts: Mapping[str, str], name_of: Callable[[Option], str], prefix: str) -> dict[str, Any]:
    known = {name_of(o): o for o in options() if name_of(o)}
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if not name.startswith(prefix):
            continue
        if name not in known:
            raise ConfigError(f"unknown option {name}{_hint(name, known)}")
        values[known[name].key] = check_text(known[name], text, name)
    return values


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if len(known) <= MAX_LISTED else ""


def _check_together(config: Config) -> None:
    """What no option can say alone."""
    model, limits, http = config.model, config.limits, config.http
    if model.languages and model.language not in (*model.languages, DETECT_LANGUAGE):
        allowed = ", ".join(model.languages)
        raise ConfigError(f"model.language {model.language!r} is not in model.languages ({allowed}): add it there")
    if limits.max_buffered_seconds < limits.max_clip_seconds:
        raise ConfigError(
            f"limits.max_buffered_seconds ({plain(limits.max_buffered_seconds)}) is less than one clip"
            f" (limits.max_clip_seconds is {plain(limits.max_clip_seconds)})"
        )
    if http.max_buffered_bytes < http.max_upload_bytes:
        raise ConfigError(
            f"http.max_buffered_bytes ({http.max_buffered_bytes}) is less than one body"
            f" (http.max_upload_bytes is {http.max_upload_bytes})"
        )
    if http.tcp is not None:
        _check_address(http.tcp, has_token=http.token_file is not None)


def _check_address(text: str, *, has_token: bool) -> None:
    address, port = split_address(text)
    try:
        local = address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise ConfigError(f"http.tcp: {address!r} is not an address") from None
    if not 0 <= port <= 65535:
        raise ConfigError(f"http.tcp: {port} is not in the range 0 to 65535")
    if not local and not has_token:
        raise ConfigError(
            f"http.tcp: {address} is reached by other machines: set http.token_file, or listen on 127.0.0.1"
        )


def split_address(text: str) -> tuple[str, int]:
    """Address and port of http.tcp; an address of IPv6 without its brackets."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)
