"""Compare what BitBake packaged with what the daemon needs. Part of scripts/check-layer.

    python -m layer.package_files BUILD_FOLDER

Needs dpkg-deb: the check makes .deb packages, since every Debian can read them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = "/usr/lib/python3.10/site-packages"
UNITS = "/lib/systemd/system"


def packages(build: Path) -> dict[str, Path]:
    """Name to file of every package that was made."""
    return {path.name.partition("_")[0]: path for path in build.glob("tmp*/deploy/deb/*/*.deb")}


def files(deb: Path) -> dict[str, str]:
    """Path to mode and owner, as in "-rw-r--r-- root/root", of every file of a package."""
    listing = subprocess.run(["dpkg-deb", "-c", deb], text=True, capture_output=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        if not mode.startswith("d"):
            found[path.removeprefix(".")] = f"{mode} {owner}"
    return found


def field(deb: Path, name: str) -> str:
    """A field of a package's control file."""
    return subprocess.run(["dpkg-deb", "-f", deb, name], text=True, capture_output=True, check=True).stdout


def installed_by_script() -> dict[str, str]:
    """What service/install-system installs, by its own list: path to mode, in octal."""
    folders = {"PREFIX": "/usr", "SYSCONFDIR": "/etc", "UNITDIR": UNITS}
    folders |= {"SYSUSERSDIR": "/usr/lib/sysusers.d", "TMPFILESDIR": "/usr/lib/tmpfiles.d"}
    listing = subprocess.run(
        ["sh", ROOT / "service" / "install-system", "--list"],
        env={**os.environ, **folders},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    return {line.split()[1]: line.split()[0] for line in listing.splitlines()}


def modules(folder: Path) -> set[str]:
    """Where the Python files of a folder of the daemon's are installed."""
    return {
        f"{SITE_PACKAGES}/{path.relative_to(ROOT / 'service')}"
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".py", ".typed")
    }


def expected_of_http() -> set[str]:
    """Every file that the package whisperd-http has to have, and no other."""
    units = {f"{UNITS}/whisperd-http.socket", "/lib/systemd/system-preset/98-whisperd-http.preset"}
    return modules(ROOT / "service" / "whisperd" / "http") | units


def expected_of_whisperd() -> set[str]:
    """Every file that the package whisperd has to have, and no other."""
    version = re.search(r'__version__ = "(.*)"', (ROOT / "service" / "whisperd" / "__init__.py").read_text())
    assert version
    metadata = f"{SITE_PACKAGES}/whisperd-{version[1]}.dist-info"
    made = {f"{metadata}/{name}" for name in ("INSTALLER", "METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    # Which units start with the system: made by the class systemd.
    preset = "/lib/systemd/system-preset/98-whisperd.preset"
    installed = {path for path in installed_by_script() if not path.startswith("/usr/share/doc/")}
    all_ours = {*modules(ROOT / "service" / "whisperd"), *made, *installed, preset}
    return {*all_ours, "/usr/bin/whisperd", "/usr/bin/whisperctl"} - expected_of_http()


def complaints(build: Path) -> list[str]:
    """What is wrong with the packages of a build, in sentences."""
    found = packages(build)
    wrong: list[str] = []

    def same(package: str, expected: set[str]) -> None:
        have = set(files(found[package]))
        wrong.extend(f"{package} lacks {path}" for path in sorted(expected - have))
        wrong.extend(f"{package} has {path}, which nothing needs" for path in sorted(have - expected))
        print(f"{package}: {len(have)} files, {len(expected)} expected")

    same("whisperd", expected_of_whisperd())
    same("whisperd-http", expected_of_http())
    modes = {
        path: mode
        for name in ("whisperd", "whisperd-http", "whisperd-doc")
        for path, mode in files(found[name]).items()
    }
    for path, mode in installed_by_script().items():
        if path in modes and modes[path] != f"{_symbolic(mode)} root/root":
            wrong.append(f"{path} is {modes[path]}, the install step makes it {mode}")
    conffiles = subprocess.run(
        ["dpkg-deb", "-I", found["whisperd"], "conffiles"], text=True, capture_output=True, check=True
    ).stdout
    if conffiles.split() != ["/etc/whisperd/whisperd.toml"]:
        wrong.append(f"whisperd's conffiles are {conffiles.split()}")
    preinst = subprocess.run(
        ["dpkg-deb", "-I", found["whisperd"], "preinst"], text=True, capture_output=True, check=False
    ).stdout
    for what in ("--system whisper;", "--gid whisperd --groups audio whisperd"):
        if what not in preinst:
            wrong.append(f"whisperd's preinst does not have {what!r}")
    for name in ("base", "tiny.en"):
        package, folder = f"whisper-model-{name.replace('.', '-')}", f"/usr/share/whisper/models/{name}"
        text = subprocess.run(
            f"dpkg-deb --fsys-tarfile '{found[package]}' | tar -xO .{folder}/manifest.json",
            shell=True,
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        same(package, {f"{folder}/{file}" for file in [*json.loads(text)["files"], "manifest.json"]})
        writable = [path for path, mode in files(found[package]).items() if mode != "-r--r--r-- root/root"]
        wrong.extend(f"{path} is not read-only" for path in writable)
    same("silero-vad", {"/usr/share/whisper/vad/silero_vad_16k_op15.onnx"})
    print(f"whisperd depends on: {field(found['whisperd'], 'Depends').strip()}")
    return wrong


def _symbolic(octal: str) -> str:
    bits = int(octal, 8)
    return "-" + "".join("rwx"[i % 3] if bits >> (8 - i) & 1 else "-" for i in range(9))


def main() -> int:
    """Run the command; returns its exit status."""
    wrong = complaints(Path(sys.argv[1]))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
