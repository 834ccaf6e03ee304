"""Install a wheel as OE-core's patched `installer` does: into the target's folders, with its interpreter."""

from __future__ import annotations

import argparse

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

SITE_PACKAGES = "/usr/lib/python3.10/site-packages"
SCHEME = {
    "purelib": SITE_PACKAGES,
    "platlib": SITE_PACKAGES,
    "scripts": "/usr/bin",
    "data": "/usr",
    "headers": "/usr/include/python3.10",
}


def main() -> None:
    """Run the command: the flags are those that the class python_pep517 gives."""
    p = argparse.ArgumentParser()
    p.add_argument("--compile-bytecode", help="ignored: the class asks for none")
    p.add_argument("--interpreter", default="/usr/bin/env python3")
    p.add_argument("--destdir", required=True)
    p.add_argument("wheel")
    options = p.parse_args()
    destination = SchemeDictionaryDestination(
        {kind: options.destdir + folder for kind, folder in SCHEME.items()},
        interpreter=options.interpreter,
        script_kind="posix",
    )
    with WheelFile.open(options.wheel) as wheel:
        install(wheel, destination, {"INSTALLER": b"installer"})


if __name__ == "__main__":
    main()
