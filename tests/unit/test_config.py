"""Configuration: where values come from, what is refused by which name, and that the documented file is true."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from whisperd import config
from whisperd.config import Config, load, options
from whisperd.errors import ConfigError
from whisperd.options import FileMode, Option, check, check_text, plain

DOCUMENTED = Path(__file__).parents[2] / "service" / "systemd" / "whisperd.toml"
OPTIONS = list(options())
NUMBERS = [o for o in OPTIONS if o.meta["low"] is not None and o.kind is not FileMode]


def write(folder: Path, text: str) -> Path:
    file = folder / "whisperd.toml"
    file.write_text(text)
    return file


def refused(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(**arguments)
    return caught.value.text


def by_key(key: str) -> Option:
    return next(o for o in OPTIONS if o.key == key)


# --- the sources and their order ------------------------------------------------------------------------------


def test_nothing_given_is_the_defaults() -> None:
    assert load() == Config()
    assert load(environ={"PATH": "/bin", "whisperd_model_threads": "9"}) == Config()


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    file = write(tmp_path, '[model]\nthreads = 1\nlanguage = "de"\n[log]\nlevel = "error"\n')
    environ = {"WHISPERD_MODEL_THREADS": "2", "WHISPERD_LOG_LEVEL": "warning"}
    found = load(file, environ, {"--threads": "3"})
    assert (found.model.threads, found.log.level, found.model.language) == (3, "warning", "de")
    assert load(file, environ).model.threads == 2
    assert load(file).model.threads == 1
    # What nobody mentions stays as it is.
    assert found.limits == Config().limits and found.socket == Config().socket


def test_every_kind_of_value_from_text() -> None:
    found = load(
        environ={
            "WHISPERD_SOCKET_PATH": "/tmp/s.sock",
            "WHISPERD_SOCKET_MODE": "0600",
            "WHISPERD_SOCKET_GROUP": "audio",
            "WHISPERD_MODEL_LANGUAGES": "en, de",
            "WHISPERD_LIMITS_STOP_SECONDS": "2.5",
            "WHISPERD_LIMITS_MAX_QUEUE": "7",
        }
    )
    assert found.socket == config.SocketConfig(Path("/tmp/s.sock"), FileMode(0o600), "audio")
    assert found.model.languages == ("en", "de")
    assert found.limits.stop_seconds == 2.5 and found.limits.max_queue == 7


def test_every_kind_of_value_from_toml(tmp_path: Path) -> None:
    text = """
    [socket]
    path = "/tmp/s.sock"
    mode = "600"
    group = ""
    [model]
    languages = ["en", "de"]
    [limits]
    stop_seconds = 2
    """
    found = load(write(tmp_path, text))
    assert found.socket == config.SocketConfig(Path("/tmp/s.sock"), FileMode(0o600), None)
    assert found.model.languages == ("en", "de")
    # A whole number stands for a float, and becomes one.
    assert found.limits.stop_seconds == 2.0 and type(found.limits.stop_seconds) is float


@pytest.mark.parametrize("given", ["", "*", "en,*"])
def test_all_languages(given: str, tmp_path: Path) -> None:
    assert load(environ={"WHISPERD_MODEL_LANGUAGES": given}).model.languages == ()
    listed = ", ".join(f'"{code}"' for code in given.split(",") if code)
    assert load(write(tmp_path, f"[model]\nlanguages = [{listed}]")).model.languages == ()


@pytest.mark.parametrize("wanted", OPTIONS, ids=lambda o: o.key)
def test_every_default_is_a_value_that_is_accepted(wanted: Option) -> None:
    value = wanted.default
    given = (
        list(value) if isinstance(value, tuple) else str(value) if isinstance(value, (Path, FileMode)) else value
    )
    given = "" if given is None else given
    assert check(wanted, given, "here") == value


def test_frozen() -> None:
    found: Any = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.model.threads = 3


# --- what is refused, and by which name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[modle]\n", "unknown section 'modle'; did you mean 'model'?"),
        ("[x]\n", "unknown section 'x'; known: socket, model, microphone, live, http, limits, log"),
        ("threads = 1\n", "unknown key 'threads'"),
        ("model = 1\n", "'model' is a section, written as [model]"),
        ("[[model]]\nthreads = 1\n", "'model' is a section, written as [model]"),
        ("[model]\nthread = 1\n", "unknown key 'thread' in section [model]; did you mean 'threads'?"),
        ('[model]\nthreads = "2"\n', "model.threads: expected a whole number, got '2'"),
        ("[model]\nthreads = true\n", "model.threads: expected a whole number, got True"),
        ("[model]\nthreads = 2.0\n", "model.threads: expected a whole number, got 2.0"),
        (f"[model]\nthreads = {10**400}\n", "is not in the range 0 to 64"),
        ("[model]\nlanguage = 1\n", "model.language: expected a text in quotes, got 1"),
        ('[model]\nlanguage = "English"\n', "model.language: 'English' is not a language code"),
        ('[model]\nlanguages = "en"\n', "model.languages: expected a list of texts, got 'en'"),
        ('[model]\nlanguages = ["en", 1]\n', "model.languages: expected a list of texts"),
        ('[model]\nlanguages = ["en_US"]\n', "model.languages: 'en_US' is not a language code"),
        ('[model]\nlanguages = ["auto"]\n', "model.languages: 'auto' is not a language code"),
        ('[model]\npath = ""\n', "model.path: must not be empty"),
        ('[model]\npath = "a\\u0000b"\n', "model.path: must not be empty nor hold a NUL"),
        ("[limits]\nstop_seconds = nan\n", "limits.stop_seconds: expected a finite number, got nan"),
        ("[limits]\nstop_seconds = -inf\n", "limits.stop_seconds: expected a finite number"),
        ("[limits]\nstop_seconds = 601\n", "limits.stop_seconds: 601 is not in the range 0 to 600 seconds"),
        ("[socket]\nmode = 0o660\n", 'socket.mode: expected a text in quotes, as in "0660", got 432'),
        ('[socket]\nmode = "0o660"\n', "socket.mode: expected permissions in octal"),
        ('[socket]\nmode = "0888"\n', "socket.mode: expected permissions in octal"),
        ('[socket]\nmode = "0440"\n', "socket.mode: 0440 is not in the range 0600 to 0777"),
        ('[socket]\ngroup = "a b"\n', "socket.group: 'a b' is not the name or number of a group"),
        ('[log]\nlevel = "loud"\n', "log.level: 'loud' is not one of debug, info, warning, error"),
        (f"[model]\nthreads = {'9' * 5000}\n", "not valid TOML"),
        ("[model\n", "not valid TOML"),
        ("[model]\nthreads = 1\nthreads = 2\n", "not valid TOML"),
        ("x = " + "[" * 20_000, "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    told = refused(file=file)
    assert told.startswith(f"{file}: ") and says in told


def test_files_that_are_none(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    assert refused(file=absent) == f"{absent}: cannot read the configuration: No such file or directory"
    assert "cannot read the configuration" in refused(file=tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'[log]\n# caf\xe9\nlevel = "info"\n')
    assert refused(file=latin) == f"{latin}: byte 11 is not UTF-8"
    large = write(tmp_path, "#" * config.MAX_FILE_BYTES)
    assert load(large) == Config()
    large.write_text("#" * (config.MAX_FILE_BYTES + 1))
    assert "no configuration file" in refused(file=large)
    assert "no configuration file" in refused(file=Path("/dev/zero"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "WHISPERD_MODEL_THREAD",
            "1",
            "unknown option WHISPERD_MODEL_THREAD; did you mean 'WHISPERD_MODEL_THREADS'?",
        ),
        ("WHISPERD_", "1", "unknown option WHISPERD_"),
        ("WHISPERD_MODEL_THREADS", "", "WHISPERD_MODEL_THREADS: expected a whole number, got ''"),
        ("WHISPERD_MODEL_THREADS", "1e3", "WHISPERD_MODEL_THREADS: expected a whole number, got '1e3'"),
        ("WHISPERD_MODEL_THREADS", "٣", "WHISPERD_MODEL_THREADS: expected a whole number"),
        ("WHISPERD_MODEL_THREADS", "9" * 5000, "WHISPERD_MODEL_THREADS: expected a whole number"),
        ("WHISPERD_LIMITS_STOP_SECONDS", "nan", "WHISPERD_LIMITS_STOP_SECONDS: expected a finite number"),
        ("WHISPERD_LIMITS_STOP_SECONDS", "soon", "WHISPERD_LIMITS_STOP_SECONDS: expected a number, got 'soon'"),
        ("WHISPERD_MODEL_LANGUAGES", "en,,de", "WHISPERD_MODEL_LANGUAGES: must not be empty"),
        ("WHISPERD_LOG_FORMAT", "json", "WHISPERD_LOG_FORMAT: 'json' is not one of auto, journal, plain"),
    ],
)
def test_a_bad_variable_is_refused_by_name(name: str, text: str, says: str) -> None:
    assert says in refused(environ={name: text})


def test_a_bad_flag_is_refused_by_name() -> None:
    assert refused(flags={"--threads": "many"}) == "--threads: expected a whole number, got 'many'"
    assert "unknown option --speed" in refused(flags={"--speed": "1"})


@pytest.mark.parametrize("wanted", NUMBERS, ids=lambda o: o.key)
def test_ranges_are_inclusive_and_end_there(wanted: Option) -> None:
    low, high = wanted.meta["low"], wanted.meta["high"]
    for edge in (low, high):
        assert check_text(wanted, plain(edge), "here") == edge
    step = 1 if wanted.kind is int else 1e-3
    for beyond in (low - step, high + step):
        with pytest.raises(ConfigError, match=r"^here: .* is not in the range"):
            check_text(wanted, str(beyond), "here")


def test_a_socket_path_of_107_bytes_and_no_more() -> None:
    limit = config.MAX_SOCKET_PATH_BYTES
    longest = "/" + "é" * ((limit - 1) // 2)  # 107 bytes, 54 characters
    assert len(os.fsencode(longest)) == limit
    assert load(flags={"--socket": longest}).socket.path == Path(longest)
    assert "--socket: a path of 108 bytes, 107 is the most" in refused(flags={"--socket": longest + "a"})


def test_values_that_do_not_go_together() -> None:
    told = refused(environ={"WHISPERD_MODEL_LANGUAGES": "de,fr"})
    assert told == "model.language 'en' is not in model.languages (de, fr): add it there"
    detecting = {"WHISPERD_MODEL_LANGUAGES": "de,fr", "WHISPERD_MODEL_LANGUAGE": "auto"}
    assert load(environ=detecting).model.language == "auto"
    told = refused(environ={"WHISPERD_LIMITS_MAX_BUFFERED_SECONDS": "10"})
    assert told.startswith("limits.max_buffered_seconds (10) is less than one clip")
    both = {"WHISPERD_LIMITS_MAX_BUFFERED_SECONDS": "10", "WHISPERD_LIMITS_MAX_CLIP_SECONDS": "10"}
    assert load(environ=both).limits.max_buffered_seconds == 10
    told = refused(environ={"WHISPERD_HTTP_MAX_BUFFERED_BYTES": "65536"})
    assert told == "http.max_buffered_bytes (65536) is less than one body (http.max_upload_bytes is 67108864)"


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9000", "127.8.8.8:1", "[::1]:9000", "localhost:9000", "127.0.0.1:0"]
)
def test_addresses_of_this_machine_alone_need_no_token(address: str) -> None:
    assert load(environ={"WHISPERD_HTTP_TCP": address}).http.tcp == address


@pytest.mark.parametrize("address", ["0.0.0.0:9000", "192.168.1.2:9000", "[::]:9000", "[fe80::1]:9000"])
def test_addresses_that_others_reach_need_a_token(address: str) -> None:
    told = refused(environ={"WHISPERD_HTTP_TCP": address})
    assert told.endswith("is reached by other machines: set http.token_file, or listen on 127.0.0.1")
    both = {"WHISPERD_HTTP_TCP": address, "WHISPERD_HTTP_TOKEN_FILE": "/t"}
    assert load(environ=both).http.tcp == address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("9000", "'9000' is not an address and a port"),
        ("127.0.0.1", "is not an address and a port"),
        ("example.org:80", "is not an address and a port"),
        ("127.0.0.1:65536", "65536 is not in the range 0 to 65535"),
        ("999.0.0.1:80", "'999.0.0.1' is not an address"),
        ("[::1:80", "is not an address and a port"),
    ],
)
def test_what_is_no_address(address: str, says: str) -> None:
    assert says in refused(environ={"WHISPERD_HTTP_TCP": address})


# --- threads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("configured", "cores", "threads"), [(0, 1, 1), (0, 3, 3), (0, 64, 4), (7, 2, 7)])
def test_thread_count(configured: int, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert config.thread_count(configured) == threads


# --- the documented file --------------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, str]]:
    """Key -> (comment before it, `name = value` line) of the documented file."""
    found: dict[str, tuple[str, str]] = {}
    section = ""
    comment: list[str] = []
    for line in DOCUMENTED.read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = header[1], []
        elif setting := re.fullmatch(r"# ((\w+) = .*)", line):
            assert f"{section}.{setting[2]}" not in found, "documented twice"
            found[f"{section}.{setting[2]}"] = (" ".join(comment), setting[1])
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def test_the_documented_file_as_it_is_gives_the_defaults() -> None:
    assert load(DOCUMENTED) == Config()


def test_the_documented_file_with_everything_taken_in_gives_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# (\w+ = .*)$", r"\1", DOCUMENTED.read_text())
    assert load(write(tmp_path, text)) == Config()


def test_the_documented_file_has_every_option_and_no_other() -> None:
    assert list(documented()) == [o.key for o in OPTIONS]


@pytest.mark.parametrize("wanted", OPTIONS, ids=lambda o: o.key)
def test_the_documented_file_tells_meaning_range_and_default(wanted: Option, tmp_path: Path) -> None:
    comment, setting = documented()[wanted.key]
    assert wanted.meta["doc"] in comment
    if wanted.meta["low"] is not None:
        form = FileMode if wanted.kind is FileMode else plain
        unit = f" {wanted.meta['unit']}" if wanted.meta["unit"] else ""
        assert f"Range: {form(wanted.meta['low'])} to {form(wanted.meta['high'])}{unit}." in comment
    for choice in wanted.meta["choices"]:
        assert choice in comment
    # Alone, so that a default that another option's default hides is seen.
    found = load(write(tmp_path, f"[{wanted.section}]\n{setting}\n"))
    assert getattr(getattr(found, wanted.section), wanted.name) == wanted.default


def test_every_number_with_a_dimension_names_its_unit() -> None:
    for wanted in NUMBERS:
        if wanted.name.endswith(("_seconds", "_bytes")):
            assert wanted.meta["unit"].split()[0] == wanted.name.rsplit("_", 1)[1]
        else:
            assert wanted.meta["unit"] == ""
    assert all(math.isfinite(o.meta["high"]) for o in NUMBERS)
